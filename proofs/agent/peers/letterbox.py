"""A frame in the model's square and boxes back in the frame, as tutorials write it."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from proofs.agent.peers.seam import GRAY, SIZE

Pixels = NDArray[Any]


def letterbox(frame: Pixels) -> Pixels:
    """Return `frame` `(h, w, 3)` resized to fit, with gray bars around: `(SIZE, SIZE, 3)` uint8."""
    height, width = frame.shape[:2]
    scale = SIZE / max(height, width)
    rows, columns = round(height * scale), round(width * scale)
    small = cv2.resize(frame, (columns, rows), interpolation=cv2.INTER_LINEAR)
    top, left = (SIZE - rows) // 2, (SIZE - columns) // 2
    bars = top, SIZE - rows - top, left, SIZE - columns - left
    return np.asarray(cv2.copyMakeBorder(small, *bars, cv2.BORDER_CONSTANT, value=GRAY))


def undo(corners: Pixels, frame: Pixels) -> Pixels:
    """Return boxes `(n, 4)` of the square, as left, top, right and bottom, in pixels of `frame`."""
    height, width = frame.shape[:2]
    scale = SIZE / max(height, width)
    bars = (SIZE - round(width * scale)) // 2, (SIZE - round(height * scale)) // 2
    return np.asarray((corners - np.array(bars * 2, np.float32)) / scale)
