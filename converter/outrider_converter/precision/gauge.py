"""How far an int8 file's outputs are from those of the float file it was made of."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from outrider_bundle.decoders import BOX, numbers_axis
from outrider_bundle.manifest import DetectionDecoder, Manifest, SsdDecoder
from outrider_bundle.manifest import Tensor as TensorSpec
from outrider_converter.artifact import Context
from outrider_converter.exports import Export
from outrider_converter.quantization.deviation import Deviation, compare
from outrider_converter.strip.candidate import strip
from outrider_converter.verify import open_model
from outrider_runtime.decoders import dequantize

Vector = NDArray[np.float32]

FRAMES = 256
"""Most frames that outputs are compared on."""


class Gauge:
    """Compares files with one float file on the same validation frames; its outputs are computed once."""

    def __init__(self, manifest: Manifest, context: Context, reference: Export, count: int = FRAMES) -> None:
        """Run `reference` on at most `count` validation frames, evenly spread.

        Raises:
            EngineError: its runtime does not load or run it.
        """
        self._manifest, self._context = manifest, context
        frames = context.data.validation.frames
        self._frames = frames[np.linspace(0, len(frames) - 1, min(count, len(frames))).astype(int)]
        self._size: Vector | float = 1.0
        found = self._outputs(reference)
        parts = parts_of(manifest)
        if parts is not None:
            self._size = sizes(found, parts)
        self._wanted = found / self._size

    def deviation(self, export: Export, count: int | None = None) -> Deviation:
        """Return how far `export` is from the reference, on the first `count` frames or all.

        Raises:
            EngineError: its runtime does not load or run it.
        """
        given = self._outputs(export, count) / self._size
        return compare(given, self._wanted[: len(given)])

    def _outputs(self, export: Export, count: int | None = None) -> NDArray[np.float32]:
        candidate = strip(export, self._context.recipe, self._context.folder)
        model = open_model(self._manifest, candidate)
        try:
            return np.stack(
                [flatten(model.outputs(f), candidate.outputs).copy() for f in self._frames[:count]]
            )
        finally:
            model.close()


def parts_of(manifest: Manifest) -> NDArray[np.int64] | None:
    """Return which kind of number each value of the flattened outputs is; None if all are of one.

    A detector's coordinates are hundreds of times its scores: beside them nobody would see the scores lost.
    """
    decoder, shapes = manifest.outputs[0].decoder, [one.shape for one in manifest.outputs]
    if isinstance(decoder, SsdDecoder):
        return np.repeat(np.arange(len(shapes)), [math.prod(shape) for shape in shapes])
    if not isinstance(decoder, DetectionDecoder):
        return None
    axis = numbers_axis(decoder, shapes[0])
    kinds = np.maximum(np.arange(shapes[0][axis]) - (BOX - 1), 0)
    kinds = kinds if decoder.layout == "end" else np.minimum(kinds, 1)
    return np.broadcast_to(kinds[:, None] if axis == 1 else kinds, shapes[0][1:]).ravel()


def sizes(wanted: Vector, parts: NDArray[np.int64]) -> Vector:
    """Return by what each value is divided, so that every kind counts alike: its norm, 1 a frame at least."""
    least = math.sqrt(len(wanted))
    norms = [max(float(np.linalg.norm(wanted[:, parts == kind])), least) for kind in range(parts.max() + 1)]
    return np.array(norms, np.float32)[parts]


def flatten(outputs: Sequence[NDArray[np.generic]], tensors: Sequence[TensorSpec]) -> NDArray[np.float32]:
    """Return raw outputs as one vector of real values."""
    parts = []
    for raw, tensor in zip(outputs, tensors, strict=True):
        parts.append(dequantize(raw, tensor).astype(np.float32).ravel())
    return np.concatenate(parts)
