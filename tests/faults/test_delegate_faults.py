"""A real external delegate hangs, crashes or answers nonsense in its own code: the loop decides again."""

from pathlib import Path

import pytest

from tests.fakes import delegated, delegates, running
from tests.fakes.children import eventually, living
from tests.fakes.delegated import for_sorter
from tests.fakes.faulty_runtime import tell
from tests.fakes.running import Line

ENDS = {"hang": "The engine hangs", "segfault": "SIGSEGV", "abort": "SIGABRT"}
FAILS = ("error", "nan")


def is_on_the_delegate(line: Line) -> None:
    """Assert that all sides say which nodes it computes."""
    placement = line.status["placement"]
    assert placement == line.reported.placement
    assert placement["asked"] == placement["backend"] == delegates.NAME
    assert placement["nodes"][delegates.NAME] == delegates.TAKEN
    assert sum(placement["nodes"].values()) == delegates.NODES


def written(folder: Path, fault: str) -> Path:
    """Write a bundle whose delegate fails while the returned file is there."""
    trigger = folder / "trigger"
    delegated.write(folder / "sorter.orb", delegates.build(), fault=fault, trigger=trigger)
    return trigger


@pytest.mark.parametrize("fault", ENDS)
def test_a_delegate_that_ends_or_holds_its_process_is_replaced(tmp_path: Path, fault: str) -> None:
    trigger = written(tmp_path, fault)
    with running.running(tmp_path, {"share": 0.5}, change=for_sorter) as line:
        first = line.says("RUNNING", reason="")
        is_on_the_delegate(line)
        tell(trigger, fault)
        line.says("DEGRADED", variant="tflite-delegate")
        is_on_the_delegate(line)
        line.until(lambda: line.status["restarts"])  # its hang would end with the trigger
        tell(trigger, "")
        last = line.recovers()
        is_on_the_delegate(line)
        assert last["pid"] != first["pid"]
        assert eventually(lambda: not living(first["pid"]))
        told = [one["reason"] for one in line.events("fault", "model") if one["state"] == "failed"]
        assert ENDS[fault] in told[0]


@pytest.mark.parametrize("fault", FAILS)
def test_nonsense_of_a_delegate_is_not_decided_on(tmp_path: Path, fault: str) -> None:
    trigger = written(tmp_path, fault)
    with running.running(tmp_path, {"share": 0.5, "failures": 1000}, change=for_sorter) as line:
        first = line.says("RUNNING", reason="")
        tell(trigger, fault)
        line.says("DEGRADED", "engine: ")
        errors, decisions = line.status["errors"], line.agent.totals()[running.BELT].decisions
        line.until(lambda: line.status["errors"] > errors + 5)
        assert line.agent.totals()[running.BELT].decisions <= decisions + 1  # one was under way
        tell(trigger, "")
        assert line.recovers()["pid"] == first["pid"]
        is_on_the_delegate(line)
