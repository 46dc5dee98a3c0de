"""What each schedule gives at its turning points."""

import math

import pytest

from outrider_converter.schedule import Schedule, learning_rate


def test_one_cycle_rises_once_and_falls_to_nearly_nothing() -> None:
    rates = [learning_rate(i / 100, 2.0) for i in range(101)]
    peak = rates.index(max(rates))
    assert max(rates) == pytest.approx(2.0)
    assert peak == 15
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert 0 < rates[-1] < 0.01


def test_one_cycle_has_the_bits_of_its_formula() -> None:
    for at in (0.2, 0.37, 0.9):
        falling = 5e-3 * max(0.5 * (1 + math.cos(math.pi * (at - 0.15) / (1 - 0.15))), 1e-3)
        assert learning_rate(at, 5e-3) == falling


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("cosine", [2.0, 1 + math.sqrt(0.5), 1.0, 1 - math.sqrt(0.5), 0.002]),
        ("step", [2.0, 2.0, 0.2, 0.02, 0.02]),
        ("constant", [2.0] * 5),
        ("one-cycle", [0.002, 1.932, 1.273, 0.397, 0.002]),
    ],
)
def test_each_schedule_at_its_quarters(schedule: Schedule, expected: list[float]) -> None:
    rates = [learning_rate(i / 4, 2.0, schedule) for i in range(5)]
    assert rates == pytest.approx(expected, abs=1e-3)
