"""From arrays of features to input tensors: normalized, turned into the tensor's layout, quantized."""

import math

import numpy as np

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import ArrayPreprocess, Input, Tensor
from outrider_runtime.checked import Fit
from outrider_runtime.session import Array

NUMBERS = "biuf"
"""Kinds of dtypes that are real numbers."""


class FeatureWriter:
    """Samples of the logical input's shape, with or without the batch dimension of 1."""

    def __init__(self, given: Input, plan: ArrayPreprocess, tensor: Tensor) -> None:
        """Bring mean and deviation into the input's shape.

        Raises:
            EngineError: shapes, layouts or the number of features contradict one another.
        """
        order = _order(given, tensor)
        axis = given.layout.index("C")
        if {len(plan.mean), len(plan.std)} - {1, given.shape[axis]}:
            found = f"{len(plan.mean)} and {len(plan.std)}"
            raise EngineError(f"mean and std have {found} entries for {given.shape[axis]} features")
        form = [-1 if at == axis else 1 for at in range(len(given.shape))]
        # At full size: numpy broadcasts a short last axis through 64 KB of memory for every call.
        self._mean, self._std = (
            np.broadcast_to(np.array(numbers).reshape(form), given.shape).copy()
            for numbers in (plan.mean, plan.std)
        )
        self._shapes = given.shape, given.shape[1:]
        self._values = np.empty(given.shape, np.float64)
        self._turned = self._values.transpose(order)
        self._quantization = tensor.quantization
        dtype = np.dtype(tensor.dtype)
        self._limits = np.iinfo(dtype) if dtype.kind in "iu" else None
        self._out = Fit("input", (tensor,))

    def write(self, frame: Array, out: Array) -> None:
        """Normalize and, if the tensor is quantized, quantize; see `Preprocessor.write`."""
        if frame.shape not in self._shapes or frame.dtype.kind not in NUMBERS:
            what = f"A sample is {frame.dtype} {frame.shape}"
            raise EngineError(what, f"Samples are numbers of the shape {self._shapes[1]}")
        self._out.check((out,))
        values = self._values
        np.copyto(values, frame)
        values -= self._mean
        values /= self._std
        if not (math.isfinite(values.min()) and math.isfinite(values.max())):
            raise EngineError("A sample holds NaN or infinity", "Mend the source")
        if self._quantization is not None:
            values /= self._quantization.scale
            values += self._quantization.zero_point
        if self._limits is not None:
            np.rint(values, out=values)
            np.clip(values, self._limits.min, self._limits.max, out=values)
        np.copyto(out, self._turned, casting="unsafe")


def _order(given: Input, tensor: Tensor) -> tuple[int, ...]:
    """Return the axes of `given` in the order of `tensor`."""
    same = sorted(given.layout) == sorted(tensor.layout) and len(given.layout) == len(given.shape)
    order = tuple(given.layout.index(letter) for letter in tensor.layout) if same else ()
    if not same or given.shape[0] != 1 or tensor.shape != tuple(given.shape[axis] for axis in order):
        what = f"The input {given.layout} {given.shape} cannot fill {tensor.layout} {tensor.shape}"
        raise EngineError(what, "Both have the same dimensions, and a batch of 1")
    return order
