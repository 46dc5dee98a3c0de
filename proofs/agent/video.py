"""Frames of real video, decoded beforehand; and where the proofs keep what they make."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]
WORK = ROOT / "build" / "prove-agent"
VIDEO = Path("/usr/share/doc/opencv-doc/examples/data/vtest.avi")
"""People on a pavement, 25 frames a second; from Debian's opencv-doc."""

FRAME_SHAPE = (576, 768, 3)
SPAN = 400
"""Frames are taken from so many at the beginning."""


def frames(count: int) -> list[NDArray[np.uint8]]:
    """Return `count` frames `(576, 768, 3)` BGR, evenly taken from the beginning of the video.

    Raises:
        RuntimeError: it is not there, or shorter.
    """
    capture = cv2.VideoCapture(str(VIDEO))
    wanted = set(np.linspace(0, SPAN - 1, count).astype(int).tolist())
    taken: list[NDArray[np.uint8]] = []
    for number in range(SPAN):
        found, image = capture.read()
        if found and number in wanted:
            taken.append(np.asarray(image, np.uint8))
    capture.release()
    if len(taken) < count:
        raise RuntimeError(f"{VIDEO} is not there or too short: sh requirements/apt.sh opencv-doc")
    return taken
