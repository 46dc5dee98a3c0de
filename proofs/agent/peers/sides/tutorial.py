"""A control: ONNX Runtime as tutorials show it, an array for every step and Python over all rows."""

from itertools import cycle

import cv2
import numpy as np
import onnxruntime as ort

from proofs.agent.peers import onnx
from proofs.agent.peers.letterbox import Pixels, letterbox, undo
from proofs.agent.peers.seam import IOU, MIN_SCORE, Looped, Task
from proofs.agent.video import frames


def start(task: Task) -> Looped:
    """Load the model and return the loop."""
    cv2.setNumThreads(1)
    session, images = onnx.session(task.model), frames(task.images)
    name, feed = session.get_inputs()[0].name, cycle(images)

    def turn() -> int:
        frame = next(feed)
        return len(detect(frame, session.run(None, {name: prepare(frame)})[0]))

    tensor = prepare(images[0])
    return Looped(f"onnxruntime {ort.__version__}", turn, lambda: session.run(None, {name: tensor}))


def prepare(frame: Pixels) -> Pixels:
    """Return the model's input `(1, 3, SIZE, SIZE)` float32."""
    values = cv2.cvtColor(letterbox(frame), cv2.COLOR_BGR2RGB).astype(np.float32) / 255.0
    return np.expand_dims(np.ascontiguousarray(values.transpose(2, 0, 1)), 0)


def detect(frame: Pixels, output: Pixels) -> Pixels:
    """Return the boxes that stay, `(n, 4)` in pixels of `frame`."""
    boxes, scores, classes = [], [], []
    for row in np.squeeze(output).T:
        score = row[4:].max()
        if score >= MIN_SCORE:
            x, y, width, height = row[:4]
            boxes.append([x - width / 2, y - height / 2, width, height])
            scores.append(float(score))
            classes.append(int(row[4:].argmax()))
    kept = cv2.dnn.NMSBoxesBatched(boxes, scores, classes, MIN_SCORE, IOU) if boxes else ()
    corners = [[x, y, x + width, y + height] for x, y, width, height in (boxes[at] for at in kept)]
    return undo(np.array(corners, np.float32).reshape(-1, 4), frame)
