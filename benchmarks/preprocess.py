"""Preprocessing against the textbook's numpy, both on the same frames in one run: the ratio of CPU time.

    python benchmarks/preprocess.py

640x480 BGR frames to 224x224 RGB float32 planes, normalized; interleaved A B A B.
"""

import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np

from outrider_bundle import bars
from outrider_bundle.manifest import ImagePreprocess, Input, Tensor
from outrider_runtime.preprocess import preprocessor

PAIRS, FRAMES = 31, 20
SHAPE = (1, 3, 224, 224)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def naive(frame: np.ndarray) -> np.ndarray:
    """Resize, reorder, scale, normalize and transpose, each with an array of its own."""
    small = cv2.cvtColor(cv2.resize(frame, (224, 224)), cv2.COLOR_BGR2RGB)
    values = small.astype(np.float32) / 255.0
    values = (values - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return np.ascontiguousarray(values.transpose(2, 0, 1))[None]


def cpu_s(call: Callable[[np.ndarray], object], frames: list[np.ndarray]) -> float:
    """Return the thread's CPU seconds for all `frames`."""
    start = time.thread_time()
    for frame in frames:
        call(frame)
    return time.thread_time() - start


def main() -> int:
    """Measure, print the ratio and write the proof."""
    cv2.setNumThreads(1)
    plan = ImagePreprocess(color="rgb", mean=MEAN, std=STD)
    source = Input(name="x", shape=SHAPE, layout="NCHW", preprocess=plan)
    ours = preprocessor(source, Tensor(name="x", shape=SHAPE, dtype="float32", layout="NCHW"))
    out = np.empty(SHAPE, np.float32)
    random = np.random.default_rng(0)
    frames = [random.integers(0, 256, (480, 640, 3), np.uint8) for _ in range(FRAMES)]
    worst = 0.0
    for frame in frames:
        ours.write(frame, out)
        worst = max(worst, float(np.abs(out - naive(frame)).max()))
    ratios = [cpu_s(lambda f: ours.write(f, out), frames) / cpu_s(naive, frames) for _ in range(PAIRS)]
    ratio = statistics.median(ratios)
    how = f"median of {PAIRS} interleaved pairs of {FRAMES} frames, CPU time; differs by {worst:.1e} at most"
    value = ratio if worst <= 1e-5 else float("nan")
    row = bars.Row(id="preprocess.ratio", value=value, sense="<=", limit=0.25, unit="ratio", how=how)
    bars.write("preprocess", [row])
    print(
        f"preprocessing over naive numpy: {ratio:.3f} (min {min(ratios):.3f}, max {max(ratios):.3f}), {how}"
    )
    return 0 if row.ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
