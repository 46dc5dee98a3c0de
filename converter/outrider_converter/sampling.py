"""Which settings to try: all of them, or those that an estimator proposes."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from outrider_bundle.errors import MissingExtraError

Setting = tuple[float, ...]
"""A value for each of `NAMES`."""

Choices = tuple[tuple[float, ...], ...]
"""The values that each of `NAMES` can have."""

NAMES = ("temperature", "alpha", "learning_rate")
"""What can be chosen: keys of the recipe's table `distill`."""

STARTUP = 4
"""Settings drawn at random before the estimator has enough to learn from."""

REPEATS = 5
"""Draws for each setting to try; the estimator often proposes what is known already."""


def size(own: Setting, choices: Choices, trials: int) -> int:
    """Return how many settings `choose` tries."""
    grid = set(_grid(choices))
    return len(grid | {own}) if len(grid) <= trials else trials


def choose(
    accuracy: Callable[[Setting], float], own: Setting, choices: Choices, trials: int, seed: int
) -> Setting:
    """Return the setting with the largest accuracy; of equal ones that which was tried first.

    All are tried if there are no more than `trials`; otherwise a tree-structured Parzen estimator proposes
    them (Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NIPS 2011).

    Args:
        accuracy: of a setting; asked once for each.
        own: is tried first, whether it is among the choices or not.
        choices: the values of each part.
        trials: how many settings to try.
        seed: of the order and the estimator.

    Raises:
        MissingExtraError: the library is not installed.
    """
    tried = {own: accuracy(own)}
    goal = size(own, choices, trials)

    def objective(trial: Any) -> float:  # noqa: ANN401 - the library is loaded late
        pairs = zip(NAMES, choices, strict=True)
        setting = tuple(float(trial.suggest_categorical(name, values)) for name, values in pairs)
        if setting not in tried and len(tried) < goal:
            tried[setting] = accuracy(setting)
        if len(tried) >= goal:
            trial.study.stop()
        return tried[setting]

    if len(tried) < goal:
        with _library() as optuna:
            _study(optuna, tried, choices, trials, seed).optimize(objective, n_trials=REPEATS * goal)
    return max(tried, key=lambda setting: tried[setting])


def _grid(choices: Choices) -> list[Setting]:
    return [*dict.fromkeys(itertools.product(*choices))]


def _study(optuna: Any, tried: dict[Setting, float], choices: Choices, trials: int, seed: int) -> Any:  # noqa: ANN401 - the library is loaded late
    """Return a study that knows what has been tried."""
    space = dict(zip(NAMES, (tuple(dict.fromkeys(values)) for values in choices), strict=True))
    grid = _grid(choices)
    seed %= 2**32
    if len(grid) <= trials:
        return optuna.create_study(
            direction="maximize", sampler=optuna.samplers.GridSampler(space, seed=seed)
        )
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    kinds = {name: optuna.distributions.CategoricalDistribution(values) for name, values in space.items()}
    for setting, value in tried.items():
        if setting in grid:
            params = dict(zip(NAMES, setting, strict=True))
            study.add_trial(optuna.create_trial(params=params, distributions=kinds, value=value))
    return study


@contextmanager
def _library() -> Iterator[Any]:
    """Load the library and keep it silent."""
    try:
        import optuna  # noqa: PLC0415 - slow to load, and only a search needs it
    except ImportError as error:
        raise MissingExtraError("The search for settings needs optuna", "converter") from error
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        yield optuna
    finally:
        optuna.logging.set_verbosity(before)
