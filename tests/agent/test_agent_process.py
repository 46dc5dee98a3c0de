"""The agent as a citizen of its system: systemd, journal, signals, one instance."""

import logging
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from outrider_agent import lock, logs
from outrider_agent.notify import Notifier
from outrider_agent.signals import Signals
from outrider_agent.telemetry.process import CpuClock, rss_mb
from outrider_bundle.errors import OutriderError, UsageError
from outrider_bundle.manifest import Requirements
from outrider_runtime.requirements import isa, lacking


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_systemd_hears_what_it_is_told(tmp_path: Path, kind: str) -> None:
    address = str(tmp_path / "notify") if kind == "path" else f"@outrider-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.settimeout(5)
        systemd.bind(address.replace("@", "\0", 1))
        notifier = Notifier({"NOTIFY_SOCKET": address})
        notifier.ready("running")
        notifier.alive()
        notifier.extend(1.5)
        notifier.stopping("SIGTERM")
        heard = [systemd.recv(1000).decode() for _ in range(4)]
    assert heard == [
        "READY=1\nSTATUS=running",
        "WATCHDOG=1",
        "EXTEND_TIMEOUT_USEC=1500000",
        "STOPPING=1\nSTATUS=SIGTERM",
    ]


def test_without_systemd_nothing_happens(tmp_path: Path) -> None:
    assert Notifier({}).watchdog_s == 0.0
    Notifier({}).alive()
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).alive()


def test_the_watchdog_is_ours_only_if_it_names_us() -> None:
    mine = {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}
    assert Notifier(mine).watchdog_s == 3.0
    assert Notifier({"WATCHDOG_USEC": "3000000"}).watchdog_s == 3.0
    assert Notifier({**mine, "WATCHDOG_PID": "1"}).watchdog_s == 0.0


def test_lines_for_the_journal_carry_their_priority() -> None:
    formatter = logs.JournalFormatter(logs.JOURNAL)
    record = logging.LogRecord("outrider.belt", logging.WARNING, "", 0, "one\ntwo", None, None)
    assert formatter.format(record) == "<4>outrider.belt: one\n<4>two"


def test_the_journal_is_known_by_device_and_inode(tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w") as stream:
        status = os.fstat(stream.fileno())
        assert logs.in_journal(stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        assert not logs.in_journal(stream, {"JOURNAL_STREAM": f"{status.st_dev}:1"})
        assert not logs.in_journal(stream, {})


def test_a_signal_ends_the_wait_and_former_handlers_come_back() -> None:
    former = signal.getsignal(signal.SIGTERM)
    with Signals() as signals:
        threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGTERM]).start()
        begun = time.monotonic()
        signals.wait(30.0)
        assert time.monotonic() - begun < 10.0
        assert signals.received is signal.SIGTERM
        signals.wait(30.0)
    assert signal.getsignal(signal.SIGTERM) == former


def test_the_wait_is_bounded_and_can_be_ended() -> None:
    with Signals() as signals:
        signals.wait(0.01)
        signals.wake()
        begun = time.monotonic()
        signals.wait(30.0)
        assert time.monotonic() - begun < 10.0
        assert signals.received is None
    signals.wake()


def test_a_state_directory_is_for_one_agent(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    with lock.held(folder), pytest.raises(OutriderError, match="Another agent runs"), lock.held(folder):
        pass
    with lock.held(folder):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="state directory"), lock.held(tmp_path / "file"):
        pass


def test_requirements_are_held_against_the_machine(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nflags\t\t: fpu sse2 avx2\n\nprocessor\t: 1\nflags\t\t: fpu\n")
    assert isa(cpuinfo) == {"fpu", "sse2", "avx2"}
    assert lacking(Requirements(isa=("avx2",), memory_mb=1), cpuinfo) == ""
    assert lacking(Requirements(isa=("avx2", "amx")), cpuinfo) == "this processor has no amx"
    assert "of memory" in lacking(Requirements(memory_mb=1 << 20), cpuinfo)
    assert lacking(Requirements(isa=("amx",)), tmp_path / "hidden") == ""


def test_memory_and_processor_time_are_measured() -> None:
    before, clock = rss_mb(), CpuClock()
    ballast = bytearray(os.urandom(1)) * 60_000_000
    assert rss_mb() - before > 50
    end_s = time.process_time() + 0.05
    while time.process_time() < end_s:
        pass
    assert 0.05 <= clock.lap_s() < 5.0
    assert clock.lap_s() < 0.05
    assert len(ballast) == 60_000_000


def test_the_log_goes_where_it_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        logs.start("warning", sys.stderr)
        logging.getLogger("outrider.x").info("quiet")
        logging.getLogger("outrider.x").warning("loud")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    assert "WARNING outrider.x: loud" in (err := capsys.readouterr().err)
    assert "quiet" not in err
