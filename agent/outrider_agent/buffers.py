"""Frames without allocation: a few arrays that go round between a source and its readers."""

from collections.abc import Callable
from functools import partial

import numpy as np

from outrider_runtime.session import Array

SPARE = 4
"""A frame being written, one waiting, one being read, and one for luck."""


def keep() -> None:
    """Release nothing: the frame's memory is its own."""


class Buffers:
    """A free list. Both ends may be in different threads: `list` appends and pops are atomic."""

    def __init__(self) -> None:
        """Start without any array."""
        self._free: list[Array] = []

    def take(self) -> Array | None:
        """Return a free array, or None if there is none yet."""
        try:
            return self._free.pop()
        except IndexError:
            return None

    def lease(self, array: Array) -> Callable[[], None]:
        """Return what gives `array` back; an array of another shape than the free ones replaces them."""
        return partial(self._give, array)

    def _give(self, array: Array) -> None:
        if self._free and self._free[-1].shape != array.shape:
            self._free.clear()
        if len(self._free) < SPARE and array.flags.owndata and array.dtype == np.uint8:
            self._free.append(array)
