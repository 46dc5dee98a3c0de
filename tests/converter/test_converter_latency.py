"""Timing: all models take turns, and a claim of speed takes the worse of two ratios."""

import time
from collections.abc import Sequence

import numpy as np
import pytest

from outrider_bundle.manifest import Tensor
from outrider_converter.latency import Latency, measure, speedup
from outrider_converter.progress import NullReporter
from outrider_runtime.session import Array, Placement, Session

TENSOR = Tensor(name="x", shape=(1, 2), dtype="float32")


class Sleeper(Session):
    """A session that takes a known time and notes when it was called."""

    def __init__(self, name: str, seconds: float, calls: list[str]) -> None:
        self._name, self._seconds, self._calls = name, seconds, calls

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return (TENSOR,)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        return (TENSOR,)

    def run(self, inputs: Sequence[Array], out: Sequence[Array] | None = None) -> Sequence[Array]:
        assert inputs[0].shape == (1, 2)
        assert inputs[0].dtype == np.float32
        assert out is not None
        self._calls.append(self._name)
        time.sleep(self._seconds)
        return out

    def placement(self) -> Placement:
        return Placement(device="none", backend="sleep")

    def close(self) -> None:
        pass


def test_models_take_turns_and_the_warm_up_is_not_counted() -> None:
    calls: list[str] = []
    sessions = {"slow": Sleeper("slow", 0.004, calls), "fast": Sleeper("fast", 0.001, calls)}
    times = measure(sessions, NullReporter().start("", 0), rounds=3, calls=2)
    assert calls == (["slow"] * 3 + ["fast"] * 3) * 3
    assert 4.0 <= times["slow"].min_ms <= times["slow"].p50_ms
    assert 1.0 <= times["fast"].min_ms < 4.0


def test_a_speedup_is_the_lower_of_two_ratios() -> None:
    reference = Latency(min_ms=10.0, p50_ms=30.0)
    assert speedup(reference, Latency(min_ms=2.0, p50_ms=5.0)) == pytest.approx(5.0)
    assert speedup(reference, Latency(min_ms=1.0, p50_ms=10.0)) == pytest.approx(3.0)
