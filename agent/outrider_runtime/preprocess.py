"""From a frame to a model's input tensor, without allocating memory of a frame's size."""

from typing import Protocol

from outrider_bundle.manifest import ArrayPreprocess, Input, Tensor
from outrider_runtime.features import FeatureWriter
from outrider_runtime.images import ImageWriter
from outrider_runtime.session import Array


class Preprocessor(Protocol):
    """Writes frames into input tensors. It owns scratch memory: one thread at a time."""

    def write(self, frame: Array, out: Array) -> None:
        """Preprocess `frame` into `out`, an array of the physical tensor's shape and dtype.

        Raises:
            EngineError: the frame or `out` is not of a shape and dtype it can take.
        """
        ...


def preprocessor(given: Input, tensor: Tensor) -> Preprocessor:
    """Return what turns frames into `tensor`.

    Args:
        given: the logical input and its preprocessing.
        tensor: the variant's physical input; its layout, dtype and quantization are what is written.

    Raises:
        EngineError: shapes, layouts or channels contradict one another.
    """
    if isinstance(given.preprocess, ArrayPreprocess):
        return FeatureWriter(given, given.preprocess, tensor)
    return ImageWriter(given, given.preprocess, tensor)
