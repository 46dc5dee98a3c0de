"""What the loop makes safe, and who may look over its shoulder."""

import threading

import numpy as np
import pytest

from outrider_agent.policies.rules import Rule
from outrider_agent.tap import Tap
from outrider_bundle.messages.event import Event
from outrider_runtime.perception import Classification
from tests.fakes.benches import Bench

LATCHED = Rule(label="bag", min_score=0.5, release_score=0.2)


def test_an_engine_that_is_gone_makes_outputs_safe_at_once() -> None:
    bench = Bench([0, "gone", 0])
    bench.feed(0)
    bench.feed(1)
    assert bench.gate.done == ["f0:bag", "safe"]
    assert bench.faults() == [("engine", "failed")]


def test_a_frame_that_fails_alone_makes_nothing_safe() -> None:
    bench = Bench([0, "fails", 0])
    for seq in range(3):
        bench.feed(seq)
    assert bench.gate.done == ["f0:bag", "f2:bag"]


def test_what_is_still_there_after_outputs_were_made_safe_is_decided_on_again() -> None:
    bench = Bench([0], LATCHED)
    for seq in range(3):
        bench.feed(seq)
    assert bench.gate.done == ["f0:bag"]
    bench.clock.pass_s(6.0)
    bench.loop.tick()
    bench.feed(3)
    bench.feed(4)
    assert bench.gate.done == ["f0:bag", "safe", "f3:bag"]


def test_a_tap_sees_the_frame_the_decision_and_why() -> None:
    bench, tap = Bench([1, 1, "fails"], Rule(label="boot", min_score=0.5)), Tap(room=2)
    bench.feed(0)
    bench.loop.taps.add(tap)
    bench.feed(7)
    bench.feed(8)
    bench.loop.taps.remove(tap)
    bench.feed(9)
    seen, failed = tap.take(0.0), tap.take(0.0)
    assert seen is not None
    assert (seen.frame, seen.seq, seen.error) == ("f7", 7, "")
    assert (seen.array == 7).all()
    assert seen.array.dtype == np.uint8
    assert isinstance(seen.perception, Classification)
    assert seen.decisions == ({"label": "boot", "score": 1.0, "index": 1},)
    assert "fires" in seen.why[0]
    assert failed is not None
    assert (failed.perception, failed.decisions, failed.why) == (None, (), ())
    assert "the delegate is gone" in failed.error
    assert tap.take(0.0) is None
    assert bench.released == [0, 7, 8, 9]


def test_a_tap_that_does_not_want_a_frame_is_not_shown_it() -> None:
    bench, tap = Bench([0]), Tap(room=1)
    bench.loop.taps.add(tap)
    bench.feed(0)
    bench.feed(1)
    assert (tap.dropped, bench.gate.done) == (1, ["f0:bag", "f1:bag"])


def pass_elsewhere(bench: Bench, seconds: float) -> None:
    """Let time pass while the loop hangs, and another thread watch it."""
    bench.clock.pass_s(seconds)
    watcher = threading.Thread(target=bench.loop.watch)
    watcher.start()
    watcher.join()


def test_what_was_seen_too_long_ago_is_not_acted_on() -> None:
    bench, tap = Bench([0]), Tap()
    bench.feed(0)
    bench.clock.pass_s(10.0)
    bench.loop.taps.add(tap)
    for seq in (1, 2):
        bench.feed(seq, age_s=6.0)
    assert bench.gate.done == ["f0:bag", "safe"]
    assert bench.loop.meters.decisions == 1
    assert bench.released == [0, 1, 2]
    view = tap.take(0.0)
    assert view is not None
    assert view.decisions == ()
    assert "perception: none for 5 s" in view.error
    bench.feed(3)
    assert bench.gate.done == ["f0:bag", "safe", "f3:bag"]


def test_a_model_that_answers_after_outputs_were_made_safe_changes_nothing() -> None:
    bench: Bench
    bench = Bench([0], on_collect=lambda: pass_elsewhere(bench, 6.0))
    bench.feed(0)
    assert bench.gate.done == bench.log.done == ["safe"]


def test_an_action_that_hangs_beyond_the_safe_state_lets_no_other_act_on_the_past() -> None:
    bench = Bench([0])
    bench.gate.apply = lambda _: pass_elsewhere(bench, 6.0)  # type: ignore[method-assign]
    bench.feed(0)
    assert set(bench.log.done) == {"safe"}
    assert bench.gate.done[-1] == "safe"


def test_outputs_made_safe_while_an_action_is_at_work_are_made_safe_after_it() -> None:
    bench = Bench([0])
    act = bench.log.apply

    def late(decision: Event) -> None:
        pass_elsewhere(bench, 6.0)
        act(decision)

    bench.log.apply = late  # type: ignore[method-assign]
    bench.feed(0)
    assert bench.log.done == ["safe", "f0:bag", "safe"]


def test_a_loop_that_is_to_end_acts_no_more() -> None:
    bench = Bench([0])
    bench.engine._on_collect = bench.loop.end
    bench.feed(0)
    assert bench.gate.done == []


def test_a_loop_that_fails_leaves_outputs_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench([0])
    monkeypatch.setattr(bench.loop, "tick", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        bench.loop.run()
    assert bench.gate.done == ["safe", "safe"]


def test_a_loop_that_begins_late_is_not_stale_at_once() -> None:
    bench = Bench([0])
    bench.clock.pass_s(60.0)
    bench.mailbox.close()  # wakes it, so that it turns once
    bench.loop.run()
    assert bench.loop.ticks == 1
    assert bench.faults() == []
