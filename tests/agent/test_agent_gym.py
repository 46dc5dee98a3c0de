"""The source and the action `gym`: a plant that both hold, in lockstep and in real time."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import msgspec
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.registration import register, registry

from outrider_agent import plants
from outrider_agent.actions.gym import GymAction
from outrider_agent.actions.gym import GymOptions as ActionOptions
from outrider_agent.feeder import Feeder
from outrider_agent.mailbox import Mailbox
from outrider_agent.plants import Plant
from outrider_agent.seams import Context, Frame, NullPublisher
from outrider_agent.sources.gym import GymOptions, GymSource
from outrider_bundle import settings
from outrider_bundle.errors import OutriderError, UsageError
from outrider_bundle.messages.event import Event
from outrider_bundle.topics import Topics

CONTEXT = Context(pipeline="cart", topics=Topics("plant", "line-1"), link=NullPublisher())


class Recorder(gymnasium.Env[Any, Any]):
    """A plant that remembers what it got; its episodes have five steps."""

    def __init__(self, actions: spaces.Space[Any], seen: list[Any], observation: str = "box") -> None:
        self.action_space = actions
        self.observation_space = (
            spaces.Box(-100, 100, (2,), np.float64) if observation == "box" else spaces.Discrete(6)
        )
        self._seen, self._step = seen, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:  # noqa: ANN401
        super().reset(seed=seed, options=options)
        self._step = 0
        self._seen.append(("reset", seed))
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:  # noqa: ANN401
        if np.asarray(action).size and np.asarray(action).flat[0] == 13:
            raise RuntimeError("the plant is on fire")
        self._step += 1
        self._seen.append(action)
        return self._observation(), 1.0, self._step == 5, False, {}

    def _observation(self) -> Any:  # noqa: ANN401
        if isinstance(self.observation_space, spaces.Discrete):
            return self._step
        return np.array([self._step, -self._step], np.float64)


@pytest.fixture
def recorder() -> Iterator[str]:
    register("Recorder-v0", entry_point=Recorder, disable_env_checker=True, order_enforce=False)
    yield "Recorder-v0"
    del registry["Recorder-v0"]


def decision(frame: str, **data: object) -> Event:
    return Event(run="0" * 16, seq=0, time=1.0, pipeline="cart", kind="decision", frame=frame, data=data)


def action(safe: Any = None, plant: str = "") -> GymAction:  # noqa: ANN401
    return GymAction(ActionOptions(safe=safe, plant=plant), CONTEXT)


def source(**options: Any) -> GymSource:  # noqa: ANN401
    return GymSource(GymOptions(**options), CONTEXT)


def pole(observation: np.ndarray[Any, Any]) -> int:
    """Balance for a while: push to where the pole falls."""
    return int(observation[2] + observation[3] > 0)


def played(seed: int, most: int = 500) -> dict[str, float]:
    """Play an episode without any of this, and return what the record of it has to be."""
    env = gymnasium.make("CartPole-v1")
    seen, _ = env.reset(seed=seed)
    steps, reward, over = 0, 0.0, False
    while not over and steps < most:
        seen, gained, terminated, truncated, _ = env.step(pole(seen))
        steps, reward, over = steps + 1, reward + float(gained), terminated or truncated
    env.close()
    return {"episode": seed, "seed": seed, "steps": steps, "reward": reward}


def test_the_closed_loop_gives_what_stepping_the_plant_directly_gives(tmp_path: Path) -> None:
    made, act, record = (
        source(env="CartPole-v1", seed=7, episodes=3, record=tmp_path / "e.jsonl"),
        action(),
        [],
    )
    for frame in made.frames(0.1):
        assert frame is not None
        assert frame.array.dtype == np.float32
        frame.release()
        record.append(frame.id)
        act.apply(decision(frame.id, index=pole(frame.array)))
    lines = [json.loads(line) for line in (tmp_path / "e.jsonl").read_text().splitlines()]
    assert lines == [played(seed) | {"episode": seed - 7} for seed in (7, 8, 9)]
    assert record == [f"e{n}-s{step}" for n, line in enumerate(lines) for step in range(line["steps"])]
    assert plants.find("cart") is None


def test_lockstep_never_steps_without_a_decision_and_shows_again_what_led_to_none(recorder: str) -> None:
    seen: list[Any] = []
    made = source(env=recorder, kwargs={"actions": spaces.Discrete(2), "seen": seen}, again_s=0.1)
    frames: list[Frame] = []
    for frame in made.frames(0.02):
        if frame is not None:
            frames.append(frame)
        if len(frames) == 3:
            break
    assert [(frame.id, frame.seq) for frame in frames] == [("e0-s0", 0), ("e0-s0", 1), ("e0-s0", 2)]
    assert seen == [("reset", 0)]
    action(safe=1).safe_state()
    assert seen == [("reset", 0)]
    made.close()


def test_in_lockstep_only_the_first_answer_to_the_last_observation_counts(recorder: str) -> None:
    seen: list[Any] = []
    made, act = source(env=recorder, kwargs={"actions": spaces.Discrete(9), "seen": seen}), action()
    frames = made.frames(0.02)
    assert next(frames).id == "e0-s0"
    act.apply(decision("e0-s9", index=8))
    assert next(frames) is None
    act.apply(decision("e0-s0", index=1))
    act.apply(decision("e0-s0", index=2))
    assert next(frames).id == "e0-s1"
    act.apply(decision("e0-s0", index=3))
    assert next(frames) is None
    act.apply(decision("e0-s1", index=4))
    assert next(frames).id == "e0-s2"
    assert seen == [("reset", 0), 1, 4]
    assert made._plant.late == 3
    made.close()


def test_the_loop_closes_through_a_feeder_and_a_mailbox(tmp_path: Path) -> None:
    record = tmp_path / "e.jsonl"
    made = source(
        env="CartPole-v1", episodes=2, max_steps=50, record=record, again_s=0.01
    )  # it often repeats
    mailbox, act = Mailbox(), action()
    feeder = Feeder(made, mailbox, "cart")
    feeder.start()
    while not mailbox.ended:
        frame = mailbox.take(1.0)
        if frame is not None:
            frame.release()
            act.apply(decision(frame.id, index=pole(frame.array)))
    feeder.stop()
    assert feeder.error is None
    assert [json.loads(line) for line in record.read_text().splitlines()] == [played(0, 50), played(1, 50)]


def test_a_decision_from_another_thread_is_not_waited_out(recorder: str) -> None:
    made, act = source(env=recorder, kwargs={"actions": spaces.Discrete(2), "seen": []}), action()
    frames = made.frames(30.0)
    next(frames)
    threading.Timer(0.05, act.apply, [decision("e0-s0", index=1)]).start()
    begun = time.monotonic()
    assert next(frames).id == "e0-s1"
    assert time.monotonic() - begun < 10.0
    threading.Timer(0.05, made.close).start()
    assert list(frames) in ([], [None])
    assert time.monotonic() - begun < 20.0


def test_in_real_time_the_last_action_is_held_and_safe_is_safe(recorder: str) -> None:
    seen: list[Any] = []
    options = {"actions": spaces.Discrete(9), "seen": seen}
    made, act = source(env=recorder, kwargs=options, rate_hz=200.0, episodes=2), action(safe=7)
    frames = made.frames(0.5)
    assert [next(frames).id for _ in range(3)] == ["e0-s0", "e0-s0", "e0-s0"]  # nothing wanted yet
    act.apply(decision("e0-s0", index=3))
    assert [next(frames).id for _ in range(2)] == ["e0-s1", "e0-s2"]
    act.safe_state()
    assert next(frames).id == "e0-s3"
    act.apply(decision("e0-s0", index=4))  # old, but of this episode
    assert next(frames).id == "e0-s4"
    assert next(frames).id == "e1-s0"
    act.apply(decision("e0-s4", index=5))  # of another
    assert next(frames).id == "e1-s0"
    act.safe_state()
    rest = [frame.id for frame in frames if frame is not None]
    assert rest == ["e1-s1", "e1-s2", "e1-s3", "e1-s4"]
    assert seen == [("reset", 0), 3, 3, 7, 4, 4, ("reset", 1), 7, 7, 7, 7, 7]


def test_without_a_safe_action_the_plant_stands_still(recorder: str) -> None:
    seen: list[Any] = []
    made = source(env=recorder, kwargs={"actions": spaces.Discrete(9), "seen": seen}, rate_hz=200.0)
    act, frames = action(), made.frames(0.5)
    next(frames)
    act.apply(decision("e0-s0", index=3))
    assert next(frames).id == "e0-s1"
    act.safe_state()
    assert [next(frames).id for _ in range(3)] == ["e0-s1"] * 3
    made.close()


def test_values_are_clipped_to_the_space(recorder: str) -> None:
    seen: list[Any] = []
    space = spaces.Box(np.array([-1, -2], np.float32), np.array([1, 2], np.float32))
    made, act = source(env=recorder, kwargs={"actions": space, "seen": seen}), action()
    frames = made.frames(0.1)
    next(frames)
    act.apply(decision("e0-s0", values=[0.5, -9], index=0))
    next(frames)
    assert seen[1].tolist() == [0.5, -2.0]
    assert seen[1].dtype == np.float32
    made.close()


@pytest.mark.parametrize(
    ("space", "data"),
    [
        (spaces.Discrete(2), {}),
        (spaces.Discrete(2), {"index": 2}),
        (spaces.Discrete(2), {"index": -1}),
        (spaces.Discrete(2), {"index": True}),
        (spaces.Discrete(2), {"index": "left"}),
        (spaces.Box(-1, 1, (2,)), {}),
        (spaces.Box(-1, 1, (2,)), {"index": 0}),
        (spaces.Box(-1, 1, (2,)), {"values": [0.1]}),
        (spaces.Box(-1, 1, (2,)), {"values": [0.1, float("nan")]}),
        (spaces.Box(-1, 1, (2,)), {"values": ["left", "right"]}),
        (spaces.Box(-1, 1, (2,)), {"values": [[1], [1, 2]]}),
    ],
)
def test_a_decision_that_does_not_fit_is_refused(space: spaces.Space[Any], data: dict[str, object]) -> None:
    plant = Plant(space, lockstep=True)
    plants.enter("cart", plant)
    plant.show("e0", "e0-s0")
    with pytest.raises(OutriderError, match=r"fits? the plant's 2"):
        action().apply(decision("e0-s0", **data))
    assert plant.wanted() is None
    plants.leave("cart", plant)


def test_actions_count_from_where_the_space_starts() -> None:
    plant = Plant(spaces.Discrete(3, start=-1), lockstep=True)
    plants.enter("cart", plant)
    plant.show("e0", "e0-s0")
    action().apply(decision("e0-s0", index=0))
    assert plant.wanted() == -1
    plants.leave("cart", plant)


def test_the_action_may_be_there_before_the_plant_and_after_it(recorder: str) -> None:
    act = action(safe=1, plant="shared")
    act.safe_state()
    with pytest.raises(OutriderError, match="no plant called 'shared'"):
        act.apply(decision("e0-s0", index=0))
    other = msgspec.structs.replace(CONTEXT, pipeline="shared")
    made = GymSource(GymOptions(env=recorder, kwargs={"actions": spaces.Discrete(2), "seen": []}), other)
    frames = made.frames(0.1)
    next(frames)
    act.apply(decision("e0-s0", index=0))
    assert next(frames).id == "e0-s1"
    made.close()
    act.safe_state()
    act.close()
    with pytest.raises(OutriderError, match="no plant called 'shared'"):
        act.apply(decision("e0-s0", index=0))


def test_a_source_that_closes_leaves_another_one_of_its_name(recorder: str) -> None:
    kwargs = {"actions": spaces.Discrete(2), "seen": []}
    first = source(env=recorder, kwargs=kwargs)
    second = source(env=recorder, kwargs=kwargs)
    first.close()
    assert plants.find("cart") is second._plant
    second.close()
    assert plants.find("cart") is None
    assert list(second.frames(0.1)) == []


def test_episodes_end_after_max_steps(recorder: str, tmp_path: Path) -> None:
    kwargs = {"actions": spaces.Discrete(2), "seen": []}
    record = tmp_path / "e.jsonl"
    made, act = source(env=recorder, kwargs=kwargs, max_steps=2, episodes=2, record=record), action()
    for frame in made.frames(0.1):
        assert frame is not None
        act.apply(decision(frame.id, index=0))
    assert [json.loads(line)["steps"] for line in record.read_text().splitlines()] == [2, 2]


def test_other_observations_are_flattened(recorder: str) -> None:
    kwargs = {"actions": spaces.Discrete(2), "seen": [], "observation": "discrete"}
    made = source(env=recorder, kwargs=kwargs)
    frame = next(made.frames(0.1))
    assert frame.array.tolist() == [1, 0, 0, 0, 0, 0]
    assert frame.array.dtype == np.float32
    made.close()


def test_a_plant_that_fails_and_a_record_that_cannot_be_written_are_faults(
    recorder: str, tmp_path: Path
) -> None:
    kwargs = {"actions": spaces.Discrete(20), "seen": []}
    made, act = source(env=recorder, kwargs=kwargs), action()
    frames = made.frames(0.1)
    next(frames)
    act.apply(decision("e0-s0", index=13))
    with pytest.raises(OutriderError, match="on fire"):
        next(frames)
    made = source(env=recorder, kwargs=kwargs, max_steps=1, record=tmp_path / "no" / "e.jsonl")
    frames = made.frames(0.1)
    next(frames)
    act.apply(decision("e0-s0", index=0))
    with pytest.raises(OutriderError, match="cannot be recorded"):
        next(frames)


def test_plants_that_cannot_be_driven_are_refused_at_once(recorder: str) -> None:
    with pytest.raises(UsageError, match="cannot make the plant Nothing-v0"):
        source(env="Nothing-v0")
    with pytest.raises(UsageError, match="cannot drive"):
        source(env=recorder, kwargs={"actions": spaces.MultiBinary(2), "seen": []})


def test_a_safe_action_is_an_index_or_values() -> None:
    for safe in (1, [0.5, 1]):
        options, faults = settings.convert({"safe": safe}, ActionOptions, "action")
        assert options is not None, faults
    for safe in (True, "left", [], ["x"]):
        assert settings.convert({"safe": safe}, ActionOptions, "action")[1]
