"""Ultralytics' `predict(stream=True)` over a video, with one thread; the video's frames are in memory."""

import os
from importlib import import_module
from itertools import cycle
from typing import Any

import cv2
import numpy as np
import onnxruntime as ort

from proofs.agent.peers import onnx
from proofs.agent.peers.letterbox import Pixels
from proofs.agent.peers.seam import IOU, MIN_SCORE, SIZE, Looped, Task
from proofs.agent.video import VIDEO, frames

ENDLESS = 1e9


class Memory:
    """Stands in for `cv2.VideoCapture`: decoding is left out of all sides. Frames come again and again."""

    images: list[Pixels]

    def __init__(self, path: str) -> None:
        """Take the place of the video at `path`."""
        del path
        self._feed = cycle(Memory.images)

    def get(self, what: int) -> float:
        """Return a property of the video."""
        height, width = Memory.images[0].shape[:2]
        sizes = {cv2.CAP_PROP_FRAME_WIDTH: width, cv2.CAP_PROP_FRAME_HEIGHT: height, cv2.CAP_PROP_FPS: 25.0}
        return float(sizes.get(what, ENDLESS))

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        """Return True."""
        return True

    def grab(self) -> bool:
        """Return True: there is another frame."""
        return True

    def retrieve(self) -> tuple[bool, Pixels]:
        """Return the next frame."""
        return True, next(self._feed)

    def release(self) -> None:
        """Do nothing."""


def start(task: Task) -> Looped:
    """Load the model and return the loop."""
    assert os.environ["YOLO_OFFLINE"], "it would talk to its maker's servers"
    Memory.images = list(frames(task.images))
    ort.InferenceSession = onnx.OneThread
    ultralytics: Any = import_module("ultralytics")  # after that class was replaced
    ultralytics.settings.update({"sync": False})
    cv2.VideoCapture = Memory
    model = ultralytics.YOLO(task.model, task="detect")
    options = {"imgsz": SIZE, "conf": MIN_SCORE, "iou": IOU, "device": "cpu", "verbose": False}
    results: Any = model.predict(str(VIDEO), stream=True, **options)
    next(results)
    (session,) = onnx.OneThread.made
    feed = {session.get_inputs()[0].name: np.zeros((1, 3, SIZE, SIZE), np.float32)}
    feed = {name: fill(model.predictor, Memory.images[0], blank) for name, blank in feed.items()}
    about = f"ultralytics {ultralytics.__version__}"
    return Looped(about, lambda: len(next(results).boxes), lambda: session.run(None, feed))


def fill(predictor: Any, frame: Pixels, blank: Pixels) -> Pixels:  # noqa: ANN401 - untyped library
    """Return the library's own preprocessing of `frame`; it must have the shape of `blank`."""
    ready: Pixels = predictor.preprocess([frame]).numpy()
    assert ready.shape == blank.shape, f"it runs on {ready.shape}"
    return ready
