"""Outputs with one score per label."""

import math

import numpy as np
from numpy.typing import NDArray

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import ClassificationDecoder, Quantization, Tensor
from outrider_runtime.decoders.stored import not_a_number
from outrider_runtime.perception import Classification
from outrider_runtime.session import Array


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return probabilities over the last axis."""
    powers: NDArray[np.float64] = np.exp(logits - logits.max(-1, keepdims=True))
    powers /= powers.sum(-1, keepdims=True)
    return powers


PLAIN = Quantization(scale=1.0)


class ClassificationReader:
    """The most likely label; of equal ones the first. It owns scratch memory: one thread at a time."""

    def __init__(self, plan: ClassificationDecoder, tensor: Tensor) -> None:
        """Check that there is a label for every score.

        Raises:
            EngineError: there is not.
        """
        if math.prod(tensor.shape) != len(plan.labels):
            raise EngineError(f"There are {len(plan.labels)} labels for an output of {tensor.shape}")
        self._labels, self._softmax = plan.labels, plan.activation == "softmax"
        stored = tensor.quantization or PLAIN
        self._scale, self._zero = stored.scale, float(stored.zero_point)
        self._scores = np.empty(len(plan.labels), np.float64)

    def decode(self, array: Array, frame: tuple[int, ...] = ()) -> Classification:
        """Return label, score and the lead over the second; see `Decoder.decode`."""
        del frame  # a class is nowhere in particular
        # After an inference each call of numpy costs 10 us, of which one is arithmetic: as few as can be.
        scores = self._scores
        scores[:] = array.reshape(-1)
        index = int(scores.argmax())
        best = float(scores[index])
        # The largest is NaN if any is.
        if not (math.isfinite(best) and math.isfinite(np.minimum.reduce(scores))):
            raise not_a_number()
        np.subtract(scores, best if self._softmax else self._zero, scores)
        if self._scale != 1.0:
            np.multiply(scores, self._scale, scores)
        total = 1.0
        if self._softmax:
            total = float(np.add.reduce(np.exp(scores, scores)))
        best = float(scores[index]) / total
        scores[index] = -math.inf
        second = float(np.maximum.reduce(scores)) / total if scores.size > 1 else 0.0
        return Classification(index=index, label=self._labels[index], score=best, margin=best - second)
