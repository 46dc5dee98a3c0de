"""Frames in memory: some of a video, or noise in a camera's size."""

from pathlib import Path

import cv2
import numpy as np

from outrider_bundle.errors import UsageError
from outrider_bundle.manifest import ArrayPreprocess, Manifest
from outrider_runtime.session import Array

SIZE = (480, 640, 3)
"""Rows, columns and channels of a usual camera's frame."""

COUNT = 4
"""So many different frames go round, as in the sources: no colder in the cache than one just decoded."""


def noise(manifest: Manifest, seed: int = 0) -> list[Array]:
    """Return random frames `(480, 640, 3)` uint8, or samples float32 where the bundle takes numbers."""
    random = np.random.default_rng(seed)
    first = manifest.inputs[0]
    if isinstance(first.preprocess, ArrayPreprocess):
        shape = (COUNT, *first.shape[1:])
        return list(random.standard_normal(shape, np.float32))
    return list(random.integers(0, 256, (COUNT, *SIZE), np.uint8))


def video(path: Path) -> list[Array]:
    """Return the first frames `(h, w, 3)` BGR uint8 of a video.

    Raises:
        UsageError: there is none at `path`, or not one frame of it can be decoded.
    """
    if not path.is_file():
        raise UsageError(f"There is no video at {path}", "Correct --video, or leave it out for random frames")
    capture = cv2.VideoCapture(str(path))
    images: list[Array] = []
    try:
        while len(images) < COUNT:
            found, image = capture.read()
            if not found:
                break
            images.append(image)
    finally:
        capture.release()
    if not images:
        raise UsageError(f"Not one frame of {path} can be decoded", "Give a video that OpenCV reads")
    return images
