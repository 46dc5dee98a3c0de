"""What the loop makes safe, and who may look over its shoulder."""

import numpy as np

from outrider_agent.policies.rules import Rule
from outrider_agent.tap import Tap
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
