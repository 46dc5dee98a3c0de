"""The loop, one turn at a time: what it counts, decides, says and makes safe."""

import tracemalloc
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import pytest

from outrider_agent.engine.seam import Answer
from outrider_agent.loop import Limits, Loop, Stages
from outrider_agent.perceiver import Perceiver
from outrider_agent.policies.rules import Rule, RulesOptions, RulesPolicy
from outrider_agent.seams import Decision, Frame
from outrider_runtime.perception import Perception
from outrider_runtime.session import Array
from tests.fakes.benches import Bench
from tests.fakes.engines import CopyLens, ScriptedEngine, seated


def test_a_frame_becomes_a_perception_a_decision_an_event_and_an_action() -> None:
    bench = Bench([1], Rule(data={"bin": "left"}))
    bench.feed(9)
    assert [(e.kind, e.frame, e.data) for e in bench.events] == [
        ("decision", "f9", {"label": "boot", "score": 1.0, "index": 1, "bin": "left"})
    ]
    assert bench.gate.done == bench.log.done == ["f9:boot"]
    assert bench.engine.slot()[0][0, 0, 0] == 9
    assert bench.released == [9]
    meters = bench.loop.meters
    assert (meters.frames, meters.decisions, meters.errors, meters.late) == (1, 1, 0, 0)
    assert meters.classes == {"boot": 1}
    assert {name for name, times in meters.stages.items() if times.count == 1} == set(meters.stages) - {
        "cascade"
    }


def test_a_frame_without_a_decision_is_still_measured() -> None:
    bench = Bench([1], Rule(label="coat"))
    bench.feed()
    assert (bench.events, bench.gate.done) == ([], [])
    assert bench.loop.meters.stages["loop"].count == 1
    assert bench.loop.meters.stages["act"].count == 0


def test_times_are_those_of_the_stages() -> None:
    bench: Bench
    bench = Bench([0], on_collect=lambda: bench.clock.pass_s(0.02))
    bench.feed(age_s=0.5)
    stages = bench.loop.meters.stages
    assert stages["age"].quantiles(0.5)[0] == pytest.approx(0.5e9, rel=0.032)
    assert stages["engine"].quantiles(0.5)[0] == pytest.approx(0.02e9, rel=0.032)
    assert stages["loop"].quantiles(0.5)[0] == pytest.approx(0.02e9, rel=0.032)
    assert stages["preprocess"].quantiles(0.5)[0] == 0


@pytest.mark.parametrize("answer", ["late", "lost"])
def test_a_late_answer_is_counted_and_not_decided_on(answer: str) -> None:
    bench = Bench([answer, 1])
    bench.feed(1)
    assert (bench.loop.meters.late, bench.loop.meters.errors, bench.loop.meters.decisions) == (1, 0, 0)
    assert bench.gate.done == []
    assert bench.faults() == [("engine", "failed")]
    assert bench.loop.health.reason == "engine: no answer within 100 ms"
    assert bench.released == [1]
    bench.feed(2)
    assert bench.gate.done == ["f2:boot"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("fails", "the delegate is gone"),
        ("crashes", "not one of ours"),
        ("nan", "the model's output is not a number"),
    ],
)
def test_a_failing_engine_is_counted_said_once_and_outlived(answer: str, reason: str) -> None:
    bench = Bench([answer, answer, 0])
    bench.feed(0)
    bench.feed(1)
    assert bench.loop.meters.errors == 2
    assert bench.faults() == [("engine", "failed")]
    assert reason in bench.events[0].data["reason"]
    assert reason in bench.loop.health.reason
    assert bench.changes == 1
    bench.clock.pass_s(2.0)
    bench.feed(2)
    assert bench.faults() == [("engine", "failed"), ("engine", "restored")]
    assert bench.loop.health.reason == ""
    assert (bench.gate.done, bench.changes) == (["f2:bag"], 2)
    assert bench.released == [0, 1, 2]


def test_a_frame_that_does_not_fit_is_counted_and_released() -> None:
    bench = Bench([0])
    bench.feed(3, image=np.zeros((5, 7), np.uint8))
    assert (bench.loop.meters.errors, bench.released) == (1, [3])
    bench.feed(4)
    assert bench.gate.done == ["f4:bag"]


def test_one_broken_action_does_not_keep_the_others() -> None:
    bench = Bench([0])
    bench.gate.broken = True
    bench.feed(0)
    bench.feed(1)
    assert bench.log.done == ["f0:bag", "f1:bag"]
    assert (bench.loop.meters.errors, bench.loop.meters.decisions) == (2, 2)
    assert bench.faults() == [("action.gate", "failed")]
    bench.gate.broken = False
    bench.clock.pass_s(2.0)
    bench.feed(2)
    assert bench.faults() == [("action.gate", "failed"), ("action.gate", "restored")]


class Moody:
    """A policy that raises, or decides what no message can hold."""

    def __init__(self, decided: object) -> None:
        self.decided = decided

    def initial(self) -> int:
        return 0

    def decide(self, _perception: Perception, state: int, _now: float) -> tuple[list[Decision], int]:
        if self.decided is None:
            raise ZeroDivisionError
        return [Decision(data={"label": self.decided})], state + 1


@pytest.mark.parametrize("decided", [None, object()])
def test_a_broken_policy_is_counted_and_outlived(decided: object) -> None:
    bench = Bench([0])
    stages = Stages(
        mailbox=bench.mailbox,
        perceiver=Perceiver(seated(CopyLens(), bench.engine), 0.1, clock_ns=bench.clock),
        policy=Moody(decided),
        actions={"gate": bench.gate},
    )
    bench.loop = Loop(
        "belt", stages, Limits(idle_s=0.01, stale_s=5.0), bench.emit, bench.changed, bench.clock
    )
    bench.feed(0)
    bench.feed(1)
    assert (bench.loop.meters.errors, bench.loop.meters.decisions) == (2, 0)
    assert bench.faults() == [("policy", "failed")]
    assert bench.gate.done == []


def test_no_input_is_progress_and_counted() -> None:
    bench = Bench([0])
    bench.loop.tick()
    bench.loop.tick()
    assert (bench.loop.ticks, bench.loop.meters.no_input, bench.loop.meters.frames) == (2, 2, 0)


def test_stale_perception_makes_outputs_safe_once_and_a_fresh_one_ends_that() -> None:
    bench = Bench([0])
    bench.feed(0)
    bench.clock.pass_s(4.9)
    bench.loop.tick()
    assert bench.gate.done == ["f0:bag"]
    bench.clock.pass_s(0.2)
    bench.loop.tick()
    bench.clock.pass_s(20.0)
    bench.loop.tick()
    assert bench.gate.done == ["f0:bag", "safe"]
    assert bench.faults() == [("perception", "failed")]
    bench.feed(1)
    assert bench.gate.done == ["f0:bag", "safe", "f1:bag"]
    assert bench.faults() == [("perception", "failed"), ("perception", "restored")]


def test_an_engine_that_only_fails_makes_outputs_safe_too() -> None:
    bench = Bench(["fails"])
    for seq in range(4):
        bench.feed(seq)
        bench.clock.pass_s(2.0)
    assert bench.gate.done == ["safe", "safe"]  # given up after three failures, then stale
    assert bench.faults() == [("engine", "failed"), ("perception", "failed")]


def test_a_perception_of_an_old_frame_does_not_count_as_fresh() -> None:
    bench = Bench([0])
    bench.clock.pass_s(10.0)
    bench.loop.tick()
    bench.feed(0, age_s=9.0)
    assert bench.faults() == [("perception", "failed")]


def test_the_wait_for_a_frame_ends_when_perception_gets_stale() -> None:
    bench = Bench([0])
    bench.loop._idle_s = 100.0
    bench.clock.pass_s(4.75)
    assert bench.loop._wait_s() == pytest.approx(0.25)
    bench.clock.pass_s(1.0)
    assert bench.loop._wait_s() == 0.0
    bench.loop.tick()
    assert bench.loop._wait_s() == 100.0


def test_outputs_are_safe_before_the_first_frame_and_after_the_last() -> None:
    bench = Bench([0])
    bench.mailbox.put(Frame(id="f0", time_s=bench.clock.s, array=np.zeros((4, 4), np.uint8), seq=0))
    bench.mailbox.close()
    bench.loop.run()
    assert bench.gate.done == ["safe", "f0:bag", "safe"]
    assert bench.loop.meters.no_input == 0


class Camera:
    """Preprocesses as a real model does: resizes into the engine's slot."""

    def write(self, frame: Array, inputs: Sequence[Array]) -> None:
        cv2.resize(frame, (256, 256), dst=inputs[0][0])

    def decode(self, outputs: Sequence[Array]) -> Perception:
        return CopyLens().decode(outputs)


class Wide(ScriptedEngine):
    """An engine with an input of frame size."""

    def __init__(self) -> None:
        super().__init__([1])
        self._inputs = (np.zeros((1, 256, 256), np.uint8),)

    def collect(self, deadline_s: float) -> Answer | None:
        return super().collect(deadline_s)


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("traced")
def test_the_loop_allocates_nothing_of_the_size_of_a_frame() -> None:
    bench = Bench([1], Rule(label="coat"))
    bench.loop._stages = Stages(
        mailbox=bench.mailbox,
        perceiver=Perceiver(seated(Camera(), Wide()), 0.1, clock_ns=bench.clock),
        policy=RulesPolicy(RulesOptions(rules=(Rule(label="coat"),))),
        actions={},
    )
    image = np.zeros((512, 512), np.uint8)
    for seq in range(5):
        bench.feed(seq, image=image)
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    for seq in range(50):
        bench.feed(seq, image=image)
    _, peak = tracemalloc.get_traced_memory()
    assert bench.loop.meters.errors == 0
    assert peak - before < 256 * 256 / 4
