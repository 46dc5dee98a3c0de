"""Which reader is for a decoder of a manifest."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from outrider_bundle.decoders import faults
from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import (
    AnomalyDecoder,
    ClassificationDecoder,
    ControlDecoder,
    DetectionDecoder,
    Input,
    Output,
    RawDecoder,
    RegressionDecoder,
    SsdDecoder,
    Tensor,
)
from outrider_runtime.decoders.anomaly import anomaly_reader
from outrider_runtime.decoders.classification import ClassificationReader
from outrider_runtime.decoders.detection import detection_reader
from outrider_runtime.decoders.ends import Ends
from outrider_runtime.decoders.ssd import SsdReader
from outrider_runtime.decoders.values import RegressionReader, control_reader
from outrider_runtime.perception import Perception
from outrider_runtime.session import Array

DECODED = ("classification", "regression", "detection", "control", "anomaly")
"""Tasks whose outputs become perceptions, on which a policy can decide."""


class Decoder(Protocol):
    """Reads the outputs of a variant. It owns scratch memory: one thread at a time."""

    def decode(
        self, outputs: Sequence[Array], frame: tuple[int, ...] = (), fed: Array | None = None
    ) -> Perception:
        """Return what `outputs`, all of them as the variant stores them, say.

        Args:
            outputs: one array per physical output.
            frame: shape `(h, w, ...)` of the frame that they answer to; without it, what has a place is in
                pixels of the model's input.
            fed: the physical input that they answer to, for what compares both.

        Raises:
            EngineError: they hold NaN or infinity, or there is nothing to read them by.
        """
        ...


def decoder(output: Output, tensors: Sequence[Tensor], given: Input, fed: Tensor) -> Decoder:
    """Return the decoder that `output` asks for.

    Args:
        output: the first logical output.
        tensors: the variant's physical outputs; their shapes, dtypes and quantization are what is read.
        given: the logical input: where a frame lies in it is undone.
        fed: the variant's physical input.

    Raises:
        EngineError: they contradict one another.
    """
    for what, cure in faults(output.decoder, [tensor.shape for tensor in tensors], given):
        raise EngineError(f"Output '{output.name}' {what}", cure)
    ends = Ends(output=output, tensors=tuple(tensors), given=given, fed=fed)
    return READERS[type(output.decoder)](output.decoder, ends)


class RawReader:
    """Stands where a reader would: raw outputs are taken from `Model.outputs`, not read."""

    def __init__(self, plan: RawDecoder, ends: Ends) -> None:
        """Remember the output's name for the message."""
        del plan
        self._name = ends.output.name

    def decode(
        self, outputs: Sequence[Array], frame: tuple[int, ...] = (), fed: Array | None = None
    ) -> Perception:
        """Refuse; see `Decoder.decode`."""
        del outputs, frame, fed
        raise EngineError(
            f"The output '{self._name}' is raw: no decoder says what its numbers mean",
            "Use the arrays of Model.outputs, or convert again with --task and --labels or --names",
        )


READERS: dict[type, Callable[[Any, Ends], Decoder]] = {
    ClassificationDecoder: ClassificationReader,
    DetectionDecoder: detection_reader,
    SsdDecoder: SsdReader,
    RegressionDecoder: RegressionReader,
    ControlDecoder: control_reader,
    AnomalyDecoder: anomaly_reader,
    RawDecoder: RawReader,
}
"""By the struct that stands in the manifest."""
