"""What windows a recording has, seen from its end: all samples are there, sorted and only once.

Written without `outrider_agent.windows`, to judge it: numpy's interpolation over the whole recording
instead of a walk through it.
"""

from collections.abc import Mapping

import numpy as np

from outrider_runtime.session import Array


def reference_windows(
    samples: Mapping[int, Array], window: int, hop: int = 1, gap: int = 0
) -> dict[int, Array]:
    """Return the windows of a recording, float32 `(window, channels)`, by the place of their last sample.

    Args:
        samples: numbers `(channels,)` by place, without those that are missing.
        window: places in a window.
        hop: places from one window to the next; the first of each stretch begins with its first sample.
        gap: the longest run of missing samples that is interpolated; a longer one ends a stretch.
    """
    places = np.array(sorted(samples))
    if not len(places):
        return {}
    rows = np.array([samples[int(place)] for place in places], np.float64)
    cuts = np.flatnonzero(np.diff(places) > gap + 1) + 1
    found: dict[int, Array] = {}
    for known, values in zip(np.split(places, cuts), np.split(rows, cuts), strict=True):
        grid = np.arange(known[0], known[-1] + 1)
        full = np.stack([np.interp(grid, known, column) for column in values.T], axis=1)
        for start in range(0, len(grid) - window + 1, hop):
            found[int(grid[start + window - 1])] = full[start : start + window].astype(np.float32)
    return found
