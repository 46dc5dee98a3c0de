"""Options with which every plug-in runs without hardware, for the contract suites.

A third party's plug-in brings its own: a static method `example(folder)` that returns them as a
configuration would hold them. One without that method is tried with no options at all.
"""

import atexit
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from gymnasium import spaces
from msgspec.structs import replace
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from outrider_agent import plants
from outrider_agent.actions.gpio import GpioAction
from outrider_agent.parts import Part, find
from outrider_agent.plants import Plant
from outrider_bundle import plugins
from tests.fakes import far_ends
from tests.fakes.broker import Broker
from tests.fakes.gpio_chip import FakeChip
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


def _replay(folder: Path) -> dict[str, Any]:
    np.savez(folder / "replay.npz", frames=np.arange(30, dtype=np.float32).reshape(5, 3, 2))
    return {"path": str(folder / "replay.npz"), "fps": 100.0}


@cache
def _samples() -> str:
    """Return the URL of a broker that keeps a message with samples; it runs until the process ends."""
    folder = Path(tempfile.mkdtemp())
    broker = Broker(folder)
    broker.start()
    atexit.register(shutil.rmtree, folder)
    atexit.register(broker.stop)
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    samples = json.dumps([{"n": number, "x": number / 2} for number in range(40)])
    client.publish("samples", samples, qos=1, retain=True).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()
    return broker.url


def _mqtt(_folder: Path) -> dict[str, Any]:
    broker = {"url": _samples(), "session_expiry_s": 0}  # so that each source gets what is retained
    return {"topic": "samples", "fields": ["x"], "seq": "n", "window": 4, "broker": broker}


def _gym(_folder: Path) -> dict[str, Any]:
    return {"env": "CartPole-v1", "again_s": 0.05}


def _gym_action(_folder: Path) -> dict[str, Any]:
    plants.enter("belt", Plant(spaces.Discrete(2), lockstep=True))
    return {"safe": 0}


OPTIONS: Mapping[tuple[str, str], Callable[[Path], dict[str, Any]]] = {
    ("outrider.sources", "images"): _images,
    ("outrider.sources", "video"): lambda folder: {"path": str(_film(folder)), "fps": 100.0},
    # OpenCV opens a file like a camera; at its end it is a camera that went away.
    ("outrider.sources", "camera"): lambda folder: {"device": str(_film(folder)), "retry_s": 0.05},
    ("outrider.sources", "replay"): _replay,
    ("outrider.sources", "mqtt"): _mqtt,
    ("outrider.sources", "gym"): _gym,
    ("outrider.policies", "argmax"): lambda _: {"on_change": True},
    ("outrider.policies", "passthrough"): lambda _: {"every_s": 1.0, "data": {"from": "belt"}},
    ("outrider.policies", "rules"): lambda _: {"rules": [{"label": "*", "frames": 2, "cooldown_s": 1.0}]},
    ("outrider.actions", "command"): far_ends.command,
    ("outrider.actions", "gpio"): far_ends.gpio,
    ("outrider.actions", "http"): far_ends.http,
    ("outrider.actions", "gym"): _gym_action,
    ("outrider.actions", "log"): lambda _: {},
    ("outrider.actions", "modbus"): far_ends.modbus,
    ("outrider.actions", "mqtt"): lambda _: {"safe": {"stop": True}},
}


def part(group: str, name: str, folder: Path) -> Part:
    """Return the plug-in as a configuration would have it."""
    make = OPTIONS.get((group, name)) or getattr(plugins.load(group, name), "example", lambda _: {})
    found, faults = find(group, {"kind": name, **make(folder)}, name)
    assert found is not None, faults
    if (group, name) == ("outrider.actions", "gpio"):  # on a double of a chip
        chip = FakeChip(str(folder / "gpiochip0"))
        return replace(found, plugin=partial(GpioAction, request_lines=chip.request_lines))
    return found
