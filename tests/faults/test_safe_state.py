"""The engine hangs, in a child and in the agent's own process: every output is safe soon after `stale_s`."""

import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from outrider_agent.config import Config
from outrider_agent.control.client import ask
from outrider_bundle.errors import OutriderError
from tests.fakes import agents, faulty_runtime, null_bundle, running
from tests.fakes.agents import AgentProcess
from tests.fakes.broker import eventually
from tests.fakes.faulty_runtime import tell
from tests.fakes.modbus_server import ModbusServer
from tests.fakes.running import BELT, Noted

STALE_S = 0.4
SOON_S = 1.0
"""What a busy machine may add."""
HANG_S = 2.5
"""So long does a driver hang in this process; a test could not get rid of one that hangs for ever."""


@pytest.fixture
def trigger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle with one variant; returns the file that makes it fail."""
    faulty_runtime.use(monkeypatch, tmp_path / "plugins")
    running.faulty_bundle(tmp_path, [tmp_path / "trigger"], slow_s=HANG_S)
    return tmp_path / "trigger"


@pytest.mark.parametrize(
    ("isolation", "fault"), [("child", "hang"), ("child", "hang-gil"), ("inline", "slow")]
)
def test_every_output_is_safe_soon_after_a_hang_begins(
    tmp_path: Path, trigger: Path, isolation: str, fault: str
) -> None:
    outputs = Noted(), Noted()

    def with_outputs(written: Config) -> Config:
        return running.with_parts(written, actions={"valve": outputs[0], "lamp": outputs[1]})

    engine = {"isolation": isolation, "load_s": 2.0}
    with running.running(tmp_path, engine, {"stale_s": STALE_S}, with_outputs) as line:
        assert line.says("RUNNING", reason="")["isolation"] == isolation
        tell(trigger, fault)
        line.until(lambda: all(output.safe for output in outputs))
        for output in outputs:
            (last, decided_s), (now, safe_s) = output.notes[-2:]
            assert (last, now) == ("decided", "safe")
            assert 0.9 * STALE_S < safe_s - decided_s < STALE_S + SOON_S
        line.says("DEGRADED", "perception: none for 0.4 s; outputs are in their safe state")
        assert all(output.safe for output in outputs)
        tell(trigger, "")
        line.recovers()
        line.until(lambda: not any(output.safe for output in outputs))
        line.until(lambda: len(line.events("fault", "perception")) >= 2)
        states = [told["state"] for told in line.events("fault", "perception")]
        assert states[:2] == ["failed", "restored"]
    assert all(output.safe for output in outputs)


def test_the_watchdog_is_not_fed_for_a_loop_that_hangs_in_its_own_process(
    tmp_path: Path, trigger: Path
) -> None:
    with running.running(tmp_path, {"isolation": "inline"}, {"stale_s": STALE_S}) as line:
        assert line.agent.progressed()
        tell(trigger, "slow")
        line.says("DEGRADED", "perception: none")
        line.until(lambda: not line.agent.progressed())
        tell(trigger, "")
        line.recovers()
        assert line.agent.progressed()


def test_an_agent_whose_model_never_returns_tells_of_it_and_can_be_ended(
    tmp_path: Path, trigger: Path
) -> None:
    null_bundle.write_images(tmp_path / "images", 3)
    changed = {
        "source": {"kind": "images", "path": str(tmp_path / "images"), "fps": running.FPS, "loop": True},
        "engine": {**running.ENGINE, "isolation": "inline"},
        "stale_s": STALE_S,
    }

    def status() -> Mapping[str, Any]:
        try:
            shown: dict[str, Any] = ask(tmp_path / "state", {"command": "status"})["pipelines"].get(BELT, {})
        except OutriderError:  # it is not up yet
            return {}
        return shown

    with AgentProcess(tmp_path, agents.document(tmp_path, None, changed)) as agent:
        eventually(lambda: status().get("frames", 0) > 5)
        tell(trigger, "hang")
        eventually(lambda: status().get("state") == "DEGRADED")
        assert "outputs are in their safe state" in status()["reason"]
        agent.send(signal.SIGTERM)
        assert agent.wait() == 0, agent.log
    assert "does not end; it is left behind" in agent.log


def rests(server: ModbusServer) -> bool:
    """Return whether nothing is written for a while."""
    before = len(server.writes)
    time.sleep(0.5)
    return len(server.writes) == before


def test_an_agent_that_leaves_a_hanging_loop_behind_waits_for_its_outputs_to_be_safe(
    tmp_path: Path, trigger: Path
) -> None:
    null_bundle.write_images(tmp_path / "images", 3)
    valves = [{"key": "valve", "table": "coil", "address": at, "safe": False} for at in range(32)]
    with ModbusServer() as server:
        changed = {
            "source": {"kind": "images", "path": str(tmp_path / "images"), "fps": running.FPS, "loop": True},
            "policy": {"kind": "rules", "rules": [{"label": "*", "data": {"valve": True}}]},
            "actions": [{"kind": "modbus", "url": server.url, "outputs": valves}],
            "engine": {**running.ENGINE, "isolation": "inline"},
            "stale_s": 600.0,
        }
        with AgentProcess(tmp_path, agents.document(tmp_path, None, changed)) as agent:
            server.wait("coil", 31, 1, wait_s=running.PATIENCE_S)
            tell(trigger, "hang")
            eventually(lambda: rests(server))
            agent.send(signal.SIGTERM)
            assert agent.wait() == 0, agent.log
        assert not any(server.coil(at) for at in range(32))
    assert "does not end; it is left behind" in agent.log
