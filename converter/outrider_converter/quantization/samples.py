"""Calibration samples in the order of dimensions that a file wants."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from outrider_bundle.errors import DataError

SPACIAL = 3
"""Dimensions from which on samples have channels and places: windows, images."""


def fit(samples: NDArray[np.float32], shape: Sequence[int], name: str) -> NDArray[np.float32]:
    """Return samples as a file takes them.

    Args:
        samples: `(n, ...)` float32, windows as `(n, c, t)` and images as `(n, c, h, w)`.
        shape: of the file's input, batch included.
        name: of the file.

    Returns:
        As they are, or with the channels last.

    Raises:
        DataError: neither fits.
    """
    wanted = tuple(int(size) for size in shape)[1:]
    if samples.shape[1:] == wanted:
        return samples
    if samples.ndim >= SPACIAL:
        last = np.moveaxis(samples, 1, -1)
        if last.shape[1:] == wanted:
            return np.ascontiguousarray(last)
    raise DataError(
        f"{name} takes samples of shape {wanted}, the recipe's input has {samples.shape[1:]}",
        "Correct input.shape",
    )
