"""How far outputs are from those wanted, as two numbers."""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray


class Deviation(Struct, frozen=True, kw_only=True):
    """What quantization has done to the outputs.

    Args:
        relative: L2 norm of the difference over that of the float outputs, all frames together.
        agreement: share of frames with the same largest entry.
    """

    relative: float
    agreement: float


def compare(given: NDArray[np.float32], wanted: NDArray[np.float32]) -> Deviation:
    """Return how far outputs `(n, k)` are from those wanted."""
    size = float(np.linalg.norm(wanted)) or 1.0
    return Deviation(
        relative=float(np.linalg.norm(given - wanted)) / size,
        agreement=float((given.argmax(1) == wanted.argmax(1)).mean()),
    )
