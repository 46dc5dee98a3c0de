"""Accuracies as they may be quoted: with their interval, by class, and against another model's answers."""

import math

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Z95 = 1.959963984540054
"""Standard normal quantile of a two-sided 95 % interval."""

Indices = NDArray[np.int64]


class Accuracy(Struct, frozen=True, kw_only=True):
    """A share of right answers and its 95 % interval."""

    value: float
    low: float
    high: float


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share.

    Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22 (1927).
    """
    share, square = hits / count, Z95**2
    middle = share + square / (2 * count)
    half = Z95 * math.sqrt(share * (1 - share) / count + square / (4 * count**2))
    scale = 1 + square / count
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def accuracy_of(answers: Indices, labels: Indices) -> Accuracy:
    """Return how often `answers` are right."""
    hits = int((answers == labels).sum())
    low, high = wilson(hits, len(labels))
    return Accuracy(value=hits / len(labels), low=low, high=high)


def agreement(first: Indices, second: Indices) -> float:
    """Return the share of equal answers."""
    return float((first == second).mean())


def by_class(answers: Indices, labels: Indices, classes: int) -> tuple[float | None, ...]:
    """Return the share of right answers of each class; None where a class has no sample."""
    masks = [labels == index for index in range(classes)]
    return tuple(float((answers[m] == index).mean()) if m.any() else None for index, m in enumerate(masks))
