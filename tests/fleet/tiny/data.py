"""Noisy 16x16 textures in three classes: made, not read, and easy for a network that trains in seconds."""

import numpy as np
from numpy.typing import NDArray

LABELS = ("rows", "columns", "checks")
SIDE = 16
SIZES = {"train": 1200, "validation": 300, "test": 120}

Split = tuple[NDArray[np.uint8], NDArray[np.int64]]


def make(count: int, seed: int) -> Split:
    """Return images `(count, 16, 16)` uint8 and labels `(count,)` int64."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, len(LABELS), count)
    row, column = np.divmod(np.arange(SIDE * SIDE), SIDE)
    shift = random.integers(0, 4, (count, 1))
    rows, columns = ((row + shift) // 2 % 2, (column + shift) // 2 % 2)
    pattern = np.choose(labels[:, None], [rows, columns, rows ^ columns])
    pixels = 90 + 80 * pattern + random.normal(0, 25, pattern.shape)
    return pixels.clip(0, 255).astype(np.uint8).reshape(count, SIDE, SIDE), labels


def split() -> dict[str, Split]:
    """Return the three parts."""
    return {name: make(count, seed) for seed, (name, count) in enumerate(SIZES.items())}
