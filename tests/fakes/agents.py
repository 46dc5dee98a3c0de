"""`outrider agent run` as a process of its own, with its configuration and its last words."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from outrider_fleet.demo.agent_config import value

DEVICE = "line-1"
FLEET = "plant"


def document(
    folder: Path, url: str | None, changed: Mapping[str, Any] | None = None, **tables: object
) -> dict[str, Any]:
    """Return a configuration: unsigned null bundle, images as fast as they go, one rule for all labels.

    Args:
        folder: with `sorter.orb` and `images`.
        url: of the broker; None for a device without one.
        changed: entries of the pipeline that are other.
        tables: whole tables that are other.
    """
    pipeline = {
        "id": "belt",
        "bundle": str(folder / "sorter.orb"),
        "source": {"kind": "images", "path": str(folder / "images"), "fps": 0.0},
        "policy": {"kind": "rules", "rules": [{"label": "*", "data": {"bin": "left"}}]},
        "actions": [{"kind": "mqtt"}] if url else [{"kind": "log"}],
        "engine": {"deadline_ms": 5000.0},
    }
    written: dict[str, Any] = {
        "device": {
            "id": DEVICE,
            "fleet": FLEET,
            "app": "sorting",
            "hardware": "bench",
            "state_dir": str(folder / "state"),
        },
        "trust": {"allow_unsigned": True},
        "pipelines": [{**pipeline, **(changed or {})}],
    }
    if url:
        written["link"] = {"url": url, "telemetry_interval_s": 0.3, "retry_s": 1.0}
    return {**written, **tables}


def write(path: Path, written: Mapping[str, Any]) -> Path:
    """Write a configuration as TOML."""
    path.write_text("".join(f"{key} = {value(item)}\n" for key, item in written.items()))
    return path


class AgentProcess:
    """The agent as a child; SIGKILLed at the end if it still runs."""

    def __init__(
        self, folder: Path, written: Mapping[str, Any], env: Mapping[str, str] | None = None
    ) -> None:
        """Write its configuration."""
        self.config = write(folder / "agent.toml", written)
        self.summary_path = folder / "summary.json"
        self._log = folder / "agent.log"
        self._env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it."""
        call = "from outrider_bundle.dispatch import main; raise SystemExit(main())"
        command = [sys.executable, "-c", call, "agent", "run"]
        command += ["--config", str(self.config), "--summary", str(self.summary_path)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stderr=log, env=self._env)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    @property
    def log(self) -> str:
        """What it wrote to standard error so far."""
        return self._log.read_text()

    @property
    def summary(self) -> dict[str, Any]:
        """What it says its run came to."""
        read: dict[str, Any] = json.loads(self.summary_path.read_text())
        return read

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, timeout_s: float = 40.0) -> int:
        """Return its exit code."""
        assert self._process is not None
        return self._process.wait(timeout_s)
