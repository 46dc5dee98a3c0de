"""What the agent is measured against: decoding a video, and each model's library on an input that is ready.

A process of its own; each line it reads is a number of frames, each line it writes the CPU seconds of a
frame by way and part, all its threads together. There are two ways: `turns` goes frame by frame through all
parts, as whoever does all of it must, and `alone` runs each part on all frames, in caches of its own.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import msgspec
import numpy as np

from outrider_agent.bench.bare import bare
from outrider_bundle.container import Bundle
from outrider_bundle.slot import Slot, unpack
from outrider_runtime.preprocess import preprocessor
from outrider_runtime.session import empty
from proofs.agent.runs import NAMES
from proofs.agent.video import VIDEO, WORK, frames

DECODE = "decode"


def main() -> int:
    """Serve until standard input ends."""
    with tempfile.TemporaryDirectory() as folder:
        parts: dict[str, Callable[[], object]] = {DECODE: decode()}
        parts |= {name: inference(WORK / f"{name}.orb", Path(folder) / name) for name in NAMES}
        for line in sys.stdin:
            spent = {"turns": _turns(parts, int(line)), "alone": _alone(parts, int(line))}
            sys.stdout.write(msgspec.json.encode(spent).decode() + "\n")
            sys.stdout.flush()
    return 0


def decode() -> Callable[[], object]:
    """Return what reads the next frame of the video into memory that is there already."""
    image, capture = frames(1)[0], cv2.VideoCapture(str(VIDEO))

    def turn() -> None:
        while not capture.read(image)[0]:  # its end
            capture.open(str(VIDEO))

    return turn


def inference(path: Path, folder: Path) -> Callable[[], object]:
    """Return one run of the first variant of the bundle at `path` on a frame that was preprocessed."""
    with Bundle.open(path) as bundle:
        manifest, variant = bundle.manifest, bundle.manifest.ranked()[0]
        slot = Slot.open(unpack(bundle, [variant.id], folder))
    inputs = [empty(tensor) for tensor in variant.inputs]
    preprocessor(manifest.inputs[0], variant.inputs[0]).write(np.ascontiguousarray(frames(1)[0]), inputs[0])
    return bare(variant, slot.files(variant.id), {"threads": 1}, inputs)


def _turns(parts: Mapping[str, Callable[[], object]], count: int) -> dict[str, float]:
    spent = dict.fromkeys(parts, 0.0)
    for _ in range(count):
        for name, run in parts.items():
            spent[name] += _cpu_s(run)
    return {name: total / count for name, total in spent.items()}


def _alone(parts: Mapping[str, Callable[[], object]], count: int) -> dict[str, float]:
    return {name: sum(_cpu_s(run) for _ in range(count)) / count for name, run in parts.items()}


def _cpu_s(run: Callable[[], object]) -> float:
    start_s = time.process_time()
    run()
    return time.process_time() - start_s


if __name__ == "__main__":
    sys.exit(main())
