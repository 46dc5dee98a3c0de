"""When frames are due: no drift, no bursts, no waiting beyond what was asked."""

import threading
import time
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from outrider_agent.pacing import Clocked, OnDemand, Schedule, pace


@given(st.floats(1.0, 200.0), st.lists(st.floats(0.0, 0.9), min_size=1, max_size=200))
def test_small_delays_do_not_add_up(fps: float, delays: list[float]) -> None:
    schedule = Schedule(fps, 100.0)
    for number, delay in enumerate(delays):
        due_s = schedule.due_s()
        assert abs(due_s - (100.0 + number / fps)) < 1e-6
        schedule.sent(due_s + delay * 0.5 / fps)
    assert abs(schedule.due_s() - (100.0 + len(delays) / fps)) < 1e-6


def test_after_a_stall_it_catches_up_at_twice_the_rate_and_then_keeps_time() -> None:
    schedule, now_s, sent = Schedule(10.0, 0.0), 1.0, []
    while now_s < 4.0:
        sent.append(now_s)
        schedule.sent(now_s)
        now_s = schedule.due_s()
    gaps = [later - earlier for earlier, later in pairwise(sent)]
    assert min(gaps) > 0.049
    assert abs(sent[-1] - (len(sent) - 1) / 10.0) < 1e-6


def test_a_clocked_pace_gives_its_rate() -> None:
    clocked, begun, count = Clocked(100.0), time.monotonic(), 0
    while count < 20:
        count += clocked.enter(1.0)
    assert 0.18 < time.monotonic() - begun < 2.0


def test_a_clocked_pace_does_not_wait_longer_than_asked() -> None:
    clocked = Clocked(0.1)
    assert clocked.enter(1.0)
    begun = time.monotonic()
    assert not clocked.enter(0.05)
    assert time.monotonic() - begun < 2.0


def test_on_demand_waits_for_the_release() -> None:
    demand = OnDemand()
    assert demand.enter(0.0)
    assert not demand.enter(0.02)
    demand.released()
    assert demand.enter(0.0)


def test_the_end_wakes_and_lets_nothing_through() -> None:
    for waiting in (Clocked(0.01), OnDemand()):
        assert waiting.enter(1.0)
        threading.Timer(0.05, waiting.end).start()
        begun = time.monotonic()
        assert not waiting.enter(30.0)
        assert time.monotonic() - begun < 5.0
        assert waiting.ended


def test_no_rate_means_on_demand() -> None:
    assert isinstance(pace(0.0), OnDemand)
    assert isinstance(pace(1.0), Clocked)
