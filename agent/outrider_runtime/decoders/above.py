"""Which of many scores suffice."""

import numpy as np

from outrider_bundle.errors import EngineError
from outrider_runtime.decoders.objects import FEW, MOST
from outrider_runtime.session import Array


class Above:
    """Finds the few scores that suffice among many. It owns scratch memory: one thread at a time."""

    def __init__(self, count: int, least: float) -> None:
        """Allocate for `count` scores, of which those from `least` on suffice."""
        self._least = least
        # The very bytes that numpy writes: what finds few of them needs no call of numpy.
        self._bytes = bytearray(count)
        self._clear = np.frombuffer(self._bytes, np.bool_)

    def columns(self, scores: Array) -> list[int]:
        """Return the places of `scores` that suffice, in order; the best `MOST` of them."""
        np.greater_equal(scores, self._least, self._clear)
        at = self._bytes.find(1)
        found: list[int] = []
        while at >= 0 and len(found) < FEW:
            found.append(at)
            at = self._bytes.find(1, at + 1)
        if at < 0:
            return found
        columns = self._clear.nonzero()[0]
        if len(columns) > MOST:
            best = np.argsort(-scores[columns].astype(np.float64), kind="stable")[:MOST]
            columns = np.sort(columns[best])
        many: list[int] = columns.tolist()
        return many


def label_of(number: float, before: int, labels: int) -> int:
    """Return the index of the label that a class `number` of a model stands for, negative for a background.

    Args:
        number: the class, as a model tells it.
        before: so many classes stand before the first label.
        labels: so many there are.

    Raises:
        EngineError: there is no such label.
    """
    index = round(number) - before
    if not -before <= index < labels:
        raise EngineError(
            f"The model answered the class {number:g} of {labels + before}",
            "Name all its labels, and say whether there is a background",
        )
    return index
