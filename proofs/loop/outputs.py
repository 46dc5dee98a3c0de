"""A pipeline with a Modbus register as its output: frames of the video, a classifier in a child, one rule."""

from pathlib import Path
from typing import Any

import cv2

from proofs.agent.runs import bundles
from proofs.agent.video import frames
from proofs.loop.registers import ACTIVE, REGISTER, SAFE, UNIT

MODEL = "mobilenet"
IMAGES = 8
MANY = 1000
"""Failures in a row: after the usual three the only variant would rest, and each kill here stands alone."""


def write_images(folder: Path) -> Path:
    """Write frames of the video as files; return the folder."""
    folder.mkdir()
    for number, image in enumerate(frames(IMAGES)):
        cv2.imwrite(str(folder / f"{number}.jpg"), image)
    return folder


def bundle() -> Path:
    """Return the bundle."""
    return bundles()[MODEL]


def pipeline(bundle_path: Path, images: Path, port: int, fps: float) -> dict[str, Any]:
    """Return the table of the pipeline; every decision writes `ACTIVE`, its safe state `SAFE`."""
    output = {"key": "level", "table": "register", "address": REGISTER, "safe": SAFE}
    return {
        "bundle": bundle_path,
        "source": {"kind": "images", "path": images, "fps": fps, "loop": True},
        "policy": {"kind": "rules", "rules": [{"label": "*", "data": {"level": ACTIVE}}]},
        "actions": [{"kind": "modbus", "url": f"tcp://127.0.0.1:{port}", "unit": UNIT, "outputs": [output]}],
        "engine": {"isolation": "child", "threads": 1, "failures": MANY},
    }
