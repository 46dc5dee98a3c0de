"""Numbers as a variant stores them."""

import numpy as np
from numpy.typing import NDArray

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import Tensor
from outrider_runtime.session import Array


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
