"""What every loader gives: class names, and frames with their classes by part."""

from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Pair = tuple[NDArray[Any], NDArray[Any] | None]
"""Frames `(n, ...)` and their class numbers `(n,)`, or None if nobody knows them."""

UNLABELLED = -1
"""The class number of a sample of unknown class; allowed in the training part."""


class Loaded(Struct, frozen=True, kw_only=True):
    """Data before it is checked; `classes` are the recipe's names, or what the data itself calls them."""

    classes: tuple[str, ...]
    parts: dict[str, Pair]


def take(pair: Pair, rows: NDArray[np.int64]) -> Pair:
    """Return some of the samples."""
    frames, labels = pair
    return frames[rows], None if labels is None else labels[rows]
