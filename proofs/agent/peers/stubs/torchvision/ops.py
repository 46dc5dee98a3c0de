"""Suppression of overlapping boxes."""

from typing import Any

import cv2
import torch


def nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Return the indices of boxes to keep, int64, the best first.

    Args:
        boxes: `(n, 4)` float32, left, top, right, bottom.
        scores: `(n,)` float32.
        iou_threshold: of two boxes that overlap more the better one stays.
    """
    corners: Any = boxes.numpy().copy()
    sure: Any = scores.numpy()  # OpenCV takes arrays, its annotations do not
    corners[:, 2:] -= corners[:, :2]
    kept = cv2.dnn.NMSBoxes(corners, sure, 0.0, iou_threshold)
    return torch.as_tensor(kept, dtype=torch.int64).reshape(-1)
