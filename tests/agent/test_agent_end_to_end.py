"""The agent as users run it: a process of its own, a real bundle, a real broker, a real subscriber."""

import json
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from outrider_bundle.messages.event import Event
from outrider_bundle.messages.reported import Reported
from outrider_bundle.messages.state import State
from outrider_bundle.messages.telemetry import Telemetry
from outrider_bundle.topics import Topics
from tests.fakes import agents, faulty_runtime, null_bundle, running
from tests.fakes.agents import AgentProcess
from tests.fakes.broker import Broker, Listener, eventually

COUNT = 120
TOPICS = Topics(agents.FLEET, agents.DEVICE)
SUMMARY = {
    "run", "frames", "dropped", "late", "no_input", "errors", "decisions", "events", "telemetry",
    "p50_ms", "p99_ms", "variant", "placement", "exit", "reconnects", "skipped",
}  # fmt: skip


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    with Broker(tmp_path / "broker") as broker, Listener(broker.port) as ears:
        yield ears


def url(listener: Listener) -> str:
    return f"mqtt://127.0.0.1:{listener.port}"


def test_every_decision_is_right_and_arrives_and_all_accounts_agree(
    tmp_path: Path, listener: Listener
) -> None:
    null_bundle.write(tmp_path / "sorter.orb")
    wanted = null_bundle.write_images(tmp_path / "images", COUNT)
    with AgentProcess(tmp_path, agents.document(tmp_path, url(listener))) as agent:
        assert agent.wait() == 0, agent.log
    eventually(lambda: [s.status for s in listener.messages("state", State)] == ["online", "offline"])
    summary = agent.summary
    events = listener.messages("events", Event)

    decided = {e.frame: e.data for e in events if e.kind == "decision"}
    assert {frame: data["label"] for frame, data in decided.items()} == wanted
    assert all(data["bin"] == "left" and data["score"] == 1.0 for data in decided.values())
    assert [e.seq for e in events] == list(range(len(events)))
    assert {e.run for e in events} == {summary["run"]}

    acts = [json.loads(h.payload) for h in listener.heard if h.topic == TOPICS.act("belt")]
    assert {act["frame"]: act["label"] for act in acts} == wanted
    assert {(act["seq"], act["bin"]) for act in acts} == {(e.seq, "left") for e in events if e.frame}

    assert set(summary) == SUMMARY
    assert (summary["frames"], summary["decisions"], summary["events"]) == (COUNT, COUNT, len(events))
    assert (summary["dropped"], summary["late"], summary["errors"], summary["exit"]) == (0, 0, 0, 0)
    assert (summary["variant"], summary["skipped"], summary["reconnects"]) == ("null-a", [], 0)
    assert summary["placement"]["device"] == "null"
    assert 0 < summary["p50_ms"] <= summary["p99_ms"]

    telemetry = listener.messages("telemetry", Telemetry)
    assert [t.seq for t in telemetry] == list(range(summary["telemetry"]))
    assert sum(t.pipelines["belt"].frames for t in telemetry) == COUNT
    classes = [t.pipelines["belt"].classes for t in telemetry]
    assert sum(sum(c.values()) for c in classes) == COUNT
    first, last = listener.messages("state", State)
    assert first.run == last.run == summary["run"]
    assert last.reason == "the input ended"


def test_sigterm_ends_it_cleanly_and_what_it_says_of_itself_is_true(
    tmp_path: Path, listener: Listener
) -> None:
    null_bundle.write(tmp_path / "sorter.orb")
    null_bundle.write_images(tmp_path / "images", 10)
    source = {"kind": "images", "path": str(tmp_path / "images"), "fps": 50.0, "loop": True}
    with AgentProcess(tmp_path, agents.document(tmp_path, url(listener), {"source": source})) as agent:
        eventually(lambda: len(listener.messages("events", Event)) > 20)
        agent.send(signal.SIGTERM)
        assert agent.wait() == 0, agent.log
    eventually(lambda: len(listener.messages("state", State)) == 2)
    summary, events = agent.summary, listener.messages("events", Event)
    assert [e.seq for e in events] == list(range(summary["events"]))
    assert (summary["exit"], summary["decisions"]) == (0, sum(e.kind == "decision" for e in events))
    assert listener.messages("state", State)[-1].reason == "SIGTERM"
    phases = [(e.pipeline, e.data["state"]) for e in events if e.kind == "phase"]
    assert phases == [
        ("agent", "STARTING"),
        ("belt", "RUNNING"),
        ("agent", "RUNNING"),
        ("agent", "STOPPING"),
        ("belt", "STOPPED"),
    ]
    reports = [r.pipelines["belt"] for r in listener.messages("reported", Reported) if r.pipelines]
    assert [report.state for report in reports] == ["STARTING", "RUNNING", "STOPPED"]
    assert {(r.bundle, r.version, r.variant, r.runtime) for r in reports} == {
        ("sorter", "1.2.0", "null-a", "null")
    }
    assert all(h.retained is False and h.qos == 1 for h in listener.heard if h.topic == TOPICS.reported)
    with Listener(listener.port, "latecomer") as late:
        eventually(lambda: len(late.heard) == 2)
    assert {(h.topic, h.retained) for h in late.heard} == {(TOPICS.state, True), (TOPICS.reported, True)}


def test_the_next_variant_is_taken_and_reported_as_degraded(tmp_path: Path, listener: Listener) -> None:
    null_bundle.write(tmp_path / "sorter.orb", wrong=["null-a"])
    wanted = null_bundle.write_images(tmp_path / "images", 5)
    with AgentProcess(tmp_path, agents.document(tmp_path, url(listener))) as agent:
        assert agent.wait() == 0, agent.log
    eventually(lambda: len(listener.messages("state", State)) == 2)
    summary = agent.summary
    assert summary["variant"] == "null-b"
    ((name, reason),) = [(s["variant"], s["reason"]) for s in summary["skipped"]]
    assert name == "null-a"
    degraded = [r.pipelines["belt"] for r in listener.messages("reported", Reported) if r.pipelines][1]
    assert (degraded.state, degraded.variant) == ("DEGRADED", "null-b")
    assert degraded.reason == f"null-a was skipped: {reason}"
    events = listener.messages("events", Event)
    faults = [e.data for e in events if e.kind == "fault"]
    assert faults == [{"part": "variant", "state": "skipped", "variant": "null-a", "reason": reason}]
    assert {e.frame: e.data["label"] for e in events if e.kind == "decision"} == wanted


def test_if_no_variant_reproduces_it_ends_with_21_and_says_why(tmp_path: Path, listener: Listener) -> None:
    null_bundle.write(tmp_path / "sorter.orb", wrong=["null-a", "null-b"])
    null_bundle.write_images(tmp_path / "images", 5)
    with AgentProcess(tmp_path, agents.document(tmp_path, url(listener))) as agent:
        assert agent.wait() == 21
    assert "outrider: error: No variant of sorter 1.2.0 can be run here (null-a: differs" in agent.log
    assert "Traceback" not in agent.log
    eventually(lambda: len(listener.messages("state", State)) == 2)
    assert "No variant of sorter" in listener.messages("state", State)[-1].reason
    assert "No variant of sorter" in listener.messages("reported", Reported)[-1].error
    summary = agent.summary
    assert (summary["exit"], summary["frames"], summary["variant"]) == (21, 0, "")
    assert [one["variant"] for one in summary["skipped"]] == ["null-a", "null-b"]
    events = listener.messages("events", Event)
    assert [e.seq for e in events] == list(range(summary["events"]))
    assert {"part": "agent", "state": "failed", "exit": 21}.items() <= events[-1].data.items()


@pytest.mark.parametrize(
    ("spoil", "code", "said"),
    [
        (lambda folder: (folder / "sorter.orb").write_bytes(b"no bundle"), 10, "sorter.orb"),
        (lambda folder: (folder / "sorter.orb").unlink(), 10, "sorter.orb"),
        (lambda folder: null_bundle.write(folder / "sorter.orb", app="pressing"), 12, "for the app"),
        (lambda folder: (folder / "images" / "00000.png").unlink(), 2, "finds no images"),
        (lambda folder: (folder / "images" / "00000.png").write_bytes(b"x"), 1, "None of the images"),
    ],
)
def test_what_cannot_start_ends_with_its_code_and_one_message(
    tmp_path: Path, spoil: object, code: int, said: str
) -> None:
    assert callable(spoil)
    null_bundle.write(tmp_path / "sorter.orb")
    null_bundle.write_images(tmp_path / "images", 1)
    spoil(tmp_path)
    with AgentProcess(tmp_path, agents.document(tmp_path, None)) as agent:
        assert agent.wait() == code
    assert said in agent.log.splitlines()[-1]
    assert "Traceback" not in agent.log
    assert agent.summary["exit"] == code


def test_two_pipelines_run_side_by_side(tmp_path: Path, listener: Listener) -> None:
    null_bundle.write(tmp_path / "sorter.orb")
    wanted = null_bundle.write_images(tmp_path / "images", 30)
    written = agents.document(tmp_path, url(listener))
    (belt,) = written["pipelines"]
    press = {**belt, "id": "press", "policy": {"kind": "rules", "rules": [{"label": "bag"}]}}
    with AgentProcess(tmp_path, {**written, "pipelines": [belt, press]}) as agent:
        assert agent.wait() == 0, agent.log
    eventually(lambda: len(listener.messages("state", State)) == 2)
    events = listener.messages("events", Event)
    assert sorted(e.seq for e in events) == list(range(agent.summary["events"]))
    for pipeline, labels in (("belt", set(wanted.values())), ("press", {"bag"})):
        decided = {e.frame: e.data["label"] for e in events if e.pipeline == pipeline and e.frame}
        assert decided == {frame: label for frame, label in wanted.items() if label in labels}
    assert agent.summary["frames"] == 60


def test_systemd_is_told_and_the_watchdog_is_fed_while_there_is_no_input(tmp_path: Path) -> None:
    null_bundle.write(tmp_path / "sorter.orb")
    null_bundle.write_images(tmp_path / "images", 2)
    source = {"kind": "images", "path": str(tmp_path / "images"), "fps": 0.01}
    written = agents.document(tmp_path, None, {"source": source, "idle_s": 0.2, "stale_s": 0.5})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"}
        with AgentProcess(tmp_path, written, env) as agent:
            heard: list[str] = []
            while sum("WATCHDOG=1" in text for text in heard) < 5:
                heard.append(systemd.recv(10_000).decode())
            agent.send(signal.SIGINT)
            assert agent.wait() == 0, agent.log
            systemd.settimeout(1)
            while not heard[-1].startswith("STOPPING=1"):
                heard.append(systemd.recv(10_000).decode())
    assert any(text.startswith("EXTEND_TIMEOUT_USEC=") for text in heard)
    ready = next(text for text in heard if text.startswith("READY=1"))
    assert ready == "READY=1\nSTATUS=belt: RUNNING null-a on null; no link"
    assert any("STATUS=belt: DEGRADED" in text for text in heard)  # perception is stale, and it says so
    assert heard[-1] == "STOPPING=1\nSTATUS=SIGINT"
    assert agent.summary["no_input"] > 1


WATCHDOG_S = 0.4


def fed(systemd: socket.socket, within_s: float) -> bool:
    """Whether the watchdog was fed within that time."""
    end_s = time.monotonic() + within_s
    while (left_s := end_s - time.monotonic()) > 0:
        systemd.settimeout(left_s)
        try:
            if systemd.recv(10_000) == b"WATCHDOG=1":
                return True
        except TimeoutError:
            return False
    return False


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A systemd that waits for a sign of life."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", str(int(1e6 * WATCHDOG_S)))
        yield systemd


def test_a_loop_that_hangs_does_not_feed_the_watchdog(
    tmp_path: Path, watched: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty_runtime.use(monkeypatch, tmp_path / "plugins")
    trigger = tmp_path / "trigger"
    running.faulty_bundle(tmp_path, [trigger])
    null_bundle.write_images(tmp_path / "images", 2)
    source = {"kind": "images", "path": str(tmp_path / "images"), "fps": 50.0, "loop": True}
    changed = {"source": source, "engine": {"isolation": "inline", "deadline_ms": 100.0}, "idle_s": 0.1}
    with AgentProcess(tmp_path, agents.document(tmp_path, None, changed)):
        while not watched.recv(10_000).startswith(b"READY=1"):
            pass
        assert fed(watched, 20.0)
        faulty_runtime.tell(trigger, "hang")
        end_s = time.monotonic() + 20.0
        while fed(watched, 3 * WATCHDOG_S):
            assert time.monotonic() < end_s


def test_loops_that_idle_longer_than_its_period_feed_the_watchdog(
    tmp_path: Path, watched: socket.socket
) -> None:
    null_bundle.write(tmp_path / "sorter.orb")
    null_bundle.write_images(tmp_path / "images", 2)
    source = {"kind": "images", "path": str(tmp_path / "images"), "fps": 0.01}
    written = agents.document(tmp_path, None, {"source": source, "idle_s": 30.0, "stale_s": 60.0})
    first = written["pipelines"][0]
    written["pipelines"] = [first, {**first, "id": "second", "idle_s": 0.3}]
    with AgentProcess(tmp_path, written):
        while not watched.recv(10_000).startswith(b"READY=1"):
            pass
        time.sleep(0.6)  # the first frames are through; from here on the first loop does not turn
        for _ in range(10):
            assert fed(watched, 5.0)


def test_two_agents_do_not_share_a_state_directory(tmp_path: Path) -> None:
    null_bundle.write(tmp_path / "sorter.orb")
    null_bundle.write_images(tmp_path / "images", 2)
    source = {"kind": "images", "path": str(tmp_path / "images"), "fps": 0.01}
    written = agents.document(tmp_path, None, {"source": source})
    (tmp_path / "second").mkdir()
    with AgentProcess(tmp_path, written) as first:
        eventually(lambda: "reproduces" in first.log)
        with AgentProcess(tmp_path / "second", written) as second:
            assert second.wait() == 1
        assert "Another agent runs" in second.log
        first.send(signal.SIGTERM)
        assert first.wait() == 0


def test_the_daemon_imports_neither_tables_nor_training(tmp_path: Path) -> None:
    null_bundle.write(tmp_path / "sorter.orb")
    null_bundle.write_images(tmp_path / "images", 2)
    env = {"PYTHONVERBOSE": "1"}
    with AgentProcess(tmp_path, agents.document(tmp_path, None), env) as agent:
        assert agent.wait() == 0
    imported = {line.split("'")[1] for line in agent.log.splitlines() if line.startswith("import '")}
    assert "outrider_agent.loop" in imported
    heavy = {"asyncio", "click", "onnx", "onnxruntime", "rich", "torch", "typer"}
    others = {"outrider_converter", "outrider_fleet"}
    assert not {name.partition(".")[0] for name in imported} & (heavy | others)
