"""Options with which every plug-in runs without hardware, for the contract suites.

A third party's plug-in brings its own: a static method `example(folder)` that returns them as a
configuration would hold them. One without that method is tried with no options at all.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from outrider_agent.parts import Part, find
from outrider_bundle import plugins
from tests.fakes.null_bundle import write_images


def _film(folder: Path) -> Path:
    path = folder / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (32, 16))
    for number in range(5):
        writer.write(np.full((16, 32, 3), 20 * number, np.uint8))
    writer.release()
    return path


def _images(folder: Path) -> dict[str, Any]:
    write_images(folder / "images", 5)
    return {"path": str(folder / "images"), "fps": 100.0}


OPTIONS: Mapping[tuple[str, str], Callable[[Path], dict[str, Any]]] = {
    ("outrider.sources", "images"): _images,
    ("outrider.sources", "video"): lambda folder: {"path": str(_film(folder)), "fps": 100.0},
    # OpenCV opens a file like a camera; at its end it is a camera that went away.
    ("outrider.sources", "camera"): lambda folder: {"device": str(_film(folder)), "retry_s": 0.05},
    ("outrider.policies", "rules"): lambda _: {"rules": [{"label": "*", "frames": 2, "cooldown_s": 1.0}]},
    ("outrider.actions", "log"): lambda _: {},
    ("outrider.actions", "mqtt"): lambda _: {"safe": {"stop": True}},
}


def part(group: str, name: str, folder: Path) -> Part:
    """Return the plug-in as a configuration would have it."""
    make = OPTIONS.get((group, name)) or getattr(plugins.load(group, name), "example", lambda _: {})
    found, faults = find(group, {"kind": name, **make(folder)}, name)
    assert found is not None, faults
    return found
