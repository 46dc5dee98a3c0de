"""Episodes of the plant: what a policy does in it, and what states it sees."""

from collections.abc import Callable, Iterable

import gymnasium
import models
import numpy as np
from numpy.typing import ArrayLike, NDArray

Act = Callable[[ArrayLike], int]
States = NDArray[np.float32]


def rewards(act: Act, seeds: Iterable[int]) -> list[float]:
    """Return the reward of an episode from each of `seeds`; 500 is the most there is."""
    plant = gymnasium.make(models.PLANT)
    try:
        return [_episode(plant, act, seed) for seed in seeds]
    finally:
        plant.close()


def states(act: Act, seeds: Iterable[int], noise: float, steps: int = 200) -> States:
    """Return the states `(n, 4)` of an episode from each of `seeds`, cut off after `steps`.

    Args:
        act: the policy.
        seeds: of the plant, and of the noise.
        noise: share of the steps at which an action is drawn instead.
        steps: the most of an episode.
    """
    plant, seen = gymnasium.make(models.PLANT), []
    for seed in seeds:
        source = np.random.default_rng(seed)
        state, _ = plant.reset(seed=seed)
        for _ in range(steps):
            seen.append(state)
            action = int(source.integers(2)) if source.random() < noise else act(state)
            state, _, fallen, over, _ = plant.step(action)
            if fallen or over:
                break
    plant.close()
    return np.stack(seen).astype(np.float32)


def _episode(plant: gymnasium.Env, act: Act, seed: int) -> float:
    state, _ = plant.reset(seed=seed)
    total, done = 0.0, False
    while not done:
        state, reward, fallen, over, _ = plant.step(act(state))
        total += float(reward)
        done = fallen or over
    return total
