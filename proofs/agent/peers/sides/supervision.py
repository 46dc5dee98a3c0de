"""ONNX Runtime and supervision: its letterbox, its detections, its suppression; the arithmetic vectorised.

Written as favourably as its documentation allows: OpenCV makes the blob, scores are sorted out before boxes.
"""

from importlib import import_module
from itertools import cycle
from typing import Any

import cv2
import numpy as np

from proofs.agent.peers import onnx
from proofs.agent.peers.letterbox import Pixels, undo
from proofs.agent.peers.seam import GRAY, IOU, MIN_SCORE, SIZE, Looped, Task
from proofs.agent.video import frames

sv: Any = import_module("supervision")


def start(task: Task) -> Looped:
    """Load the model and return the loop."""
    cv2.setNumThreads(1)
    session, images = onnx.session(task.model), frames(task.images)
    name, feed = session.get_inputs()[0].name, cycle(images)

    def turn() -> int:
        frame = next(feed)
        return len(detect(frame, session.run(None, {name: prepare(frame)})[0][0]))

    blob = prepare(images[0])
    return Looped(f"supervision {sv.__version__}", turn, lambda: session.run(None, {name: blob}))


def prepare(frame: Pixels) -> Pixels:
    """Return the model's input `(1, 3, SIZE, SIZE)` float32."""
    square = sv.letterbox_image(image=frame, resolution_wh=(SIZE, SIZE), color=GRAY)
    return np.asarray(cv2.dnn.blobFromImage(square, 1.0 / 255.0, swapRB=True))


def detect(frame: Pixels, output: Pixels) -> Any:  # noqa: ANN401 - untyped library
    """Return what `output` `(4 + labels, n)` says, in pixels of `frame`."""
    scores = output[4:].max(0)
    clear = scores >= MIN_SCORE
    corners = sv.xcycwh_to_xyxy(output[:4, clear].T)
    found = sv.Detections(
        xyxy=undo(corners, frame), confidence=scores[clear], class_id=output[4:, clear].argmax(0)
    )
    return found.with_nms(threshold=IOU)
