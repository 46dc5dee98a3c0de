"""A configuration read anew by a running agent: taken as a whole, or not at all."""

import argparse
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from outrider_agent import config, daemon
from outrider_agent.control.client import ask
from outrider_agent.reload import command, difference
from outrider_agent.reload.reloader import Reloader
from outrider_agent.supervisor import Agent
from outrider_bundle.errors import OutriderError, UsageError
from outrider_bundle.messages.event import Event
from outrider_bundle.messages.reported import Reported
from tests.fakes import agents, null_bundle
from tests.fakes.broker import Broker, Listener

PATIENCE_S = 30.0
Change = Callable[[dict[str, Any]], None]


class Bench:
    """A running agent with two pipelines, whose file a test rewrites."""

    def __init__(self, folder: Path) -> None:
        null_bundle.write(folder / "sorter.orb")
        null_bundle.write_images(folder / "images", 5)
        source = {"kind": "images", "path": str(folder / "images"), "fps": 100.0, "loop": True}
        engine = {"isolation": "inline", "deadline_ms": 5000.0}
        self.written = agents.document(folder, None, {"source": source, "engine": engine, "idle_s": 0.2})
        first = self.written["pipelines"][0]
        self.written["pipelines"] = [first, {**first, "id": "second"}]
        self.path = folder / "agent.toml"
        self.write()
        self.agent = Agent(config.read(self.path), "0" * 16)
        self.reloader = Reloader(self.agent, self.path)

    def write(self, written: dict[str, Any] | None = None) -> None:
        agents.write(self.path, self.written if written is None else written)

    def frames(self) -> dict[str, int]:
        return {name: totals.frames for name, totals in self.agent.totals().items()}

    def works(self) -> None:
        before, end_s = self.frames(), time.monotonic() + PATIENCE_S
        while any(now <= before.get(name, 0) for name, now in self.frames().items()):
            assert time.monotonic() < end_s, self.agent.describe()
            time.sleep(0.01)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    made.agent.start()
    try:
        made.works()
        yield made
    finally:
        made.agent.stop("the test is over")


def test_a_file_that_is_as_it_was_changes_nothing(bench: Bench) -> None:
    before = list(bench.agent.pipelines)
    done = bench.reloader.reload()
    assert done.kept == ("belt", "second")
    assert done.changed == done.added == done.removed == done.restart == ()
    assert bench.agent.pipelines == before
    bench.works()


def test_only_what_has_changed_is_built_anew(bench: Bench) -> None:
    first, second = bench.agent.pipelines
    decided = bench.frames()["belt"]
    bench.written["pipelines"][1]["policy"] = {"kind": "rules", "rules": [{"label": "bag"}]}
    bench.write()
    done = bench.reloader.reload()
    assert (done.kept, done.changed) == (("belt",), ("second",))
    assert bench.agent.pipelines[0] is first
    assert bench.agent.pipelines[1] is not second
    assert second.finished
    assert bench.frames()["belt"] >= decided
    bench.works()


def test_pipelines_come_and_go(bench: Bench) -> None:
    source = {**bench.written["pipelines"][0]["source"], "id": "eye"}
    bench.written["sources"] = [source]
    shared = {**bench.written["pipelines"][0], "source": "eye"}
    bench.written["pipelines"] = [{**shared, "id": name} for name in ("belt", "third", "fourth")]
    bench.write()
    done = bench.reloader.reload()
    assert (done.changed, done.added, done.removed) == (("belt",), ("third", "fourth"), ("second",))
    bench.works()
    kept = bench.agent.pipelines[0]
    bench.written["pipelines"][1]["idle_s"] = 0.3
    bench.write()
    assert bench.reloader.reload().changed == ("third",)
    assert bench.agent.pipelines[0] is kept
    bench.works()


def test_another_bundle_at_the_same_path_is_a_change(bench: Bench, tmp_path: Path) -> None:
    null_bundle.write(tmp_path / "sorter.orb", version="9.0.0")
    assert bench.reloader.reload().changed == ("belt", "second")
    assert bench.agent.pipelines[0].report().version == "9.0.0"
    bench.works()


def test_actions_that_are_as_they_were_are_taken_over(bench: Bench) -> None:
    before = bench.agent.pipelines[0].actions_like(bench.agent.config.pipelines[0].actions)
    bench.written["pipelines"][0]["idle_s"] = 0.3
    bench.write()
    assert bench.reloader.reload().changed == ("belt",)
    after = bench.agent.pipelines[0].actions_like(bench.agent.config.pipelines[0].actions)
    assert list(after.values()) == list(before.values())
    bench.works()


def test_what_needs_a_restart_is_named_and_left(bench: Bench) -> None:
    bench.written["device"]["id"] = "other"
    bench.written["link"] = {"url": "mqtt://nowhere"}
    bench.write()
    assert bench.reloader.reload().restart == ("device.id", "link")
    assert bench.agent.config.device.id == agents.DEVICE
    assert bench.agent.link is None
    assert "needs a restart: device.id, link" in bench.agent.status()
    bench.written["pipelines"][0]["actions"] = [{"kind": "mqtt"}]
    bench.write()
    with pytest.raises(UsageError, match="which there is after a restart only"):
        bench.reloader.reload()


def broken_bundle(written: dict[str, Any]) -> None:
    path = Path(written["pipelines"][0]["bundle"]).with_name("broken.orb")
    path.write_bytes(b"no bundle")
    written["pipelines"][0]["bundle"] = str(path)


def unproven_bundle(written: dict[str, Any]) -> None:
    path = Path(written["pipelines"][0]["bundle"]).with_name("wrong.orb")
    null_bundle.write(path, wrong=("null-a", "null-b"), version="6.6.6")
    written["pipelines"][1]["bundle"] = str(path)


FAULTY: dict[str, Change] = {
    "an unknown key": lambda w: w["device"].update(colour="red"),
    "no pipeline": lambda w: w.update(pipelines=[]),
    "an unknown plug-in": lambda w: w["pipelines"][0].update(policy={"kind": "oracle"}),
    "two of one name": lambda w: w["pipelines"][1].update(id="belt"),
    "a wrong option": lambda w: w["pipelines"][0]["source"].update(fps=-1.0),
    "no such folder": lambda w: w["pipelines"][1].update(source={"kind": "images", "path": "/no/such"}),
    "no such bundle": lambda w: w["pipelines"][0].update(bundle="/no/such.orb"),
    "a broken bundle": broken_bundle,
    "a bundle that does not prove itself": unproven_bundle,
    "a link that lacks": lambda w: w["pipelines"][0].update(actions=[{"kind": "mqtt"}]),
    "no trust": lambda w: w.update(trust={"allow_unsigned": False}),
    "an unknown source": lambda w: w["pipelines"][0].update(source="nowhere"),
}


@pytest.mark.parametrize("what", FAULTY)
def test_with_any_fault_nothing_changes(bench: Bench, what: str) -> None:
    before, threads = list(bench.agent.pipelines), threading.active_count()
    running = bench.agent.config
    FAULTY[what](bench.written)
    bench.write()
    with pytest.raises(OutriderError):
        bench.reloader.reload()
    assert bench.agent.pipelines == before
    assert bench.agent.config is running
    assert "reload refused" in bench.agent.status()
    bench.works()
    assert threading.active_count() <= threads


def test_all_faults_are_said_at_once(bench: Bench) -> None:
    bench.written["device"]["colour"] = "red"
    bench.written["pipelines"][0]["source"]["fps"] = -1.0
    bench.written["pipelines"][1]["bundle"] = ""
    bench.write()
    with pytest.raises(UsageError, match="3 faults") as caught:
        bench.reloader.reload()
    assert "Nothing was changed" in str(caught.value)
    bench.path.write_text("no = toml = at all")
    with pytest.raises(UsageError, match="is not TOML"):
        bench.reloader.reload()


def test_without_a_file_there_is_nothing_to_reload(bench: Bench) -> None:
    with pytest.raises(UsageError, match="without a configuration file"):
        Reloader(bench.agent, None).reload()


def test_an_agent_that_stops_is_not_switched(bench: Bench) -> None:
    bench.written["pipelines"][0]["idle_s"] = 0.3
    bench.write()
    assembly = bench.agent.beside(config.read(bench.path), lambda _: None)
    bench.agent.stop("the test ends it")
    with pytest.raises(OutriderError, match="The agent stops"):
        bench.agent.switch(assembly)


def test_differences_are_named() -> None:
    device = config.Device(id="a", fleet="f", app="p", hardware="h", state_dir=Path("s"))
    running = config.Config(device=device, trust=config.Trust(), link=None, pipelines=())
    other = msgspec.structs.replace(device, id="b", state_dir=Path("t"))
    wanted = config.Config(
        device=other,
        trust=config.Trust(allow_unsigned=True),
        link=None,
        safe_mode=config.SafeMode(crashes=1),
        pipelines=(),
    )
    assert difference.restarts(running, running) == ()
    assert difference.restarts(running, wanted) == ("device.id", "device.state_dir", "safe_mode.crashes")
    assert difference.effective(running, wanted).trust.allow_unsigned
    assert difference.effective(running, wanted).device is device


def heard(listener: Listener, state: str) -> list[dict[str, Any]]:
    return [e.data for e in listener.messages("events", Event) if e.data.get("state") == state]


def running(listener: Listener) -> bool:
    reported = listener.messages("reported", Reported)
    return bool(reported) and any(one.state == "RUNNING" for one in reported[-1].pipelines.values())


def until(true: Callable[[], object]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_sighup_and_the_command_reload_the_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    null_bundle.write(tmp_path / "sorter.orb")
    null_bundle.write_images(tmp_path / "images", 5)
    source = {"kind": "images", "path": str(tmp_path / "images"), "fps": 50.0, "loop": True}
    with Broker(tmp_path / "broker") as broker, Listener(broker.port) as listener:
        changed = {"source": source, "engine": {"isolation": "inline", "deadline_ms": 5000.0}}
        written = agents.document(tmp_path, broker.url, changed)
        path = agents.write(tmp_path / "agent.toml", written)
        codes: list[int] = []
        state_dir = tmp_path / "state"

        def scenario() -> None:
            try:
                until(lambda: running(listener) and at_work(listener))
                reported = listener.messages("reported", Reported)[-1]
                agents.write(path, {**written, "surprise": {}})
                os.kill(os.getpid(), signal.SIGHUP)
                until(lambda: heard(listener, "refused"))
                assert ask(state_dir, {"command": "status"})["reason"].startswith("reload refused")
                assert listener.messages("reported", Reported)[-1] == reported
                written["pipelines"][0]["idle_s"] = 0.5
                agents.write(path, written)
                os.kill(os.getpid(), signal.SIGHUP)
                until(lambda: heard(listener, "RELOADED"))
                codes.append(command.run(argparse.Namespace(config=path, json=True)))
                written["pipelines"][0]["idle_s"] = 0.6
                agents.write(path, written)
                codes.append(command.run(argparse.Namespace(config=path, json=False)))
                with pytest.raises(UsageError, match="not in safe mode"):
                    refusal(state_dir)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)

        thread = threading.Thread(target=scenario, daemon=True)
        thread.start()
        assert daemon.run(config.read(path), None, path) == 0
        thread.join(PATIENCE_S)
    assert codes == [0, 0]
    first, second = capsys.readouterr().out.split("\n}\n")
    assert json.loads(first + "}")["kept"] == ["belt"]
    assert second.startswith("changed: belt")


def at_work(listener: Listener) -> bool:
    """Return whether the reported state says so too; it comes apart from the events."""
    told = listener.messages("reported", Reported)
    return bool(told) and told[-1].pipelines["belt"].state == "RUNNING"


def refusal(state_dir: Path) -> None:
    """Ask for `resume` and raise what the agent answers as a UsageError."""
    try:
        ask(state_dir, {"command": "resume"})
    except OutriderError as error:
        raise UsageError(str(error)) from error
