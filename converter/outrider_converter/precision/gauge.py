"""How far an int8 file's outputs are from those of the float file it was made of."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from outrider_bundle.manifest import Manifest
from outrider_bundle.manifest import Tensor as TensorSpec
from outrider_converter.artifact import Context
from outrider_converter.exports import Export
from outrider_converter.quantization.deviation import Deviation, compare
from outrider_converter.strip.candidate import strip
from outrider_converter.verify import open_model
from outrider_runtime.decoders import dequantize

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
        self._wanted = self._outputs(reference)

    def deviation(self, export: Export, count: int | None = None) -> Deviation:
        """Return how far `export` is from the reference, on the first `count` frames or all.

        Raises:
            EngineError: its runtime does not load or run it.
        """
        given = self._outputs(export, count)
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


def flatten(outputs: Sequence[NDArray[np.generic]], tensors: Sequence[TensorSpec]) -> NDArray[np.float32]:
    """Return raw outputs as one vector of real values."""
    parts = []
    for raw, tensor in zip(outputs, tensors, strict=True):
        parts.append(dequantize(raw, tensor).astype(np.float32).ravel())
    return np.concatenate(parts)
