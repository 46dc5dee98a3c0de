"""What the sources of the examples play: made up, and the same each time."""

from pathlib import Path

import cv2
import numpy as np

from outrider_bundle.errors import OutriderError

FRAMES, RUN = 24, 4
"""Pictures, and how many in a row have the same third bright."""
SIZE = 32
WINDOWS, SAMPLES = 48, 64
KNOCKS = range(20, 30)
"""Windows in which something knocks."""


def frames(folder: Path) -> None:
    """Write gray pictures of 32x32 pixels: noise, with one third brighter.

    Raises:
        OutriderError: one cannot be written.
    """
    folder.mkdir()
    source = np.random.default_rng(1)
    for number in range(FRAMES):
        picture = source.integers(0, 120, (SIZE, SIZE), np.uint8)
        third = number // RUN % 3
        picture[:, third * SIZE // 3 : (third + 1) * SIZE // 3] += 100
        path = folder / f"{number:03d}.png"
        if not cv2.imwrite(str(path), picture):
            raise OutriderError(f"{path} cannot be written")


def windows(path: Path) -> None:
    """Write windows `(48, 64, 2)` of float32: slow swings, and in some of them a knock."""
    source = np.random.default_rng(2)
    time = np.arange(WINDOWS * SAMPLES) / 32
    swings = np.stack([np.sin(2 * np.pi * time), 0.5 * np.cos(2 * np.pi * time / 3)], axis=1)
    values = (swings + source.normal(0.0, 0.01, swings.shape)).reshape(WINDOWS, SAMPLES, 2)
    for number in KNOCKS:
        values[number, source.integers(2, SAMPLES - 2, 2), 0] += 1.5
    np.savez(path, frames=values.astype(np.float32))
