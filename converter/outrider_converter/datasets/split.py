"""Samples into training, validation and test: seeded, class by class, and never half of a unit.

A unit is what must stay together: a sample of its own, a stretch of rows that windows share, a group.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from outrider_bundle.errors import DataError
from outrider_converter import seeding
from outrider_converter.datasets.loaded import UNLABELLED, Pair, take
from outrider_converter.recipe import DataOptions

Rows = NDArray[np.int64]


def complete(parts: Mapping[str, Pair], options: DataOptions, seed: int) -> dict[str, Pair]:
    """Return all three parts; what is missing is taken from the training part.

    Args:
        parts: `train`, and `validation` and `test` if they are there.
        options: shares of what is missing.
        seed: of the recipe.

    Raises:
        DataError: there are too few samples.
    """
    frames, labels = parts["train"]
    shares = {name: getattr(options, name) for name in ("validation", "test") if name not in parts}
    units = np.arange(len(frames))
    rows = draw(units, units * 0 if labels is None else labels, shares, seed)
    return {**parts, **{name: take(parts["train"], row) for name, row in rows.items()}}


def draw(units: Rows, labels: Rows, shares: Mapping[str, float], seed: int) -> dict[str, Rows]:
    """Draw whole units for each part of `shares`; the rest is for training.

    Args:
        units: of each sample.
        labels: of each sample; each class is divided by itself. A unit has the class of its first sample,
            and unlabelled ones are only for training.
        shares: of the units, by part; every part gets at least one of a class with enough of them.
        seed: of the recipe.

    Returns:
        Sample numbers in order, by part.

    Raises:
        DataError: a part stays empty.
    """
    keys, first, inverse = np.unique(units, return_index=True, return_inverse=True)
    place = np.zeros(len(keys), np.int64)  # 0 is training, 1 the first of `shares`
    for label in np.unique(labels):
        if label == UNLABELLED:
            continue
        of_class = np.flatnonzero(labels[first] == label)
        order = torch.randperm(len(of_class), generator=seeding.generator(seed, "split", int(label)))
        drawn = of_class[order.numpy()]
        for number, share in enumerate(shares.values(), 1):
            count = max(1, round(share * len(of_class))) if len(of_class) > len(shares) else 0
            taken, drawn = drawn[:count], drawn[count:]
            place[taken] = number
    rows = {name: np.flatnonzero(place[inverse] == n) for n, name in enumerate(("train", *shares))}
    empty = [name for name, row in rows.items() if not len(row)]
    if empty:
        raise DataError(
            f"The data has too few samples to divide: nothing is left for {' and '.join(empty)}",
            "Give more samples, smaller shares in data.validation and data.test, or shorter windows",
        )
    return rows


def by_group(groups: Sequence[str], options: DataOptions, seed: int) -> dict[str, Rows]:
    """Divide samples so that no group is in two parts.

    Args:
        groups: of each sample.
        options: names the groups of validation and test, or their share of the groups.
        seed: of the recipe.

    Raises:
        DataError: a group is named that is not there, or twice, or there are too few.
    """
    names, inverse = np.unique(np.array(groups), return_inverse=True)
    told = {"validation": options.validation_groups, "test": options.test_groups}
    _check_groups(told, tuple(map(str, names)))
    rows = {p: np.flatnonzero(np.isin(names, wanted)[inverse]) for p, wanted in told.items() if wanted}
    free = np.setdiff1d(np.arange(len(groups)), np.concatenate([[], *rows.values()]).astype(np.int64))
    shares = {part: getattr(options, part) for part, wanted in told.items() if not wanted}
    if len(np.unique(inverse[free])) <= len(shares):
        raise DataError(
            f"{len(names)} groups cannot fill training, validation and test",
            "Give more groups, or leave data.group out",
        )
    drawn = draw(inverse[free], inverse[free] * 0, shares, seed)
    return rows | {part: free[row] for part, row in drawn.items()}


def _check_groups(told: Mapping[str, tuple[str, ...]], known: tuple[str, ...]) -> None:
    wanted = [name for names in told.values() for name in names]
    absent = sorted(set(wanted) - set(known))
    if absent:
        raise DataError(f"There is no group '{absent[0]}'", f"There are: {', '.join(known[:12])}")
    if len(set(wanted)) < len(wanted):
        raise DataError("A group is named for two parts", "Correct validation_groups and test_groups")
