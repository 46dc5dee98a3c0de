"""The doctor's child: does what one request on standard input asks, answers with rows on standard output.

    python -P -m outrider_agent.doctor.probe < {"probe": "plug_in", "group": ..., "name": ...}

Drivers and libraries are touched here alone: if one crashes or hangs, the doctor goes on.
"""

import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from outrider_agent.doctor.brokers import Broker, broker
from outrider_agent.doctor.cameras import cameras
from outrider_agent.doctor.plug_ins import plug_in
from outrider_agent.doctor.row import Row
from outrider_bundle.errors import OutriderError

Request = Mapping[str, Any]


def main() -> int:
    """Answer the request; return 0."""
    # Libraries print what they like to descriptor 1; the answer keeps its way out to itself.
    answer = os.dup(1)
    os.dup2(2, 1)
    request: Request = msgspec.json.decode(sys.stdin.buffer.read())
    with os.fdopen(answer, "wb") as out:
        out.write(msgspec.json.encode(PROBES[request["probe"]](request)))
    return 0


def _plug_in(request: Request) -> list[Row]:
    return [plug_in(request["group"], request["name"])]


def _cameras(_request: Request) -> list[Row]:
    return cameras()


def _broker(request: Request) -> list[Row]:
    return [broker(msgspec.convert(request["broker"], Broker, dec_hook=_path))]


def _config(request: Request) -> list[Row]:
    """Read a configuration as the agent does: with the plug-ins that it names."""
    path = request["path"]
    try:
        import_module("outrider_agent.config").read(Path(path))
    except ModuleNotFoundError as error:
        cure = "pip install 'outrider[agent]'"
        return [
            Row(
                part="config",
                name=path,
                state="missing",
                detail=f"no {error.name} to read it with",
                cure=cure,
            )
        ]
    except OutriderError as error:
        return [Row(part="config", name=path, state="problem", detail=error.what, cure=error.cure)]
    return [Row(part="config", name=path, state="ok", detail="no faults")]


PROBES: Mapping[str, Callable[[Request], list[Row]]] = {
    "broker": _broker,
    "cameras": _cameras,
    "config": _config,
    "plug_in": _plug_in,
}


def _path(kind: type, value: object) -> object:
    if issubclass(kind, Path) and isinstance(value, str):
        return kind(value)
    raise TypeError(f"Expected {kind.__name__}")


if __name__ == "__main__":
    raise SystemExit(main())
