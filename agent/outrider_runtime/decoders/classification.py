"""Outputs with one score per label."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from outrider_bundle.manifest import ClassificationDecoder
from outrider_runtime.decoders.ends import Ends
from outrider_runtime.decoders.stored import Numbers, not_a_number
from outrider_runtime.perception import Classification
from outrider_runtime.session import Array

SAFE = 60.0
"""Logits between which exponentials of float32 add up without overflow or loss: e^60 is 1e26."""


PLAIN = (np.dtype(np.float32), np.dtype(np.float64))
"""Dtypes that are computed in as they are."""


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return probabilities over the last axis."""
    powers: NDArray[np.float64] = np.exp(logits - logits.max(-1, keepdims=True))
    powers /= powers.sum(-1, keepdims=True)
    return powers


class ClassificationReader:
    """The most likely label; of equal ones the first. It owns scratch memory: one thread at a time.

    After an inference a call of numpy costs 5 us and more, of which one is arithmetic: there are few of them,
    and of few kinds.
    """

    def __init__(self, plan: ClassificationDecoder, ends: Ends) -> None:
        """Allocate."""
        dtype = np.dtype(ends.tensors[0].dtype)
        self._labels, self._softmax = plan.labels, plan.activation == "softmax"
        self._numbers = Numbers(ends.tensors[0])
        # Powers of float32 numbers are exact enough in float32, those of multiples of integers are not.
        self._plain = dtype in PLAIN and self._numbers.scale == 1.0
        self._scores: Array = np.empty(len(plan.labels), dtype if self._plain else np.float64)

    def decode(
        self, outputs: Sequence[Array], frame: tuple[int, ...] = (), fed: Array | None = None
    ) -> Classification:
        """Return label, score and the lead over the second; see `Decoder.decode`."""
        del frame, fed  # a class is nowhere in particular
        stored, scores = outputs[0].reshape(-1), self._scores
        index = int(stored.argmax())
        largest = stored.item(index)
        # The first NaN is the largest and the smallest.
        if not (math.isfinite(largest) and math.isfinite(stored.item(int(stored.argmin())))):
            raise not_a_number()
        total = 1.0
        if self._softmax:
            total = self._powers(stored, largest)
        else:
            scores[:] = stored
        best = scores.item(index)
        scores[index] = -math.inf
        second = scores.item(int(scores.argmax()))
        if self._softmax:
            best, second = best / total, max(second, 0.0) / total
        else:
            zero, scale = self._numbers.zero, self._numbers.scale
            best, second = (best - zero) * scale, (second - zero) * scale
        if len(scores) == 1:
            second = 0.0
        return Classification(index=index, label=self._labels[index], score=best, margin=best - second)

    def _powers(self, stored: Array, largest: float) -> float:
        """Write e to the power of each score, all by one factor too large or small; return their sum."""
        scores, scale = self._scores, self._numbers.scale
        largest *= scale
        if not self._plain:
            stored = np.multiply(stored, scale, scores)
        if not -SAFE < largest < SAFE:
            stored = np.subtract(stored, largest, scores)
        return float(np.add.reduce(np.exp(stored, scores)))
