"""Accuracies and their intervals."""

import numpy as np
import pytest

from outrider_converter.accuracy import accuracy_of, agreement, by_class, wilson


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    # Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17
    # (1998), table I, method 3: three of its worked examples; and the certain cases.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (20, 20, 0.8389, 1.0),
    ],
)
def test_wilson_agrees_with_the_literature(hits: int, count: int, low: float, high: float) -> None:
    assert wilson(hits, count) == pytest.approx((low, high), abs=5e-5)


def test_an_interval_narrows_with_the_root_of_the_count() -> None:
    wide, narrow = wilson(90, 100), wilson(9000, 10000)
    assert (wide[1] - wide[0]) / (narrow[1] - narrow[0]) == pytest.approx(10, rel=0.05)


def test_shares() -> None:
    labels, answers = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 0])
    found = accuracy_of(answers, labels)
    assert found.value == 0.6
    assert found.low < 0.6 < found.high
    assert agreement(answers, np.array([0, 1, 1, 0, 0])) == 0.8
    assert by_class(answers, labels, 3) == (0.5, pytest.approx(2 / 3), None)
