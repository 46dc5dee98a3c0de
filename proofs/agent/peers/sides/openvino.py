"""OpenVINO called directly, as its notebooks for YOLOv8 do: numpy before it, ultralytics' suppression behind.

Source: openvino_notebooks, notebooks/yolov8-optimization; letterbox, transpose, divide, `compiled(tensor)`.
"""

from importlib import import_module
from itertools import cycle
from typing import Any

import cv2
import numpy as np
import torch

from proofs.agent.peers.letterbox import Pixels, letterbox
from proofs.agent.peers.seam import IOU, MIN_SCORE, SIZE, Looped, Task
from proofs.agent.video import frames

openvino: Any = import_module("openvino")
import_module("torchvision")  # where it is, ultralytics suppresses in native code
nms: Any = import_module("ultralytics.utils.nms")
ops: Any = import_module("ultralytics.utils.ops")

OPTIONS = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
"""Where the CPU has bfloat16 the library takes that unless told otherwise; nobody else here does."""


def start(task: Task) -> Looped:
    """Compile the model for one thread and return the loop."""
    cv2.setNumThreads(1)
    compiled = openvino.Core().compile_model(task.model, "CPU", OPTIONS)
    images = frames(task.images)
    feed, port = cycle(images), compiled.output(0)

    def turn() -> int:
        frame = next(feed)
        return len(detect(frame, compiled(prepare(frame))[port]))

    tensor = prepare(images[0])
    return Looped(f"openvino {openvino.__version__.split('-')[0]}", turn, lambda: compiled(tensor))


def prepare(frame: Pixels) -> Pixels:
    """Return the model's input `(1, 3, SIZE, SIZE)` float32."""
    planes = np.ascontiguousarray(letterbox(frame).transpose(2, 0, 1)[::-1])
    tensor = planes.astype(np.float32)
    tensor /= 255.0
    return np.expand_dims(tensor, 0)


def detect(frame: Pixels, output: Pixels) -> torch.Tensor:
    """Return objects as rows of four corners in pixels of `frame`, score and class."""
    found: torch.Tensor = nms.non_max_suppression(
        torch.from_numpy(output), MIN_SCORE, IOU, nc=output.shape[1] - 4
    )[0]
    if len(found):
        found[:, :4] = ops.scale_boxes((SIZE, SIZE), found[:, :4], frame.shape).round()
    return found
