"""The control: the loop that tutorials show, with an array for every step."""

import time
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime as ort

from outrider_runtime.session import Array
from proofs.agent.peers.sides import tutorial

MEAN, STD = np.array((0.485, 0.456, 0.406), np.float32), np.array((0.229, 0.224, 0.225), np.float32)
MOBILENET_SIDE = 224


class Tutorial:
    """A side of the comparison, see `outrider_agent.bench.sides`: one thread that does all."""

    def __init__(self, name: str, graph: Path, images: Sequence[Array]) -> None:
        """Load the model; `name` is one of the proofs' two."""
        settings: Any = ort.SessionOptions()
        settings.intra_op_num_threads = 1
        session: Any = ort.InferenceSession(str(graph), settings, providers=["CPUExecutionProvider"])
        entry, feed = session.get_inputs()[0].name, cycle(images)

        def turn() -> object:
            frame = next(feed)
            return after(frame, session.run(None, {entry: before(frame)})[0])

        before: Callable[[Array], Array] = _classified if name == "mobilenet" else tutorial.prepare
        after: Callable[[Array, Array], object] = _best if name == "mobilenet" else tutorial.detect
        self._turn = turn

    def block(self, frames: int) -> float:
        """Run `frames` and return the CPU seconds of one."""
        start_s = time.process_time()
        for _ in range(frames):
            self._turn()
        return (time.process_time() - start_s) / frames


def _classified(frame: Array) -> Array:
    """Return the classifier's input `(1, 3, 224, 224)` float32."""
    small = cv2.cvtColor(cv2.resize(frame, (MOBILENET_SIDE, MOBILENET_SIDE)), cv2.COLOR_BGR2RGB)
    values = (small.astype(np.float32) / 255.0 - MEAN) / STD
    return np.ascontiguousarray(values.transpose(2, 0, 1))[None]


def _best(frame: Array, logits: Array) -> tuple[int, float]:
    """Return the best class and its probability."""
    del frame
    powers = np.exp(logits[0] - logits[0].max())
    shares = powers / powers.sum()
    best = int(np.argsort(-shares)[0])
    return best, float(shares[best])
