"""The broker dies in mid-run: the agent goes on deciding, comes back by itself and tells of it."""

import signal
import time
from pathlib import Path

import pytest

from outrider_bundle.messages.codec import decode
from outrider_bundle.messages.event import Event
from outrider_bundle.messages.reported import Reported
from outrider_bundle.messages.state import State
from outrider_bundle.messages.telemetry import Telemetry
from outrider_bundle.topics import parse
from tests.fakes import agents, null_bundle
from tests.fakes.agents import AgentProcess
from tests.fakes.broker import Broker, Listener, eventually

FPS = 50.0


def deciding(folder: Path, url: str, **link: object) -> dict[str, object]:
    """Return a configuration that decides for ever and writes each decision to the log as well."""
    null_bundle.write(folder / "sorter.orb")
    null_bundle.write_images(folder / "images", 7)
    changed = {
        "source": {"kind": "images", "path": str(folder / "images"), "fps": FPS, "loop": True},
        "actions": [{"kind": "mqtt"}, {"kind": "log"}],
    }
    limits = {"url": url, "telemetry_interval_s": 0.3, "retry_s": 1.0, "drain_s": 10.0, **link}
    return agents.document(folder, url, changed, link=limits)


def decided(agent: AgentProcess) -> int:
    return agent.log.count('"label"')


@pytest.mark.parametrize("death", ["kill", "stop"])
def test_it_goes_on_deciding_and_delivers_all_of_it_later(tmp_path: Path, death: str) -> None:
    with Broker(tmp_path / "broker") as broker, Listener(broker.port) as listener:
        with AgentProcess(tmp_path, deciding(tmp_path, broker.url)) as agent:
            eventually(lambda: len(listener.messages("events", Event)) > 20)
            time.sleep(1.5)  # so long may the broker take to save the listener's session
            getattr(broker, death)()
            before = decided(agent)
            eventually(lambda: decided(agent) > before + 2 * FPS)
            away = decided(agent)
            broker.start()
            eventually(lambda: "again after" in agent.log)
            eventually(lambda: decided(agent) > away + FPS)
            agent.send(signal.SIGTERM)
            assert agent.wait() == 0, agent.log
        summary = agent.summary
        # Each event but the few that the dead broker had taken and not yet passed on.
        eventually(lambda: {e.seq for e in listener.messages("events", Event)} >= {summary["events"] - 1})
        eventually(lambda: listener.messages("state", State)[-1].status == "offline")

    assert summary["reconnects"] == 1
    assert (summary["errors"], summary["late"]) == (0, 0)
    assert summary["decisions"] == summary["frames"]
    assert summary["dropped"] < 0.05 * summary["frames"]  # a busy machine may drop one
    assert agent.log.count("No link to the broker") == 1
    events = {e.seq: e for e in listener.messages("events", Event)}
    faults = [(e.seq, e.data) for e in sorted(events.values(), key=lambda e: e.seq) if e.kind == "fault"]
    assert [(d["part"], d["state"]) for _, d in faults] == [("link", "lost"), ("link", "restored")]
    (lost_at, _), (restored_at, restored) = faults
    assert restored["reason"].startswith("away for")
    assert restored_at - lost_at > 2 * FPS * 0.9
    while_away_and_after = range(lost_at, summary["events"])
    assert [seq for seq in while_away_and_after if seq not in events] == []
    if death == "stop":
        assert sorted(events) == list(range(summary["events"]))

    births = [s for s in listener.messages("state", State) if s.status == "online"]
    assert len(births) >= 2
    assert {s.run for s in births} == {summary["run"]}
    assert listener.messages("reported", Reported)[-1].pipelines["belt"].state == "STOPPED"
    # One aggregate per interval all the while; none of those made without a broker is missing.
    heard = [h for h in listener.heard if parse(h.topic).kind == "telemetry"]
    kept = sorted({decode(h.payload, Telemetry).seq for h in heard if h.qos == 1})
    assert kept == list(range(kept[0], kept[0] + len(kept)))
    assert len(kept) >= 3
    assert max(t.duration_s for t in listener.messages("telemetry", Telemetry)) < 2.0


def test_a_broker_that_comes_late_misses_nothing(tmp_path: Path) -> None:
    broker = Broker(tmp_path / "broker")
    with broker, Listener(broker.port):
        pass  # from here on the broker keeps for the listener what it misses
    with AgentProcess(tmp_path, deciding(tmp_path, broker.url)) as agent:
        eventually(lambda: decided(agent) > 10)
        assert "cannot be reached" in agent.log
        with broker, Listener(broker.port) as listener:
            eventually(lambda: len(listener.messages("events", Event)) > 20)
            agent.send(signal.SIGTERM)
            assert agent.wait() == 0, agent.log
            eventually(lambda: len(listener.messages("events", Event)) >= agent.summary["events"])
            eventually(lambda: listener.messages("state", State)[-1].status == "offline")
    events = listener.messages("events", Event)
    # What is new does not wait behind what has waited.
    assert sorted(e.seq for e in events) == list(range(agent.summary["events"]))
    assert agent.summary["reconnects"] == 0


def test_without_a_broker_it_decides_and_ends_all_the_same(tmp_path: Path) -> None:
    port = Broker(tmp_path / "broker").port
    written = deciding(tmp_path, f"mqtt://127.0.0.1:{port}", drain_s=0.5, queue_bytes=10_000)
    with AgentProcess(tmp_path, written) as agent:
        eventually(lambda: decided(agent) > 60)
        begun = time.monotonic()
        agent.send(signal.SIGTERM)
        assert agent.wait() == 0, agent.log
        assert time.monotonic() - begun < 10.0
    assert agent.summary["decisions"] > 60
    assert "The queue for the broker is full" in agent.log
    assert "messages were not delivered before the end" in agent.log


def test_what_was_said_of_a_killed_agent_is_said_by_the_broker(tmp_path: Path) -> None:
    with Broker(tmp_path / "broker") as broker, Listener(broker.port) as listener:
        written = deciding(tmp_path, broker.url, will_delay_s=0)
        with AgentProcess(tmp_path, written) as agent:
            eventually(lambda: listener.messages("state", State))
            agent.send(signal.SIGKILL)
            agent.wait()
        eventually(lambda: len(listener.messages("state", State)) == 2)
    birth, will = listener.messages("state", State)
    assert (birth.status, will.status, will.reason) == ("online", "offline", "connection lost")
    assert birth.run == will.run
