"""Learning rates over a training, as a share of it."""

import math
from typing import Literal

Schedule = Literal["one-cycle", "cosine", "step", "constant"]

WARMUP = 0.15
"""Share of a one-cycle training over which the rate rises."""

FLOOR = 1e-3
"""A rise starts, and a cosine ends, at this share of the peak."""

STEPS = (0.5, 0.75)
"""Shares of a training after which a stepped rate falls to a tenth."""


def learning_rate(progress: float, peak: float, schedule: Schedule = "one-cycle") -> float:
    """Return the rate at `progress` in 0..1.

    Args:
        progress: share of the steps that are done.
        peak: the largest rate.
        schedule: one-cycle rises linearly, then falls as a cosine (Smith and Topin, arXiv 1708.07120);
            cosine only falls (Loshchilov and Hutter, arXiv 1608.03983); step falls to a tenth twice.
    """
    if schedule == "constant":
        return peak
    if schedule == "step":
        return peak * float(0.1 ** sum(progress >= at for at in STEPS))
    if schedule == "cosine":
        return _falling(progress, peak, 0.0)
    if progress < WARMUP:
        return peak * max(progress / WARMUP, FLOOR)
    return _falling(progress, peak, WARMUP)


def _falling(progress: float, peak: float, start: float) -> float:
    """Return half a cosine from `peak` at `start` down to nearly nothing at 1."""
    return peak * max(0.5 * (1 + math.cos(math.pi * (progress - start) / (1 - start))), FLOOR)
