"""The agent as `outrider agent run` runs it, in this process, and a scenario that is played to it meanwhile.

Main thread: the agent's own, with its signals, watchdog and control socket. The scenario has a thread of its
own, asks through the control socket as the command line does, and ends the agent by SIGTERM.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from outrider_agent import daemon, logs
from outrider_agent.broker import BrokerOptions
from outrider_agent.config import Config, Device, Engine, Pipeline, PipelineTable, Trust
from outrider_agent.control.client import ask
from outrider_agent.parts import POLICIES, Part, find
from outrider_bundle.errors import OutriderError
from outrider_fleet.broker import Broker
from proofs.agent.runs import say
from proofs.agent.video import ROOT
from proofs.engine.plug_ins import Watch, part

T = TypeVar("T")

PIPELINE = "proof"
APP = "proof"
"""Of the bundles."""

START_S, POLL_S, SWAP_S = 60.0, 0.01, 120.0


def bundles() -> dict[str, Path]:
    """Return the proofs' bundles by name; they are made in a process of its own, since that needs torch."""
    command = [sys.executable, "-m", "proofs.engine.models"]
    made = subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE).stdout
    return {name: Path(path) for name, path in msgspec.json.decode(made, type=dict[str, str]).items()}


class Setting(Struct, frozen=True, kw_only=True):
    """What runs.

    Args:
        bundle: the first one.
        source: where frames come from.
        watches: actions; one sees all decisions, another may stand beside it.
        engine: how the model is run.
        stale_s: age of a perception at which outputs must be safe.
    """

    bundle: Path
    source: Part
    watches: Sequence[Watch]
    engine: Engine
    stale_s: float = 5.0


class Agent:
    """What a scenario can do with the agent."""

    def __init__(self, state_dir: Path) -> None:
        """Know where its socket is."""
        self._state_dir = state_dir

    def status(self) -> dict[str, Any]:
        """Return what `outrider agent status` shows of the pipeline."""
        found: dict[str, Any] = ask(self._state_dir, {"command": "status"})["pipelines"].get(PIPELINE, {})
        return found

    def swap(self, bundle: Path) -> dict[str, Any]:
        """Put `bundle` in place of the model at work, as `outrider agent swap` does."""
        request = {
            "command": "swap",
            "pipeline": PIPELINE,
            "bundle": str(bundle),
            "wish": {"mode": "overlap"},
        }
        return ask(self._state_dir, request, timeout_s=SWAP_S)

    def until(self, true: Callable[[dict[str, Any]], object], timeout_s: float = START_S) -> dict[str, Any]:
        """Return the first status that is `true`.

        Raises:
            RuntimeError: there was none in time.
        """
        end_s, status = time.monotonic() + timeout_s, {}
        while time.monotonic() < end_s:
            try:
                if true(status := self.status()):
                    return status
            except OutriderError:  # it has not come up yet
                pass
            time.sleep(POLL_S)
        raise RuntimeError(f"not within {timeout_s:g} s; the last status: {status}")


def play(setting: Setting, scenario: Callable[[Agent], T]) -> T:
    """Run the agent until `scenario` returns, with a broker of its own; return that.

    Raises:
        RuntimeError: the scenario failed.
        OutriderError: the agent failed.
    """
    logs.start("error")
    results: list[T] = []
    with tempfile.TemporaryDirectory() as name, Broker(Path(name) / "broker") as broker:
        agent = Agent(Path(name) / "state")

        def work() -> None:
            try:
                agent.until(lambda status: status.get("frames"))
                results.append(scenario(agent))
            except Exception as error:  # noqa: BLE001 - whatever it is, the agent has to end
                say(f"the scenario failed: {error!r}")
            finally:
                os.kill(os.getpid(), signal.SIGTERM)

        thread = threading.Thread(target=work, name="scenario", daemon=True)
        thread.start()
        daemon.run(_config(setting, Path(name) / "state", broker.url))
        thread.join()
    if not results:
        raise RuntimeError("the scenario failed")
    return results[0]


def _config(setting: Setting, state_dir: Path, url: str) -> Config:
    """Return the configuration: every perception is decided on, telemetry goes out every second."""
    policy: dict[str, Any] = {"kind": "rules", "rules": [{"label": "*"}]}
    found, faults = find(POLICIES, policy, "policy")
    if found is None:
        raise OutriderError("; ".join(faults))
    table = PipelineTable(
        id=PIPELINE,
        bundle=setting.bundle,
        source={"kind": setting.source.kind},
        policy=policy,
        actions=tuple({"kind": "watch"} for _ in setting.watches),
        engine=setting.engine,
        stale_s=setting.stale_s,
    )
    actions = tuple(part("watch", watch) for watch in setting.watches)
    return Config(
        device=Device(id="proof", fleet="proof", app=APP, hardware="bench", state_dir=state_dir),
        trust=Trust(allow_unsigned=True),
        link=BrokerOptions(url=url, telemetry_interval_s=1.0),
        pipelines=(Pipeline(table=table, source=setting.source, policy=found, actions=actions),),
    )
