"""The shadow: what is seen of a candidate, and that the loop never pays for its faults."""

import time
from collections.abc import Sequence
from typing import cast

import numpy as np
import pytest

from outrider_agent.engine.mount import Mounted
from outrider_agent.engine.seam import GoneError
from outrider_agent.engine.seat import Seat
from outrider_agent.engine.shadow import Shadow
from outrider_agent.perceiver import Perceiver
from outrider_agent.seams import Frame
from outrider_agent.telemetry.metrics import Meters
from outrider_bundle.errors import EngineError
from outrider_runtime.perception import Classification
from outrider_runtime.session import Array
from tests.fakes.candidates import PolledEngine, mounted
from tests.fakes.engines import LABELS, Bench, CopyLens, ScriptedEngine

FRAME = np.zeros((4, 4), np.uint8)
DEADLINE_S, HANG_S = 0.02, 0.03


@pytest.fixture
def engine() -> PolledEngine:
    return PolledEngine()


def shadow(engine: PolledEngine, share: float = 1.0, frames: int = 100, deadline_s: float = 10.0) -> Shadow:
    return Shadow(mounted(engine), share, frames, deadline_s, HANG_S)


def seen(index: int) -> Classification:
    return Classification(index=index, label=LABELS[index], score=1.0, margin=1.0)


def frame(shown: Shadow, engine: PolledEngine, seq: int, theirs: int, ours: int | None) -> None:
    """Take one frame through; the candidate answers before the model at work has."""
    shown.offer(FRAME, seq)
    if ours is not None and engine.open:
        engine.answer(ours)
    shown.compare(seq, seen(theirs))


def test_agreement_is_the_mean_over_the_frames_that_both_have_answered(engine: PolledEngine) -> None:
    shown = shadow(engine)
    for seq, (theirs, ours) in enumerate([(0, 0), (1, 1), (2, 0), (1, 1)]):
        frame(shown, engine, seq, theirs, ours)
    found = shown.record()
    assert (found.frames, found.offered, found.agreement, found.errors) == (4, 4, 0.75, 0)
    assert found.p50_ms == pytest.approx(1.0, rel=0.04)
    assert found.p95_ms == pytest.approx(1.0, rel=0.04)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.3, 1.0])
def test_it_is_offered_its_share(engine: PolledEngine, share: float) -> None:
    shown = shadow(engine, share, 10_000)
    for seq in range(1000):
        frame(shown, engine, seq, 0, 0)
    assert abs(shown.record().offered - 1000 * share) <= 1


def test_an_answer_that_comes_frames_later_is_compared_with_its_own_frame(engine: PolledEngine) -> None:
    shown = shadow(engine)
    frame(shown, engine, 0, 2, None)
    frame(shown, engine, 1, 0, None)
    engine.answer(2)
    frame(shown, engine, 2, 1, 1)
    found = shown.record()
    assert (found.frames, found.offered, found.agreement) == (2, 2, 1.0)


def test_a_frame_that_the_model_at_work_has_not_answered_does_not_count(engine: PolledEngine) -> None:
    shown = shadow(engine)
    shown.offer(FRAME, 0)
    engine.answer(1)
    shown.offer(FRAME, 1)
    found = shown.record()
    assert (found.frames, found.errors, found.offered) == (0, 0, 2)


def test_it_is_never_offered_a_second_frame_before_it_has_answered_the_first(engine: PolledEngine) -> None:
    shown = shadow(engine, deadline_s=0.0)
    for seq in range(5):
        frame(shown, engine, seq, 0, None)
    assert (shown.record().offered, engine.waits) == (1, 0)


def test_a_late_answer_is_one_error_and_is_not_compared(engine: PolledEngine) -> None:
    shown = shadow(engine, deadline_s=DEADLINE_S)
    frame(shown, engine, 0, 0, None)
    time.sleep(DEADLINE_S + 0.005)
    frame(shown, engine, 1, 0, None)
    frame(shown, engine, 2, 0, None)
    assert (shown.record().errors, shown.gone) == (1, "")
    engine.answer(0)
    frame(shown, engine, 3, 1, 1)
    found = shown.record()
    assert (found.frames, found.errors, found.offered, engine.waits) == (1, 1, 2, 0)


def test_a_run_that_took_too_long_is_late_even_if_nobody_looked_meanwhile(engine: PolledEngine) -> None:
    shown = shadow(engine, deadline_s=DEADLINE_S)
    shown.offer(FRAME, 0)
    engine.answer(0, took_ns=int(2 * DEADLINE_S * 1e9))
    shown.compare(0, seen(0))
    assert (shown.record().frames, shown.record().errors) == (0, 1)


def test_one_that_hangs_is_given_up_and_said(engine: PolledEngine) -> None:
    shown = shadow(engine, deadline_s=DEADLINE_S)
    frame(shown, engine, 0, 0, None)
    time.sleep(DEADLINE_S + HANG_S + 0.005)
    frame(shown, engine, 1, 0, None)
    assert "hangs" in shown.gone
    assert shown.finished.is_set()
    frame(shown, engine, 2, 0, None)
    assert (shown.record().offered, shown.record().errors, engine.waits) == (1, 1, 0)


@pytest.mark.parametrize("error", [EngineError("the delegate is gone"), ValueError("not one of ours")])
@pytest.mark.parametrize("answered", [False, True])
def test_a_fault_is_counted_and_the_next_frame_is_offered(
    engine: PolledEngine, error: Exception, *, answered: bool
) -> None:
    shown = shadow(engine)
    if answered:
        shown.offer(FRAME, 0)
    engine.fail(error)
    frame(shown, engine, 0 if answered else 1, 0, None)
    assert (shown.record().errors, shown.gone) == (1, "")
    for seq in range(2, 4):
        frame(shown, engine, seq, 0, 0)
    assert (shown.record().errors, shown.record().frames) == (1, 2)


def test_a_frame_that_does_not_fit_is_its_error_too(engine: PolledEngine) -> None:
    shown = shadow(engine)
    shown.offer(np.zeros((5, 7), np.uint8), 0)
    assert shown.record().errors == 1


def test_one_that_died_ends_the_shadow(engine: PolledEngine) -> None:
    shown = shadow(engine)
    shown.offer(FRAME, 0)
    engine.fail(GoneError("killed by SIGSEGV"))
    shown.compare(0, seen(0))
    assert (shown.gone, shown.finished.is_set()) == ("killed by SIGSEGV", True)
    shown.offer(FRAME, 1)
    assert shown.record().offered == 1


def test_it_has_finished_with_so_many_answers_and_errors(engine: PolledEngine) -> None:
    shown = shadow(engine, frames=3)
    frame(shown, engine, 0, 0, 0)
    engine.fail(EngineError("no"))
    frame(shown, engine, 1, 0, None)
    assert not shown.finished.is_set()
    frame(shown, engine, 2, 0, 0)
    assert shown.finished.is_set()


class Meddling(CopyLens):
    """While a frame is written, or its answer read, somebody takes the shadow away."""

    def __init__(self, seat: Seat, at: str) -> None:
        self._seat, self._at = seat, at

    def write(self, frame: Array, inputs: Sequence[Array]) -> None:
        super().write(frame, inputs)
        if self._at == "write":
            self._seat.shadow = None

    def decode(self, outputs: Sequence[Array]) -> Classification:
        if self._at == "decode":
            self._seat.shadow = None
        return super().decode(outputs)


@pytest.mark.parametrize("at", ["write", "decode"])
def test_a_shadow_that_is_taken_away_costs_no_decision(engine: PolledEngine, at: str) -> None:
    seat = Seat()
    seat.change(cast("Mounted", Bench(Meddling(seat, at), ScriptedEngine([1]))), 0.0)
    seat.shadow = shadow(engine)
    perceiver = Perceiver(seat, 0.1)
    found = perceiver.perceive(Frame(id="f", time_s=0.0, array=FRAME, seq=0), Meters(), 0)
    assert found.labels == ("boot",)
    assert seat.shadow is None
