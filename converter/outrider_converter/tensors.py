"""From frames to what torch trains on: the device's own resizing and colour, then normalization in torch."""

import numpy as np
import torch
from msgspec.structs import replace
from numpy.typing import NDArray
from torch import Tensor

from outrider_bundle.manifest import ArrayPreprocess, ImagePreprocess, Input
from outrider_bundle.manifest import Tensor as TensorSpec
from outrider_converter.recipe import Recipe
from outrider_runtime.preprocess import preprocessor


def logical_input(recipe: Recipe) -> Input:
    """Return the manifest's input of `recipe`."""
    entry = recipe.input
    return Input(
        name=entry.name, shape=entry.shape, dtype="float32", layout=entry.layout, preprocess=entry.preprocess
    )


def prepare(frames: NDArray[np.generic], entry: Input) -> Tensor:
    """Bring frames to the model's size and channel order, not yet normalized.

    Args:
        frames: uint8 `(n, h, w)` or `(n, h, w, 3)` BGR, or feature arrays.
        entry: the model's input.

    Returns:
        uint8 `(n, c, h, w)` for images, float32 `(n, ...)` for arrays.
    """
    if isinstance(entry.preprocess, ArrayPreprocess):
        return torch.from_numpy(np.ascontiguousarray(frames, np.float32))
    _, channels, height, width = entry.shape
    if channels == 1 and frames.shape[1:] == (height, width):
        return torch.from_numpy(np.ascontiguousarray(frames, np.uint8))[:, None]
    neutral = ImagePreprocess(
        color=entry.preprocess.color,
        resize=entry.preprocess.resize,
        interpolation=entry.preprocess.interpolation,
        scale=1.0,
    )
    spec = TensorSpec(name=entry.name, shape=entry.shape, dtype="float32", layout=entry.layout)
    writer = preprocessor(replace(entry, preprocess=neutral), spec)
    out, row = np.empty((len(frames), *entry.shape[1:]), np.uint8), np.empty(entry.shape, np.float32)
    for index, frame in enumerate(frames):
        writer.write(np.ascontiguousarray(frame), row)
        np.rint(row[0], out=row[0])
        out[index] = row[0]
    return torch.from_numpy(out)


class Normalizer:
    """Prepared values to model input, as the manifest defines it; images become channels-last."""

    def __init__(self, entry: Input) -> None:
        """Fold scale, mean and deviation of `entry` into one factor and one offset."""
        pre = entry.preprocess
        axes = (1, -1, *(1,) * (len(entry.shape) - 2))
        std = torch.tensor(pre.std).reshape(axes)
        scale = pre.scale if isinstance(pre, ImagePreprocess) else 1.0
        self._factor = scale / std
        self._offset = -torch.tensor(pre.mean).reshape(axes) / std
        self._image = isinstance(pre, ImagePreprocess)

    def __call__(self, values: Tensor) -> Tensor:
        """Return float32 of the same shape."""
        scaled = torch.addcmul(self._offset, values.float(), self._factor)
        return scaled.contiguous(memory_format=torch.channels_last) if self._image else scaled
