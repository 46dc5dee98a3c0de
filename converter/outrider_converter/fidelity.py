"""How near a variant's numbers are to the teacher's: the cosine between their outputs, frame by frame.

Unlike the share of equal answers it needs no labels and no classes, and it sees damage before the
first answer turns.
"""

from typing import Literal

import numpy as np
import torch
from msgspec import Struct
from numpy.typing import NDArray
from torch import Tensor, nn

from outrider_bundle.manifest import ClassificationDecoder, Manifest
from outrider_converter import measure
from outrider_converter.artifact import Context
from outrider_converter.teachers.files import gives_probabilities
from outrider_converter.tensors import Normalizer
from outrider_runtime.decoders import softmax

Outputs = tuple[NDArray[np.float32], ...]
"""One array `(n, ...)` per output of a network."""

Part = Literal["validation", "test"]


class Middle(Struct, frozen=True, kw_only=True):
    """A median and the 95 % interval of it."""

    value: float
    low: float
    high: float


def teacher_outputs(manifest: Manifest, context: Context, part: Part) -> Outputs:
    """Return what the teacher answers to the frames of `part`, as `manifest` has its outputs."""
    known = context.reference.outputs.get(part)
    if known is None:
        split = context.data.validation if part == "validation" else context.data.test
        known = outputs(context.teacher, split.prepared, context.views.normalize)
    scale = context.reference.scale
    if scale is not None:
        known = tuple(scale.standard(torch.from_numpy(part)).numpy() for part in known)
    return as_stated(manifest, known, probabilities=gives_probabilities(context.recipe))


def as_stated(manifest: Manifest, answers: Outputs, *, probabilities: bool = False) -> Outputs:
    """Return answers of a torch network as the files have them: probabilities if nothing is left to apply."""
    decoder = manifest.outputs[0].decoder
    if probabilities or (isinstance(decoder, ClassificationDecoder) and decoder.activation == "none"):
        return (softmax(answers[0].astype(np.float64)).astype(np.float32),)
    return answers


def outputs(model: nn.Module, values: Tensor, normalize: Normalizer) -> Outputs:
    """Return every output `(n, ...)` of `model` for prepared values."""
    return tuple(part.numpy() for part in measure.outputs(model, values, normalize))


def cosine(one: NDArray[np.generic], other: NDArray[np.generic]) -> float:
    """Return the cosine of the angle between two arrays of one size, in float64.

    Two of zeros are the same, one of zeros is unlike any other; NaN gives NaN.
    """
    first, second = one.reshape(-1).astype(np.float64), other.reshape(-1).astype(np.float64)
    sizes = float(np.linalg.norm(first)), float(np.linalg.norm(second))
    if 0.0 in sizes:
        return float(sizes[0] == sizes[1])
    return float(np.clip(first @ second / (sizes[0] * sizes[1]), -1.0, 1.0))


def middle(values: NDArray[np.float64]) -> Middle:
    """Return the median of `values` `(n,)` and its 95 % interval.

    Source of the interval: order statistics, by the normal approximation of the binomial distribution
    (Conover, "Practical Nonparametric Statistics", chapter 3.2).
    """
    ordered = np.sort(values)
    count, half = len(values), 1.96 * np.sqrt(len(values)) / 2
    low, high = int(max(0, np.floor(count / 2 - half))), int(min(count - 1, np.ceil(count / 2 + half)))
    return Middle(value=float(np.median(values)), low=float(ordered[low]), high=float(ordered[high]))


def worst(cosines: NDArray[np.float64]) -> Middle:
    """Return the middle of that output whose median is lowest; `cosines` are `(outputs, n)`."""
    return min((middle(row) for row in cosines), key=lambda one: one.value)
