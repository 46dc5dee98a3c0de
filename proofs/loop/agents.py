"""`outrider agent run` as a user starts it: its configuration, what it says while it runs and at its end."""

import math
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from outrider_agent.control.client import ask
from outrider_bundle.errors import OutriderError
from outrider_fleet import lifeline
from outrider_fleet.demo.agent_config import value
from proofs.agent.runs import OUTRIDER, one_thread
from proofs.agent.video import ROOT

PIPELINE = "proof"
APP = "proof"
"""Of the bundles that the proofs make."""

START_S, END_S, POLL_S = 60.0, 30.0, 0.005
TAIL = 2000
"""Characters of its log that an error shows."""


def scaled(rounds: int, least: int = 1) -> int:
    """Return how often to measure: `rounds`, or a share of them where `PROOF_SCALE` asks for a try."""
    return max(least, math.ceil(rounds * float(os.environ.get("PROOF_SCALE", "1"))))


def document(
    folder: Path, pipelines: Sequence[Mapping[str, Any]], app: str = APP, **tables: object
) -> dict[str, Any]:
    """Return a configuration of unsigned bundles.

    Args:
        folder: where the agent's state is.
        pipelines: their tables; what is left out of one is `proof` with every perception decided on.
        app: of the bundles.
        tables: further ones, for example `link`.
    """
    usual = {"id": PIPELINE, "policy": {"kind": "rules", "rules": [{"label": "*"}]}}
    device = {"id": "proof", "fleet": "proof", "app": app, "hardware": "generic"}
    return {
        "device": {**device, "state_dir": folder / "state"},
        "trust": {"allow_unsigned": True},
        **tables,
        "pipelines": [{**usual, **pipeline} for pipeline in pipelines],
    }


def write(path: Path, written: Mapping[str, Any]) -> Path:
    """Write a configuration as TOML."""
    lines = [f"{key} = {value(item)}\n" for key, item in written.items()]
    path.write_text("".join(lines), encoding="utf-8")
    return path


class Agent:
    """An agent in a process of its own, which dies with this one.

    Args:
        folder: private to it.
        written: its configuration.
        entry_points: modules of plug-ins under `proofs`, see `plug_ins`.
        core: to run on, with its engines; None for all.
    """

    def __init__(
        self,
        folder: Path,
        written: Mapping[str, Any],
        entry_points: Path | None = None,
        core: int | None = None,
    ) -> None:
        """Write its configuration."""
        self.config, self.log = write(folder / "agent.toml", written), folder / "agent.log"
        self._state_dir, self._summary = Path(written["device"]["state_dir"]), folder / "summary.json"
        pinned = [] if core is None else ["taskset", "--cpu-list", str(core)]
        run = [OUTRIDER, "agent", "run", "--config", self.config, "--summary", self._summary]
        self._command = [*pinned, *map(str, run)]
        paths = [str(ROOT), str(entry_points)] if entry_points else []
        self._environment = {**one_thread(), **({"PYTHONPATH": os.pathsep.join(paths)} if paths else {})}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it."""
        with self.log.open("wb") as log:
            self._process = lifeline.spawn(self._command, stderr=log, env=self._environment)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it if it still runs; its engines die with it."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def status(self) -> dict[str, Any]:
        """Return what `outrider agent status --json` shows of the pipelines, by id.

        Raises:
            OutriderError: it does not answer.
        """
        pipelines: dict[str, Any] = ask(self._state_dir, {"command": "status"})["pipelines"]
        return pipelines

    def until(
        self, true: Callable[[dict[str, Any]], object], pipeline: str = PIPELINE, timeout_s: float = START_S
    ) -> dict[str, Any]:
        """Return the first status of a pipeline that is `true`.

        Raises:
            RuntimeError: there was none in time, or the agent has ended.
        """
        end_s = time.monotonic() + timeout_s
        status: dict[str, Any] = {}
        while time.monotonic() < end_s and self._process and self._process.poll() is None:
            try:
                if true(status := self.status().get(pipeline, {})):
                    return status
            except OutriderError:  # it has not come up yet
                pass
            time.sleep(POLL_S)
        raise RuntimeError(f"not within {timeout_s:g} s; the last status: {status}; {self._words()}")

    def summary(self, timeout_s: float = END_S) -> dict[str, Any]:
        """Wait for its end and return what its run came to.

        Raises:
            RuntimeError: it does not end, or has failed.
        """
        assert self._process is not None
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"the agent does not end; {self._words()}") from error
        if code:
            raise RuntimeError(f"the agent ended with {code}; {self._words()}")
        return msgspec.json.decode(self._summary.read_bytes(), type=dict[str, Any])

    def stop(self) -> dict[str, Any]:
        """End it as systemd does, and return what its run came to.

        Raises:
            RuntimeError: see `summary`.
        """
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self.summary()

    def _words(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-TAIL:]
