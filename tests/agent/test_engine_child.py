"""The engine child at work: what it does when the model dies, hangs or is late."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from outrider_agent.engine import spawn
from outrider_agent.engine.child import ChildEngine
from outrider_agent.engine.seam import GoneError
from outrider_bundle.errors import EngineError
from tests.fakes import faulty_runtime, plans
from tests.fakes.children import PATIENCE_S, Start, answer, engines, eventually, living
from tests.fakes.faulty_runtime import CHATTER, EXIT, WORDS, tell

LATE_S, HANG_S = 0.05, 0.3
HANGS = ("hang", "hang-gil", "hang-python", "stopped")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder for plans of the faulty runtime, which is installed; `trigger` is in it."""
    faulty_runtime.use(monkeypatch, tmp_path / "site")
    return tmp_path / "faulty"


@pytest.fixture
def start() -> Iterator[Start]:
    with engines() as started:
        yield started


@pytest.fixture
def engine(folder: Path, start: Start) -> ChildEngine:
    """Return an engine that has answered."""
    made = start(plans.faulty(folder, hang_s=HANG_S))
    assert answer(made, 0) is not None
    return made


def test_an_idle_child_that_is_killed_is_noticed_with_the_next_frame(engine: ChildEngine) -> None:
    os.kill(engine.pid, signal.SIGKILL)
    assert eventually(lambda: not living(engine.pid))
    engine.slot()
    begun_s = time.monotonic()
    with pytest.raises(GoneError, match="was killed by SIGKILL"):
        engine.submit(1)
    assert time.monotonic() - begun_s < 1.0


@pytest.mark.parametrize(
    ("fault", "how"),
    [
        ("segfault", r"The engine was killed by SIGSEGV"),
        ("abort", r"The engine was killed by SIGABRT"),
        ("kill", r"The engine was killed by SIGKILL \(out of memory\?\)"),
        ("exit", rf"The engine exited with code {EXIT}"),
        ("talk", rf"The engine was killed by SIGABRT: {WORDS}"),
    ],
)
def test_a_child_that_dies_in_a_run_is_noticed_at_once_and_can_be_replaced(
    engine: ChildEngine, folder: Path, start: Start, fault: str, how: str
) -> None:
    tell(folder / "trigger", fault)
    begun_s = time.monotonic()
    with pytest.raises(GoneError, match=how + r"\Z"):
        answer(engine, 1)
    assert time.monotonic() - begun_s < 1.0
    for call in (engine.slot, lambda: engine.submit(2)):
        with pytest.raises(GoneError, match=how):
            call()
    engine.close()
    tell(folder / "trigger", "")
    found = answer(start(plans.faulty(folder)), 3)
    assert found is not None
    assert found.seq == 3


def test_a_child_that_is_killed_in_a_run_is_noticed_at_once(engine: ChildEngine, folder: Path) -> None:
    tell(folder / "trigger", "hang")
    killer = threading.Timer(0.1, os.kill, (engine.pid, signal.SIGKILL))
    killer.start()
    begun_s = time.monotonic()
    with pytest.raises(GoneError, match="SIGKILL"):
        answer(engine, 1)
    killer.join()
    assert time.monotonic() - begun_s < 1.0


def hang(engine: ChildEngine, folder: Path, how: str) -> None:
    """Have a run outstanding that does not end."""
    if how == "stopped":
        os.kill(engine.pid, signal.SIGSTOP)
    else:
        tell(folder / "trigger", how)
    begun_s = time.monotonic()
    assert answer(engine, 1, LATE_S) is None
    assert LATE_S <= time.monotonic() - begun_s < LATE_S + 0.5


@pytest.mark.parametrize("how", HANGS)
def test_a_hanging_child_is_killed_when_its_oldest_run_is_overdue(
    engine: ChildEngine, folder: Path, how: str
) -> None:
    begun_s = time.monotonic()
    hang(engine, folder, how)
    assert answer(engine, 2, LATE_S) is None  # in the other slot
    with pytest.raises(GoneError, match=r"The engine hangs: a run has not ended after 0\.\d+ s"):
        engine.slot()  # waits: both are in use
    assert LATE_S + HANG_S <= time.monotonic() - begun_s < LATE_S + HANG_S + 1.0
    with pytest.raises(GoneError, match="hangs"):
        engine.submit(3)
    engine.close()
    assert not living(engine.pid)
    assert not engine.abandoned


def test_a_hang_is_found_though_a_slot_is_free_or_a_run_is_awaited(
    engine: ChildEngine, folder: Path, start: Start
) -> None:
    hang(engine, folder, "hang")
    time.sleep(HANG_S)
    with pytest.raises(GoneError, match="hangs"):
        engine.slot()
    tell(folder / "trigger", "")
    other = start(plans.faulty(folder, hang_s=HANG_S))
    hang(other, folder, "hang")
    begun_s = time.monotonic()
    with pytest.raises(GoneError, match="hangs"):
        answer(other, 2)
    assert time.monotonic() - begun_s < HANG_S + 1.0


def test_runs_that_were_given_up_are_dropped_and_free_their_slots(folder: Path, start: Start) -> None:
    engine = start(plans.faulty(folder, given={"slow_s": 0.2}, hang_s=PATIENCE_S))
    expected = {seq: found.outputs[0].argmax() for seq in range(3) if (found := answer(engine, seq))}
    tell(folder / "trigger", "slow")
    first = id(engine.slot()[0])
    assert answer(engine, 0, 0.02) is None
    assert id(engine.slot()[0]) != first
    assert answer(engine, 1, 0.02) is None
    begun_s = time.monotonic()
    assert id(engine.slot()[0]) == first  # it waited for the older run
    assert time.monotonic() - begun_s < 1.0
    tell(folder / "trigger", "")
    for seq in (2, 0, 1):
        found = answer(engine, seq)
        assert found is not None
        assert (found.seq, found.outputs[0].argmax()) == (seq, expected[seq])


def test_a_slot_in_use_is_not_submitted_again(engine: ChildEngine, folder: Path) -> None:
    tell(folder / "trigger", "slow")
    engine.slot()
    engine.submit(1)
    with pytest.raises(EngineError, match="in use"):
        engine.submit(2)
    found = engine.collect(PATIENCE_S)
    assert found is not None
    assert found.seq == 1


def test_a_polled_run_that_is_given_up_counts_as_hung_in_the_end(engine: ChildEngine, folder: Path) -> None:
    tell(folder / "trigger", "hang")
    engine.slot()
    engine.submit(1)
    begun_s = time.monotonic()
    assert engine.collect(0.0) is None
    engine.slot()
    assert engine.collect(PATIENCE_S) is None  # given up
    assert time.monotonic() - begun_s < HANG_S
    engine.submit(2)
    with pytest.raises(GoneError, match="hangs"):
        engine.collect(PATIENCE_S)
    assert time.monotonic() - begun_s < HANG_S + 1.0


def test_closing_ends_a_wait_in_another_thread(engine: ChildEngine, folder: Path) -> None:
    tell(folder / "trigger", "hang")
    engine.slot()
    engine.submit(1)
    closer = threading.Timer(0.1, engine.close)
    closer.start()
    begun_s = time.monotonic()
    with pytest.raises(GoneError, match="closed"):
        engine.collect(PATIENCE_S)
    assert time.monotonic() - begun_s < 1.0
    closer.join()
    assert not living(engine.pid)
    with pytest.raises(GoneError, match="closed"):
        engine.slot()


def test_a_child_that_cannot_be_killed_is_abandoned_and_named(
    engine: ChildEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spawn.Process, "kill", lambda _self: None)  # as a driver that never returns
    monkeypatch.setattr(spawn, "CLOSE_S", 0.05)
    monkeypatch.setattr(spawn, "KILL_S", 0.05)
    os.kill(engine.pid, signal.SIGSTOP)
    engine.close()
    engine.close()
    assert engine.abandoned
    assert spawn.abandoned() == (engine.pid,)
    os.kill(engine.pid, signal.SIGKILL)
    assert eventually(lambda: spawn.abandoned() == ())


def test_what_a_child_says_takes_bounded_memory(folder: Path, start: Start) -> None:
    plan = plans.faulty(folder)
    tell(folder / "trigger", "load-chatter")
    engine = start(plan)
    said = Path(f"/proc/{engine.pid}/fd/2")
    for fault, length in (("", 0), *[("chatter", len(CHATTER))] * 3):
        tell(folder / "trigger", fault)
        assert answer(engine, 1) is not None
        assert said.stat().st_size == length
    tell(folder / "trigger", "talk")
    with pytest.raises(GoneError, match=WORDS):
        answer(engine, 2)
