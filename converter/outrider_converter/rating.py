"""One number for how well a variant does, with its 95 % interval, whatever the task."""

import math

import numpy as np
from numpy.typing import NDArray

from outrider_converter.accuracy import Accuracy

RESAMPLES = 200
"""Draws of the bootstrap: the interval's ends then move by a twentieth of its width."""

Rows = NDArray[np.float64]


def r2(given: Rows, wanted: Rows) -> Accuracy:
    """Return the coefficient of determination, the mean over the columns, cut off at 0.

    1 - sum of squared errors / sum of squared deviations from the mean: 1 is exact, 0 no better than always
    answering the mean. A column that does not vary counts 1 if it is met exactly, else 0. The interval is
    that of a bootstrap over samples (Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979).

    Args:
        given: `(n, k)`.
        wanted: `(n, k)`, of any units.
    """
    source, count = np.random.default_rng(0), len(wanted)
    draws = [source.integers(count, size=count) for _ in range(RESAMPLES)]
    low, high = np.percentile([_r2(given[rows], wanted[rows]) for rows in draws], (2.5, 97.5))
    value = _r2(given, wanted)
    return Accuracy(value=value, low=min(float(low), value), high=max(float(high), value))


def _r2(given: Rows, wanted: Rows) -> float:
    errors = ((given - wanted) ** 2).sum(0)
    spread = ((wanted - wanted.mean(0)) ** 2).sum(0)
    exact = np.where(errors == 0.0, 1.0, 0.0)
    shares = np.where(spread > 0.0, 1 - errors / np.where(spread > 0.0, spread, 1.0), exact)
    return float(np.clip(shares, 0.0, 1.0).mean())


def mean_of(shares: Rows) -> Accuracy:
    """Return the mean of shares `(n,)` in 0..1 and its interval by the normal approximation."""
    value, half = float(shares.mean()), 1.96 * float(shares.std()) / math.sqrt(len(shares))
    return Accuracy(value=value, low=max(0.0, value - half), high=min(1.0, value + half))
