"""Rows into windows that never cross the border of a file, a group or a class.

Windows that overlap share rows, so windows of one stretch stay together when data is divided: else
validation and test would hold what training has seen.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from outrider_bundle.errors import DataError
from outrider_converter.recipe import WindowOptions

STRETCH = 4
"""Windows' lengths a stretch; long runs are cut into them so that they can be divided at all."""

Run = tuple[int, int]
"""First row and the row behind the last."""


def stretches(keys: Sequence[NDArray[np.int64]], options: WindowOptions) -> list[Run]:
    """Return the runs of rows over which no key changes, long ones cut into pieces if windows overlap.

    Args:
        keys: of each row: file, group, class.
        options: of the windows.
    """
    changes = np.any([np.diff(key) != 0 for key in keys], axis=0)
    borders = [0, *(np.flatnonzero(changes) + 1).tolist(), len(keys[0])]
    length = options.length
    size = STRETCH * length if options.stride < length else len(keys[0])
    found: list[Run] = []
    for start, stop in pairwise(borders):
        starts = list(range(start, max(start + 1, stop - length + 1), size))
        found += list(zip(starts, [*starts[1:], stop], strict=True))
    return found


def cut(
    values: NDArray[np.float32], runs: Sequence[Run], options: WindowOptions
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Cut windows out of runs of rows.

    Args:
        values: `(rows, channels)`.
        runs: to cut, each by itself.
        options: length and stride.

    Returns:
        Windows `(n, channels, length)`, the first row of each, and what it shares rows with: the number
        of its run, or itself alone.

    Raises:
        DataError: no run is long enough.
    """
    first, unit = [], []
    for number, (start, stop) in enumerate(runs):
        starts = range(start, stop - options.length + 1, options.stride)
        first += list(starts)
        unit += [number] * len(starts)
    if not first:
        longest = max(stop - start for start, stop in runs)
        raise DataError(
            f"A window has {options.length} rows, and the longest run of one file, group and class {longest}",
            "Lower data.window.length",
        )
    windows = np.stack([values[row : row + options.length].T for row in first])
    alone = options.stride >= options.length
    return windows, np.array(first, np.int64), np.arange(len(first)) if alone else np.array(unit, np.int64)
