"""`outrider agent safe-state`: what stands behind SIGKILL."""

import json
import signal
import time
from pathlib import Path

import pytest

from outrider_agent import config, safing
from outrider_agent.lock import held
from outrider_bundle.dispatch import main
from outrider_bundle.errors import OutriderError
from tests.fakes import agents, null_bundle
from tests.fakes.agents import AgentProcess
from tests.fakes.broker import Broker, Listener, eventually

SAFE = {"stop": True}


def written(folder: Path, url: str, actions: list[dict[str, object]]) -> Path:
    document = agents.document(folder, url, {"actions": actions})
    return agents.write(folder / "agent.toml", document)


def test_messages_of_safe_states_are_delivered_without_an_agent(tmp_path: Path) -> None:
    null_bundle.write_images(tmp_path / "images", 1)
    with Broker(tmp_path / "broker") as broker, Listener(broker.port) as ears:
        path = written(tmp_path, f"mqtt://127.0.0.1:{broker.port}", [{"kind": "mqtt", "safe": SAFE}])
        made = safing.make_safe(config.read(path))
        assert [(one.action, one.reason) for one in made] == [("mqtt", "")]
        eventually(lambda: [json.loads(h.payload) for h in ears.heard if "/act/" in h.topic] == [SAFE])
        assert not [h for h in ears.heard if "/up/state" in h.topic]


def test_an_output_that_cannot_be_reached_keeps_no_other_from_being_safe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    null_bundle.write_images(tmp_path / "images", 1)
    actions: list[dict[str, object]] = [
        {"kind": "mqtt", "safe": SAFE},
        {"kind": "log"},
    ]
    path = written(tmp_path, "mqtt://127.0.0.1:9", actions)
    assert main(["agent", "safe-state", "--config", str(path), "--json"]) == 1
    mqtt, log = json.loads(capsys.readouterr().out)["actions"]
    assert "does not answer" in mqtt["reason"]
    assert (log["action"], log["reason"]) == ("log", "")


def test_while_an_agent_runs_its_outputs_are_its_own(tmp_path: Path) -> None:
    null_bundle.write_images(tmp_path / "images", 1)
    path = written(tmp_path, "mqtt://127.0.0.1:9", [{"kind": "log"}])
    with held(tmp_path / "state"), pytest.raises(OutriderError, match="Another agent runs"):
        safing.make_safe(config.read(path))


def test_after_a_sigkill_outputs_can_be_made_safe_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    null_bundle.write(tmp_path / "sorter.orb")
    null_bundle.write_images(tmp_path / "images", 3)
    source = {"kind": "images", "path": str(tmp_path / "images"), "fps": 20.0, "loop": True}
    with Broker(tmp_path / "broker") as broker, Listener(broker.port) as ears:
        changed = {"source": source, "actions": [{"kind": "mqtt", "safe": SAFE}]}
        document = agents.document(tmp_path, f"mqtt://127.0.0.1:{broker.port}", changed)
        with AgentProcess(tmp_path, document) as agent:
            eventually(lambda: any("/act/" in h.topic and b"label" in h.payload for h in ears.heard))
            agent.send(signal.SIGKILL)
            agent.wait()
        killed = len(ears.heard)
        begun_s = time.monotonic()
        assert main(["agent", "safe-state", "--config", str(agent.config)]) == 0
        assert time.monotonic() - begun_s < 10.0
        eventually(lambda: any(json.loads(h.payload) == SAFE for h in ears.heard[killed:]))
    assert capsys.readouterr().out == "belt/mqtt: safe\n"
