"""Outputs with one score per label."""

import math

import numpy as np
from numpy.typing import NDArray

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import ClassificationDecoder, Tensor
from outrider_runtime.decoders.stored import not_a_number
from outrider_runtime.perception import Classification
from outrider_runtime.session import Array


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return probabilities over the last axis."""
    powers: NDArray[np.float64] = np.exp(logits - logits.max(-1, keepdims=True))
    powers /= powers.sum(-1, keepdims=True)
    return powers


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
        self._quantization = tensor.quantization
        self._scores = np.empty(len(plan.labels), np.float64)

    def decode(self, array: Array, frame: tuple[int, ...] = ()) -> Classification:
        """Return label, score and the lead over the second; see `Decoder.decode`."""
        del frame  # a class is nowhere in particular
        scores = self._scores
        np.copyto(scores, array.reshape(-1), casting="unsafe")
        if self._quantization is not None:
            scores -= self._quantization.zero_point
            scores *= self._quantization.scale
        index = int(scores.argmax())
        best = float(scores[index])
        # The largest is NaN if any is.
        if not (math.isfinite(best) and math.isfinite(scores.min())):
            raise not_a_number()
        if self._softmax:
            scores -= best
            np.exp(scores, out=scores)
            scores /= scores.sum()
            best = float(scores[index])
        scores[index] = -math.inf
        second = float(scores.max()) if scores.size > 1 else 0.0
        return Classification(index=index, label=self._labels[index], score=best, margin=best - second)
