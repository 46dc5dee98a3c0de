"""Preprocessing, a session and a decoder as one: what the converter verifies and the device runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from outrider_bundle.errors import EngineError, OutriderError
from outrider_bundle.manifest import AnomalyDecoder, Decoder, Manifest, Scalar, SsdDecoder, Variant
from outrider_runtime.decoders import decoder
from outrider_runtime.loading import load_variant
from outrider_runtime.perception import Perception
from outrider_runtime.preprocess import preprocessor
from outrider_runtime.session import Array, Session, empty


class Ports:
    """Both ends of a variant without its engine: frames into its inputs, its outputs into perceptions.

    They need the manifest alone, so a supervisor has them while the session lives elsewhere. They own
    scratch memory: one thread at a time.
    """

    def __init__(self, manifest: Manifest, variant: Variant) -> None:
        """Build preprocessors and decoders of `variant`.

        Raises:
            EngineError: tensors and preprocessing contradict one another.
        """
        _check_counts(manifest, variant)
        for tensor in variant.outputs:
            if tensor.shape[:1] != (1,):
                raise EngineError(f"The output {tensor.shape} is not a batch of 1")
        self._writer = preprocessor(manifest.inputs[0], variant.inputs[0])
        self._reader = decoder(manifest.outputs[0], variant.outputs, manifest.inputs[0], variant.inputs[0])
        self._frame: tuple[int, ...] = ()
        # A reference keeps an engine's shared memory: only where there is something to compare.
        self._compares = _compares(manifest.outputs[0].decoder)
        self._fed: Array | None = None

    def write(self, frame: Array, inputs: Sequence[Array]) -> None:
        """Preprocess `frame` into `inputs`, one array per physical input, to be left alone until `decode`.

        Raises:
            EngineError: the frame does not fit.
        """
        self._writer.write(frame, inputs[0])
        self._frame = frame.shape
        if self._compares:
            self._fed = inputs[0]

    def decode(self, outputs: Sequence[Array]) -> Perception:
        """Read `outputs`, one array per physical output, as the answer to the frame written last.

        What is seen at a place is so in pixels of that frame, however it was resized.

        Raises:
            EngineError: they hold NaN or infinity, or are raw.
        """
        return self._reader.decode(outputs, self._frame, self._fed)


def _compares(plan: Decoder) -> bool:
    """Return whether outputs are compared with the input."""
    return isinstance(plan, AnomalyDecoder) and plan.method == "reconstruction"


def _check_counts(manifest: Manifest, variant: Variant) -> None:
    """Refuse more than one input, and more outputs than the decoder reads; of raw ones there may be many."""
    plan, most = manifest.outputs[0].decoder, 1
    if manifest.task == "raw":
        most = 16
    elif isinstance(plan, SsdDecoder):
        most = len(plan.outputs)
    for what, logical, physical, allowed in (
        ("input", manifest.inputs, variant.inputs, 1),
        ("output", manifest.outputs, variant.outputs, most),
    ):
        if len(logical) != len(physical) or not 1 <= len(logical) <= allowed:
            counts = f"{len(logical)} {what}s, and variant '{variant.id}' {len(physical)}"
            cure = (
                f"One frame has one {what}" if allowed == 1 else f"Both have the same, of at most {allowed}"
            )
            raise EngineError(f"The manifest has {counts}", cure)


class Model:
    """A variant that takes frames."""

    def __init__(self, ports: Ports, session: Session) -> None:
        """Join both and allocate the tensors once."""
        self.ports = ports
        self.session = session
        self._inputs = [empty(tensor) for tensor in session.inputs]
        self._outputs = [empty(tensor) for tensor in session.outputs]

    @classmethod
    def open(
        cls,
        manifest: Manifest,
        variant: Variant,
        files: Mapping[str, Path],
        options: Mapping[str, Scalar] | None = None,
    ) -> Self:
        """Load `variant` of `manifest` from `files` (role to path).

        Raises:
            EngineError: it cannot be loaded, or is not what the manifest says.
            MissingExtraError: its runtime's library is not installed.
        """
        ports = Ports(manifest, variant)
        return cls(ports, load_variant(variant, files, options))

    def run(self, inputs: Sequence[Array], out: Sequence[Array]) -> Sequence[Array]:
        """Run the session on arrays that `ports.write` has filled; return `out`.

        Raises:
            EngineError: the arrays do not fit, or the runtime failed.
        """
        try:
            return self.session.run(inputs, out)
        except OutriderError:
            raise
        except Exception as error:
            raise EngineError(f"The runtime failed: {error!r}") from error

    def outputs(self, frame: Array) -> Sequence[Array]:
        """Return the raw outputs for `frame`; the arrays are written again by the next call.

        Raises:
            EngineError: the frame does not fit, or the runtime failed.
        """
        self.ports.write(frame, self._inputs)
        return self.run(self._inputs, self._outputs)

    def perceive(self, frame: Array) -> Perception:
        """Return what the model sees in `frame`.

        Raises:
            EngineError: the frame does not fit, the runtime failed, the model answered NaN or is raw.
        """
        return self.ports.decode(self.outputs(frame))

    def close(self) -> None:
        """Free the session; idempotent."""
        self.session.close()
