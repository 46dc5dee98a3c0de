"""`outrider agent run` as a user starts it, and beside it the shortest program that runs the same model."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import cv2

from outrider_bundle.container import Bundle
from outrider_bundle.slot import unpack
from outrider_fleet.demo.agent_config import value
from proofs.agent.runs import OUTRIDER, one_thread
from proofs.agent.video import WORK, frames

IMAGES = 8
"""Files that the source goes round."""

BARE = """
import sys
import cv2, numpy, onnxruntime
settings = onnxruntime.SessionOptions()
settings.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], settings, providers=["CPUExecutionProvider"])
entry = session.get_inputs()[0]
session.run(None, {entry.name: numpy.zeros(entry.shape, numpy.float32)})
sys.stdout.write("ran\\n")
sys.stdout.flush()
sys.stdin.read()
"""
"""Imports, load, one run; then it waits to be looked at."""

LIBRARIES = "import argparse, importlib.metadata, logging, msgspec, paho.mqtt.client, tomllib\n"
"""What a daemon needs that reads a configuration, finds plug-ins and has a link; nothing is ours."""


def graph(model: str, folder: Path) -> Path:
    """Return the graph of the bundle `model`, unpacked with its weights as on a device."""
    with Bundle.open(WORK / f"{model}.orb") as bundle:
        slot = unpack(bundle, [bundle.manifest.ranked()[0].id], folder / "bare")
        return slot / bundle.manifest.ranked()[0].files[0].blob


def write_config(
    folder: Path, model: str, url: str, isolation: Literal["auto", "child", "inline"], fps: float
) -> Path:
    """Write frames of the video, and the configuration of an agent that looks at them; return its path."""
    images = folder / "images"
    images.mkdir(exist_ok=True)
    for number, image in enumerate(frames(IMAGES)):
        cv2.imwrite(str(images / f"{number}.jpg"), image)
    document = {
        "device": {
            "id": "proof",
            "fleet": "proof",
            "app": "proof",
            "hardware": "bench",
            "state_dir": folder / "state",
        },
        "trust": {"allow_unsigned": True},
        "link": {"url": url, "telemetry_interval_s": 1.0},
        "pipelines": [
            {
                "id": "proof",
                "bundle": WORK / f"{model}.orb",
                "source": {"kind": "images", "path": images, "fps": fps, "loop": True},
                "policy": {"kind": "rules", "rules": [{"label": "*", "cooldown_s": 1.0}]},
                "actions": [{"kind": "mqtt"}],
                "engine": {"isolation": isolation, "threads": 1},
            }
        ],
    }
    path = folder / f"{isolation}.toml"
    lines = [f"{key} = {value(item)}\n" for key, item in document.items()]
    path.write_text("".join(lines), encoding="utf-8")
    return path


@contextmanager
def agent(config: Path) -> Iterator[int]:
    """Run the agent and yield its process id; it is killed at the end, and its engine dies with it."""
    log = config.with_suffix(".log")
    command = [str(OUTRIDER), "agent", "run", "--config", str(config)]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stderr=file, stdin=subprocess.DEVNULL, env=one_thread())
    with _ended(process):
        yield process.pid


@contextmanager
def bare(path: Path, more: str = "") -> Iterator[int]:
    """Run the short program on the graph at `path` and yield its process id once it has run the model.

    `more` are lines that it begins with.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", more + BARE, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=one_thread(),
    )
    with _ended(process):
        assert process.stdout is not None
        if process.stdout.readline() != b"ran\n":
            raise RuntimeError("the bare program failed")
        yield process.pid


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        process.wait()


def until(true: Callable[[], object], what: str, timeout_s: float = 60.0) -> None:
    """Wait until `true` returns something true.

    Raises:
        RuntimeError: it did not come to `what` in time.
    """
    end_s = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > end_s:
            raise RuntimeError(f"{what}: not within {timeout_s:g} s")
        time.sleep(0.005)
