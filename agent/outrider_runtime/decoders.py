"""From a model's output tensor to a perception."""

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import ClassificationDecoder, Output, RawDecoder, Tensor
from outrider_runtime.perception import Classification, Perception
from outrider_runtime.session import Array

DECODED = ("classification",)
"""Tasks whose outputs become perceptions, on which a policy can decide."""


class Decoder(Protocol):
    """Reads one output."""

    def decode(self, array: Array) -> Perception:
        """Return what `array`, an output as the variant stores it, says.

        Raises:
            EngineError: it holds NaN or infinity, or there is nothing to read it by.
        """
        ...


def decoder(output: Output, tensor: Tensor) -> Decoder:
    """Return the decoder that `output` asks for, reading arrays of `tensor`.

    Raises:
        EngineError: labels and `tensor` contradict one another.
    """
    if isinstance(output.decoder, RawDecoder):
        return RawReader(output)
    return ClassificationReader(output.decoder, tensor)


def dequantize(array: Array, tensor: Tensor) -> NDArray[np.float64]:
    """Return the real values of a stored array."""
    real = array.astype(np.float64)
    if tensor.quantization is not None:
        real -= tensor.quantization.zero_point
        real *= tensor.quantization.scale
    return real


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

    def decode(self, array: Array) -> Classification:
        """Return label, score and the lead over the second; see `Decoder.decode`."""
        scores = self._scores
        np.copyto(scores, array.reshape(-1), casting="unsafe")
        if self._quantization is not None:
            scores -= self._quantization.zero_point
            scores *= self._quantization.scale
        index = int(scores.argmax())
        best = float(scores[index])
        # The largest is NaN if any is.
        if not (math.isfinite(best) and math.isfinite(scores.min())):
            raise EngineError("The model answered NaN or infinity", "Prove the bundle: outrider prove FILE")
        if self._softmax:
            scores -= best
            np.exp(scores, out=scores)
            scores /= scores.sum()
            best = float(scores[index])
        scores[index] = -math.inf
        second = float(scores.max()) if scores.size > 1 else 0.0
        return Classification(index=index, label=self._labels[index], score=best, margin=best - second)


class RawReader:
    """Stands where a reader would: raw outputs are taken from `Model.outputs`, not read."""

    def __init__(self, output: Output) -> None:
        """Remember the output's name for the message."""
        self._name = output.name

    def decode(self, array: Array) -> Perception:
        """Refuse; see `Decoder.decode`."""
        del array
        raise EngineError(
            f"The output '{self._name}' is raw: no decoder says what its numbers mean",
            "Use the arrays of Model.outputs, or convert with labels for the task classification",
        )
