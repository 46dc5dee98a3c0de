"""What the examples of actions talk to: one of each for all tests, on loopback, until the process ends."""

from functools import cache
from pathlib import Path
from typing import Any

from tests.fakes.modbus_server import ModbusServer
from tests.fakes.webhook import Webhook

ROOM = 256
"""So many decisions the suites apply at once, and more."""


@cache
def _webhook() -> Webhook:
    return Webhook().start()


@cache
def _modbus() -> ModbusServer:
    return ModbusServer().start()


def http(_: Path) -> dict[str, Any]:
    return {"url": _webhook().url, "queue": ROOM, "safe": {"stop": True}}


def modbus(_: Path) -> dict[str, Any]:
    outputs = [
        {"key": "index", "table": "coil", "address": 1, "safe": False},
        {"key": "score", "table": "register", "address": 1, "safe": 0.0, "scale": 1000.0},
    ]
    return {"url": _modbus().url, "queue": ROOM, "outputs": outputs}


def command(folder: Path) -> dict[str, Any]:
    program = folder / "take"
    program.write_text("#!/bin/sh\nread -r decision\nexit 0\n")
    program.chmod(0o755)
    return {"argv": [str(program)], "safe": ["/bin/sh", "-c", "exit 0"], "queue": ROOM}


def gpio(folder: Path) -> dict[str, Any]:
    outputs = [
        {"key": "index", "line": 4, "safe": 0},
        {"key": "score", "line": "LED", "safe": 1, "active_low": True, "pulse_ms": 10},
    ]
    return {"chip": str(folder / "gpiochip0"), "outputs": outputs}
