"""The ladder: which variant is loaded next, by a table and by any order of events."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider_agent.backoff import Backoff
from outrider_agent.engine.ladder import STEADY_S, Ladder, Step

LEAST_S, MOST_S = 2.0, 16.0


def ladder(rungs: int = 3, failures: int = 2) -> Ladder:
    return Ladder(rungs, failures, Backoff(LEAST_S, MOST_S, lambda: 0.0))


def standing_on(rung: int, now_s: float = 0.0, rungs: int = 3, failures: int = 2) -> Ladder:
    made = ladder(rungs, failures)
    made.runs(rung, now_s)
    return made


@pytest.mark.parametrize(
    ("rungs", "failures", "on", "steps"),
    [
        (3, 2, 0, [Step(rung=0), Step(rung=1)]),
        (3, 1, 0, [Step(rung=1)]),
        (3, 3, 1, [Step(rung=1), Step(rung=1), Step(rung=2)]),
        (3, 2, 2, [Step(rung=2), Step(rung=0, delay_s=2 * LEAST_S)]),
        (1, 2, 0, [Step(rung=0), Step(rung=0, delay_s=LEAST_S)]),
    ],
)
def test_failures_in_a_row_lead_to_the_next_rung_and_from_the_last_to_a_pause(
    rungs: int, failures: int, on: int, steps: list[Step]
) -> None:
    made = standing_on(on, rungs=rungs, failures=failures)
    assert [made.failed(1.0) for _ in steps] == steps


def test_the_same_rung_loaded_again_does_not_forget_its_failures() -> None:
    made = standing_on(0)
    assert made.failed(1.0) == Step(rung=0)
    made.runs(0, 2.0)
    assert made.failed(3.0) == Step(rung=1)


def test_another_rung_starts_without_failures() -> None:
    made = standing_on(0)
    made.failed(1.0)
    made.failed(1.0)
    made.runs(1, 2.0)
    assert made.failed(3.0) == Step(rung=1)


def test_failures_are_forgotten_after_steady_work() -> None:
    made = standing_on(0)
    assert made.failed(1.0) == Step(rung=0)
    made.runs(0, 2.0)
    assert made.failed(2.0 + STEADY_S) == Step(rung=0)


def test_what_cannot_be_run_gives_way_at_once() -> None:
    made = standing_on(0)
    assert made.refused(0) == Step(rung=1)
    assert made.refused(1) == Step(rung=2)
    assert made.refused(2) == Step(rung=0, delay_s=LEAST_S)
    assert made.retry_s() is None


def test_a_better_rung_is_tried_again_with_longer_and_longer_waits_until_it_works() -> None:
    made = standing_on(1, 10.0)
    waits = []
    for _ in range(5):
        due_s = made.retry_s()
        assert due_s is not None
        made.stayed(due_s)
        waits.append(due_s)
    gaps = [later - sooner for sooner, later in itertools.pairwise(waits)]
    assert (waits[0], gaps) == (10.0 + LEAST_S, [4.0, 8.0, 16.0, 16.0])
    made.runs(0, 100.0)
    assert made.retry_s() is None


def test_a_climb_half_way_waits_before_the_next() -> None:
    made = standing_on(2, 0.0)
    due_s = made.retry_s()
    assert due_s == LEAST_S
    assert due_s is not None
    made.runs(1, due_s)
    again_s = made.retry_s()
    assert again_s is not None
    assert again_s > due_s


def test_a_wait_goes_on_when_the_same_worse_rung_is_replaced() -> None:
    made = standing_on(1, 0.0)
    made.failed(1.0)
    made.runs(1, 1.5)
    assert made.retry_s() == LEAST_S


def test_waits_grow_while_the_best_keeps_failing_and_are_short_again_once_it_has_worked() -> None:
    made = standing_on(0, failures=1)
    delays = []
    for now_s in (1.0, 2.0, 3.0):
        assert made.failed(now_s) == Step(rung=1)
        made.runs(1, now_s)
        due_s = made.retry_s()
        assert due_s is not None
        delays.append(due_s - now_s)
        made.runs(0, now_s)
    assert delays == [2.0, 4.0, 8.0]
    made.failed(3.0 + STEADY_S)
    made.runs(1, 40.0)
    assert made.retry_s() == 40.0 + LEAST_S


EVENTS = st.lists(
    st.tuples(st.sampled_from(["loads", "refuses", "fails", "climbs", "stays"]), st.floats(0.0, 50.0))
)


@given(rungs=st.integers(1, 4), failures=st.integers(1, 3), events=EVENTS)
def test_whatever_happens_there_is_a_rung_to_take_and_a_bounded_wait(
    rungs: int, failures: int, events: list[tuple[str, float]]
) -> None:
    made = ladder(rungs, failures)
    now_s, row, step = 0.0, 0, Step(rung=0)
    made.runs(0, now_s)
    running = True
    for what, passed_s in events:
        now_s += passed_s
        if not running:
            assert 0 <= step.rung < rungs
            assert step.delay_s == 0.0 or (step.rung == 0 and LEAST_S <= step.delay_s <= MOST_S)
            if what == "refuses":
                before, step = step, made.refused(step.rung)
                assert step.rung == before.rung + 1 or (before.rung == rungs - 1 and step.delay_s > 0)
            else:
                row = row if step.rung == made.rung else 0
                running = True
                made.runs(step.rung, now_s)
                assert made.rung == step.rung
        elif what == "fails":
            rung, step, running = made.rung, made.failed(now_s), False
            row += 1
            assert step.rung in {rung, rung + 1, 0}
            if step.rung == rung and not step.delay_s:
                assert failures > 1
            elif step.rung == rung + 1:
                row = 0
        elif what == "climbs" and made.rung:
            made.runs(made.rung - 1, now_s)
        elif what == "stays" and made.rung:
            made.stayed(now_s)
        if running:
            due_s = made.retry_s()
            assert (due_s is None) == (made.rung == 0)
            assert due_s is None or due_s - now_s <= MOST_S


@given(failures=st.integers(1, 6), rungs=st.integers(1, 5))
def test_a_device_on_which_everything_crashes_tries_each_rung_so_often_and_then_rests(
    failures: int, rungs: int
) -> None:
    made, loads = ladder(rungs, failures), []
    made.runs(0, 0.0)
    step = Step(rung=0)
    while not step.delay_s:
        loads.append(step.rung)
        made.runs(step.rung, 0.0)
        step = made.failed(0.0)
    assert loads == [rung for rung in range(rungs) for _ in range(failures)]
