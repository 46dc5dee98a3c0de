"""A plant of gymnasium: what it shows are the frames, and the action `gym` drives it."""

import json
import threading
import time
from collections.abc import Callable, Generator, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import gymnasium
import numpy as np
from gymnasium import spaces
from msgspec import Meta, Struct

from outrider_agent import plants
from outrider_agent.pacing import Clocked
from outrider_agent.plants import Plant
from outrider_agent.seams import Context, Frame
from outrider_bundle.errors import OutriderError, UsageError
from outrider_runtime.session import Array

Turns = Generator[Frame | None, None, Any]
"""Frames until the plant is to be stepped; returns its input, or None at the end."""


class GymOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `[pipelines.source]` may hold.

    Args:
        env: what gymnasium calls the plant.
        kwargs: passed to its constructor.
        seed: of the first episode; each later one has the next number.
        episodes: how many there are before the source ends; 0 for no end.
        max_steps: of an episode; 0 for the plant's own limit.
        rate_hz: steps a second, each with the last action; 0 for lockstep: a step for each decision.
        again_s: in lockstep, an observation that led to no decision is shown again after so long.
        record: a file to which each episode adds a line of JSON: `episode`, `seed`, `steps` and `reward`.
    """

    env: Annotated[str, Meta(min_length=1, max_length=256)]
    kwargs: dict[str, Any] = {}
    seed: Annotated[int, Meta(ge=0, le=(1 << 32) - 1)] = 0
    episodes: Annotated[int, Meta(ge=0)] = 0
    max_steps: Annotated[int, Meta(ge=0)] = 0
    rate_hz: Annotated[float, Meta(ge=0.0, le=10_000.0)] = 0.0
    again_s: Annotated[float, Meta(gt=0.0, le=3600.0)] = 2.0
    record: Path | None = None


class GymSource:
    """Yields observations, float32 in the shape of their space, called `e{episode}-s{step}`.

    An episode's last observation is not shown: nothing can follow from it. Observations that are no arrays
    (numbers, tables) are flattened as gymnasium does it.
    """

    Options = GymOptions

    def __init__(self, options: GymOptions, context: Context) -> None:
        """Make the plant and let actions find it.

        Raises:
            UsageError: there is no such plant, or it is none that can be driven.
        """
        self._options, self._name = options, context.pipeline
        self._env = _make(options, f"The source gym of '{context.pipeline}'")
        self._plant = Plant(self._env.action_space, lockstep=options.rate_hz == 0)
        self._pace = Clocked(options.rate_hz) if options.rate_hz else None
        self._seq = count()
        self._end = threading.Event()
        self._owned = threading.Lock()  # whoever gets it frees the plant
        plants.enter(self._name, self._plant)

    def frames(self, wait_s: float) -> Iterator[Frame | None]:
        """Yield each observation once the plant was driven to it, and None while it waits.

        Raises:
            OutriderError: the plant fails, or an episode cannot be recorded.
        """
        if not self._owned.acquire(blocking=False):
            return
        if self._pace is not None:
            self._pace.enter(0.0)
        try:
            for episode in range(self._options.episodes) if self._options.episodes else count():
                yield from self._play(episode, wait_s)
                if self._end.is_set():
                    return
        finally:
            plants.leave(self._name, self._plant)
            self._env.close()

    def close(self) -> None:
        """End the iteration; the thread that reads frees the plant."""
        self._end.set()
        if self._pace is not None:
            self._pace.end()
        plants.leave(self._name, self._plant)
        if self._owned.acquire(blocking=False):
            self._env.close()

    def _play(self, episode: int, wait_s: float) -> Iterator[Frame | None]:
        """Play one episode and record it, unless it is broken off."""
        seed = (self._options.seed + episode) % (1 << 32)
        seen, _ = _guarded(self._env.reset, seed=seed)
        turns = self._lockstep if self._pace is None else partial(self._real_time, self._pace)
        reward, steps, over = 0.0, 0, False
        while not over:
            name = f"e{episode}-s{steps}"
            self._plant.show(f"e{episode}", name)
            wanted = yield from turns(name, seen, wait_s)
            if self._end.is_set():
                return
            seen, gained, terminated, truncated, _ = _guarded(self._env.step, wanted)
            reward, steps = reward + float(gained), steps + 1
            over = bool(terminated or truncated) or steps == self._options.max_steps
        self._record({"episode": episode, "seed": seed, "steps": steps, "reward": reward})

    def _lockstep(self, name: str, seen: object, wait_s: float) -> Turns:
        """Show what is seen, now and then again, until a decision on it came."""
        while not self._end.is_set():
            yield self._frame(name, seen)
            until_s = time.monotonic() + self._options.again_s
            while (left_s := until_s - time.monotonic()) > 0 and not self._end.is_set():
                wanted = self._plant.wanted(min(left_s, wait_s))
                if wanted is not None:
                    return wanted
                yield None
        return None

    def _real_time(self, pace: Clocked, name: str, seen: object, wait_s: float) -> Turns:
        """Show what is seen and wait for the next step; again if nothing is wanted of the plant."""
        while not self._end.is_set():
            yield self._frame(name, seen)
            while not pace.enter(wait_s) and not pace.ended:
                yield None
            wanted = self._plant.wanted()
            if wanted is not None:
                return wanted
        return None

    def _frame(self, name: str, seen: object) -> Frame:
        space = self._env.observation_space
        array: Array = np.array(
            seen if isinstance(space, spaces.Box) else spaces.flatten(space, seen), np.float32
        )
        return Frame(id=name, time_s=time.monotonic(), array=array, seq=next(self._seq))

    def _record(self, episode: dict[str, float]) -> None:
        if self._options.record is None:
            return
        try:
            with self._options.record.open("a", encoding="utf-8") as file:
                file.write(json.dumps(episode) + "\n")
        except OSError as error:
            what = f"An episode cannot be recorded in {self._options.record}: {error.strerror}"
            raise OutriderError(what, "Set 'record' of the source to a file that can be written") from error


def _make(options: GymOptions, who: str) -> "gymnasium.Env[Any, Any]":
    try:
        env = gymnasium.make(options.env, **options.kwargs)
    except Exception as error:  # gymnasium imports plants of any make
        what = f"{who} cannot make the plant {options.env}: {error}"
        raise UsageError(what, "Correct its env and kwargs") from error
    if not isinstance(env.action_space, spaces.Discrete | spaces.Box):
        what = f"{who} cannot drive {options.env}, whose actions are {env.action_space}"
        env.close()
        raise UsageError(what, "Choose a plant with Discrete or Box actions")
    if not isinstance(spaces.flatten_space(env.observation_space), spaces.Box):
        what = f"{who} cannot show {options.env}, whose observations are {env.observation_space}"
        env.close()
        raise UsageError(what, "Choose a plant whose observations have a fixed size")
    return env


def _guarded(call: Callable[..., Any], *arguments: object, **more: object) -> Any:  # noqa: ANN401 - a plant's
    try:
        return call(*arguments, **more)
    except Exception as error:
        raise OutriderError(f"The plant fails: {error!r}") from error
