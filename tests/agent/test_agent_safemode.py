"""Crashes in a row: counted before anything is loaded, and the agent without its loop that follows."""

import argparse
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from outrider_agent import config, daemon
from outrider_agent.config import Config
from outrider_agent.control import text
from outrider_agent.control.client import ask
from outrider_agent.crash import CrashError
from outrider_agent.events import AGENT
from outrider_agent.notify import Notifier
from outrider_agent.parts import Part
from outrider_agent.safemode import command, resting
from outrider_agent.safemode.crashes import NAME, Crashes, fingerprint
from outrider_agent.seams import Context
from outrider_bundle.errors import OutriderError
from outrider_bundle.messages.event import Event
from outrider_bundle.messages.reported import Reported
from tests.fakes import agents, null_bundle, running
from tests.fakes.agents import AgentProcess
from tests.fakes.broker import Broker, Listener
from tests.fakes.running import Noted

PATIENCE_S = 30.0


def crash(folder: Path, times: int, ran: str = "it") -> None:
    for _ in range(times):
        crashes = Crashes(folder, 3)
        crashes.see(ran)
        crashes.begin()


def test_crashes_in_a_row_are_too_many_at_the_fourth_start(tmp_path: Path) -> None:
    for times in range(3):
        assert Crashes(tmp_path, 3).reason == ""
        crash(tmp_path, 1)
        assert json.loads((tmp_path / NAME).read_text())["count"] == times + 1
    assert Crashes(tmp_path, 3).reason == "3 starts in a row ended in a crash"
    assert Crashes(tmp_path, 4).reason == ""
    assert Crashes(tmp_path, 0).reason == ""


def test_a_good_end_or_time_makes_them_forgotten(tmp_path: Path) -> None:
    crash(tmp_path, 3)
    Crashes(tmp_path, 3).forget()
    assert Crashes(tmp_path, 3).reason == ""
    assert json.loads((tmp_path / NAME).read_text())["count"] == 0


def test_a_fault_in_good_order_is_neither_a_crash_nor_a_good_end(tmp_path: Path) -> None:
    crash(tmp_path, 2)
    crashes = Crashes(tmp_path, 3)
    crashes.see("it")
    crashes.begin()
    crashes.excuse()
    assert json.loads((tmp_path / NAME).read_text())["count"] == 2


def test_what_was_forgotten_does_not_come_back_with_a_later_fault(tmp_path: Path) -> None:
    crash(tmp_path, 2)
    crashes = Crashes(tmp_path, 3)
    crashes.see("it")
    crashes.begin()
    crashes.forget()  # it has run well for a while
    crashes.excuse()
    assert json.loads((tmp_path / NAME).read_text())["count"] == 0


def test_something_else_to_run_begins_anew(tmp_path: Path) -> None:
    crash(tmp_path, 3)
    crashes = Crashes(tmp_path, 3)
    crashes.see("it")
    assert crashes.reason
    crashes.see("another")
    assert not crashes.reason


@pytest.mark.parametrize("content", [b"", b"{", b'{"count": "many"}', b"\xff\xfe"])
def test_a_file_that_cannot_be_read_counts_as_none(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / NAME).write_bytes(content)
    assert Crashes(tmp_path, 3).reason == ""
    assert "counts as no crash" in caplog.text


def test_a_disk_that_refuses_keeps_nothing_from_running(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    crashes = Crashes(tmp_path / "not" / "there", 3)
    crashes.begin()
    assert "Crashes cannot be counted" in caplog.text


def test_the_fingerprint_changes_with_the_file_and_the_bundles(bench: "Bench") -> None:
    first = fingerprint(bench.config, bench.path)
    assert fingerprint(bench.config, bench.path) == first
    null_bundle.write(bench.folder / "sorter.orb", version="9.0.0")
    second = fingerprint(bench.config, bench.path)
    bench.path.write_text(bench.path.read_text() + "\n# another\n")
    third = fingerprint(bench.config, bench.path)
    (bench.folder / "sorter.orb").unlink()
    assert len({first, second, third, fingerprint(bench.config, bench.path)}) == 4


class Bench:
    """A device whose agent has crashed three times."""

    def __init__(self, folder: Path, broker: Broker, listener: Listener) -> None:
        self.folder, self.listener, self.url = folder, listener, broker.url
        self.output = Noted()
        null_bundle.write(folder / "sorter.orb")
        null_bundle.write_images(folder / "images", 5)
        source = {"kind": "images", "path": str(folder / "images"), "fps": 50.0, "loop": True}
        engine = {"isolation": "inline", "deadline_ms": 5000.0}
        self.written = agents.document(folder, broker.url, {"source": source, "engine": engine})
        self.path = agents.write(folder / "agent.toml", self.written)
        self.state_dir = folder / "state"
        self.state_dir.mkdir()
        crash(self.state_dir, 3, fingerprint(self.config, self.path))

    @property
    def config(self) -> Config:
        return running.with_parts(config.read(self.path), actions={"output": self.output})

    def heard(self, state: str) -> list[Event]:
        events = self.listener.messages("events", Event)
        return [e for e in events if e.pipeline == AGENT and e.data.get("state") == state]

    def until(self, true: Callable[[], object]) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not true():
            assert time.monotonic() < end_s
            time.sleep(0.01)

    def status(self) -> dict[str, Any]:
        return ask(self.state_dir, {"command": "status"})

    def run(self, scenario: Callable[[], None], *, resume: bool = False) -> int:
        """Run the agent until `scenario` has ended; return its exit code."""
        failed: list[BaseException] = []

        def work() -> None:
            try:
                scenario()
            except BaseException as error:  # noqa: BLE001 - told below
                failed.append(error)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        code = daemon.run(self.config, None, self.path, resume=resume)
        thread.join(PATIENCE_S)
        if failed:
            raise failed[0]
        return code


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Broker(tmp_path / "broker") as broker, Listener(broker.port) as listener:
        yield Bench(tmp_path, broker, listener)


def test_safe_mode_is_told_and_left_by_hand(bench: Bench) -> None:
    shown: list[str] = []

    def scenario() -> None:
        bench.until(lambda: bench.heard("SAFE_MODE"))
        status = bench.status()
        assert (status["phase"], status["pipelines"]) == ("SAFE_MODE", {})
        assert "3 starts in a row" in status["reason"]
        shown.append(text.status(status))
        reported = bench.listener.messages("reported", Reported)[-1]
        assert (reported.phase, reported.pipelines) == ("SAFE_MODE", {})
        assert "3 starts in a row" in reported.error
        assert bench.output.notes[-1][0] == "safe"
        for refused in ("swap", "snapshot", "record", "reload"):
            with pytest.raises(OutriderError, match="in safe mode"):
                ask(bench.state_dir, {"command": refused})
        assert command.run(argparse.Namespace(config=bench.path)) == 0
        bench.until(lambda: bench.heard("RUNNING"))
        bench.until(lambda: any(e.kind == "decision" for e in bench.listener.messages("events", Event)))
        runs = {e.run for e in bench.listener.messages("events", Event)}
        assert len(runs) == 2

    assert bench.run(scenario) == 0
    assert "SAFE MODE: the loop does not run; 'outrider agent resume' lets it" in shown[0]
    assert json.loads((bench.state_dir / NAME).read_text())["count"] == 0


def test_safe_mode_is_left_by_a_good_configuration_only(bench: Bench) -> None:
    def scenario() -> None:
        bench.until(lambda: bench.heard("SAFE_MODE"))
        agents.write(bench.path, {**bench.written, "surprise": {}})
        os.kill(os.getpid(), signal.SIGHUP)
        bench.until(lambda: bench.heard("refused"))
        elsewhere = {**bench.written["device"], "state_dir": str(bench.folder / "other")}
        agents.write(bench.path, {**bench.written, "device": elsewhere})
        os.kill(os.getpid(), signal.SIGHUP)
        bench.until(lambda: len(bench.heard("refused")) == 2)
        assert bench.status()["phase"] == "SAFE_MODE"
        agents.write(bench.path, bench.written)
        os.kill(os.getpid(), signal.SIGHUP)
        bench.until(lambda: bench.heard("RUNNING"))

    assert bench.run(scenario) == 0


def test_it_can_be_ended_and_is_still_there(bench: Bench) -> None:
    assert bench.run(lambda: bench.until(lambda: bench.heard("SAFE_MODE"))) == 0
    assert Crashes(bench.state_dir, 3).reason
    assert not bench.heard("RUNNING")


def test_another_bundle_or_the_command_line_start_the_loop(bench: Bench) -> None:
    null_bundle.write(bench.folder / "sorter.orb", version="9.0.0")
    assert bench.run(lambda: bench.until(lambda: bench.heard("RUNNING"))) == 0
    crash(bench.state_dir, 3, fingerprint(bench.config, bench.path))
    assert bench.run(lambda: bench.until(lambda: len(bench.heard("RUNNING")) == 2), resume=True) == 0
    assert not bench.heard("SAFE_MODE")


def test_without_an_agent_crashes_are_forgotten(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(argparse.Namespace(config=bench.path)) == 0
    assert "the next start is one with a loop" in capsys.readouterr().out
    assert not Crashes(bench.state_dir, 3).reason


class Broken(Noted):
    """A policy-like action that nobody foresaw; its source raises in the agent itself."""

    def frames(self, _wait_s: float) -> Iterator[None]:
        raise OutriderError("the camera is gone")


def test_only_what_nobody_foresaw_counts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    Crashes(bench.state_dir, 3).forget()

    def gone(_options: object, _context: Context) -> Broken:
        return Broken()

    source = Part(kind="gone", plugin=gone, options=running.NoOptions())
    settings = running.with_parts(config.read(bench.path), source)
    with pytest.raises(OutriderError, match="the camera is gone"):
        daemon.run(settings, None, bench.path)
    assert json.loads((bench.state_dir / NAME).read_text())["count"] == 0
    monkeypatch.setattr("outrider_agent.supervisor.Agent.tick", lambda _: 1 // 0)
    with pytest.raises(CrashError, match="ZeroDivisionError"):
        daemon.run(bench.config, None, bench.path)
    assert json.loads((bench.state_dir / NAME).read_text())["count"] == 1


def test_the_watchdog_is_fed_while_models_are_loaded_behind_safe_mode() -> None:
    fed = threading.Event()

    class Fake(Notifier):
        def alive(self) -> None:
            fed.set()

    loaded = resting.feeding(Fake({"WATCHDOG_USEC": "200000"}), 60.0)
    assert fed.wait(PATIENCE_S)
    loaded()
    resting.feeding(Notifier({}), 60.0)()


def test_an_agent_that_is_killed_three_times_comes_back_without_its_loop(bench: Bench) -> None:
    Crashes(bench.state_dir, 3).forget()
    for times in range(3):
        with AgentProcess(bench.folder, bench.written) as agent:
            bench.until(lambda times=times: len(bench.heard("RUNNING")) > times)
            agent.send(signal.SIGKILL)
            agent.wait()
    with AgentProcess(bench.folder, bench.written) as agent:
        bench.until(lambda: bench.heard("SAFE_MODE"))
        assert len(bench.heard("RUNNING")) == 3
        agent.send(signal.SIGTERM)
        assert agent.wait() == 0
        assert "Safe mode, the loop does not run: 3 starts in a row ended in a crash" in agent.log
