"""Readers of the decoders, without a manifest around them."""

from collections.abc import Sequence

import numpy as np

from outrider_bundle.manifest import (
    Decoder as Plan,
)
from outrider_bundle.manifest import (
    Dtype,
    ImagePreprocess,
    Input,
    Output,
    Quantization,
    Tensor,
)
from outrider_runtime.decoders import Decoder, decoder
from outrider_runtime.session import Array

PICTURE = Input(name="image", shape=(1, 1, 50, 100), layout="NCHW", preprocess=ImagePreprocess(color="gray"))
"""100 pixels wide and 50 high."""


def tensor(
    shape: Sequence[int], dtype: Dtype = "float32", quantization: Quantization | None = None
) -> Tensor:
    """Return a physical output."""
    return Tensor(name="y", shape=tuple(shape), dtype=dtype, quantization=quantization)


def reading(
    plan: Plan, tensors: Sequence[Tensor], given: Input = PICTURE, fed: Tensor | None = None
) -> Decoder:
    """Return what reads `tensors` by `plan`; the physical input is as the logical one if left out."""
    output = Output(name="y", shape=tensors[0].shape, decoder=plan)
    same = Tensor(name=given.name, shape=given.shape, dtype=given.dtype, layout=given.layout)
    return decoder(output, tensors, given, fed or same)


def quantized(real: Array, scale: float, zero_point: int, dtype: Dtype = "int8") -> tuple[Array, Tensor]:
    """Return real values as they are stored, and their tensor."""
    limits = np.iinfo(dtype)
    stored = np.clip(np.rint(real / scale) + zero_point, limits.min, limits.max).astype(dtype)
    return stored, tensor(real.shape, dtype, Quantization(scale=scale, zero_point=zero_point))
