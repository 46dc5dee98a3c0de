"""Which decoder reads an output."""

from typing import Protocol

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import ClassificationDecoder, DetectionDecoder, Input, Output, Tensor
from outrider_runtime.decoders.classification import ClassificationReader
from outrider_runtime.decoders.detection import DetectionReader
from outrider_runtime.perception import Perception
from outrider_runtime.session import Array

DECODED = ("classification", "detection")
"""Tasks whose outputs become perceptions, on which a policy can decide."""


class Decoder(Protocol):
    """Reads one output. It owns scratch memory: one thread at a time."""

    def decode(self, array: Array, frame: tuple[int, ...] = ()) -> Perception:
        """Return what `array`, an output as the variant stores it, says.

        Args:
            array: the output.
            frame: shape `(h, w, ...)` of the frame that it answers to; without it, what has a place is in
                pixels of the model's input.

        Raises:
            EngineError: it holds NaN or infinity, or there is nothing to read it by.
        """
        ...


def decoder(output: Output, tensor: Tensor, given: Input) -> Decoder:
    """Return the decoder that `output` asks for, reading arrays of `tensor`.

    Args:
        output: the logical output.
        tensor: the variant's physical output; its shape, dtype and quantization are what is read.
        given: the logical input: where a frame lies in it is undone.

    Raises:
        EngineError: labels, `tensor` and `given` contradict one another.
    """
    plan = output.decoder
    if isinstance(plan, ClassificationDecoder):
        return ClassificationReader(plan, tensor)
    if isinstance(plan, DetectionDecoder):
        return DetectionReader(plan, tensor, given)
    return RawReader(output)


class RawReader:
    """Stands where a reader would: raw outputs are taken from `Model.outputs`, not read."""

    def __init__(self, output: Output) -> None:
        """Remember the output's name for the message."""
        self._name = output.name

    def decode(self, array: Array, frame: tuple[int, ...] = ()) -> Perception:
        """Refuse; see `Decoder.decode`."""
        del array, frame
        raise EngineError(
            f"The output '{self._name}' is raw: no decoder says what its numbers mean",
            "Use the arrays of Model.outputs, or convert with labels for the task classification",
        )
