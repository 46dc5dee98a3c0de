"""Numbers as a variant stores them."""

import math

import numpy as np
from numpy.typing import NDArray

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import Quantization, Tensor
from outrider_runtime.session import Array

PLAIN = Quantization(scale=1.0)
"""Of tensors that hold real values."""


def dequantize(array: Array, tensor: Tensor) -> NDArray[np.float64]:
    """Return the real values of a stored array."""
    real = array.astype(np.float64)
    if tensor.quantization is not None:
        real -= tensor.quantization.zero_point
        real *= tensor.quantization.scale
    return real


def not_a_number() -> EngineError:
    """Return the error of a model that answers NaN or infinity."""
    return EngineError("The model answered NaN or infinity", "Prove the bundle: outrider prove FILE")


class Numbers:
    """Reads outputs of one tensor as Python's numbers, which is quickest for few of them."""

    def __init__(self, tensor: Tensor) -> None:
        """Take scale and zero point from `tensor`."""
        stored = tensor.quantization or PLAIN
        self.scale, self.zero = stored.scale, float(stored.zero_point)
        self.whole = np.dtype(tensor.dtype).kind in "biu"

    def real(self, array: Array) -> list[float]:
        """Return all the real values in `array`, in C order.

        Raises:
            EngineError: one is NaN or infinity.
        """
        zero, scale = self.zero, self.scale
        values = [(number - zero) * scale for number in array.reshape(-1).tolist()]
        if not all(map(math.isfinite, values)):
            raise not_a_number()
        return values

    def least(self, real: float) -> float:
        """Return the least number that stands for `real` or more; where they are whole, a whole one."""
        number = real / self.scale + self.zero
        return float(math.ceil(number - ROUNDING)) if self.whole else number


ROUNDING = 1e-6
"""What a division may be off, in quantization steps."""


class Finite:
    """Refuses what is not a number in large outputs of one tensor."""

    def __init__(self, tensor: Tensor) -> None:
        """See of what kind `tensor` is."""
        self._real = np.dtype(tensor.dtype).kind == "f"

    def check(self, array: Array, part: Array | None = None) -> None:
        """Look at `array`; only in `part` of it for an infinity that is positive.

        Raises:
            EngineError: it holds NaN or infinity.
        """
        # A NaN is the smallest of any numbers, and the largest.
        if self._real and not (
            math.isfinite(np.minimum.reduce(array, None))
            and math.isfinite(np.maximum.reduce(array if part is None else part, None))
        ):
            raise not_a_number()
