"""The model's process fails in every way: the loop decides again, and what was said meanwhile is true."""

import os
import resource
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import faulty_runtime, running
from tests.fakes.children import eventually, living
from tests.fakes.faulty_runtime import tell
from tests.fakes.running import BELT

ENDS = {
    "hang": ("The engine hangs",),
    "hang-gil": ("The engine hangs",),
    "segfault": ("SIGSEGV",),
    "abort": ("SIGABRT",),
    # What the kernel does to a process when memory is out; the test itself stands in for it.
    "kill": ("SIGKILL", "out of memory"),
    "exit": (f"exited with code {faulty_runtime.EXIT}",),
    "talk": (faulty_runtime.WORDS, "SIGABRT"),
}
FAILS = {"raise": "the driver says no", "refuse": "The delegate gave up", "nan": "NaN or infinity"}


@pytest.fixture
def trigger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle with one variant `a`; returns the file that makes it fail."""
    faulty_runtime.use(monkeypatch, tmp_path / "plugins")
    running.faulty_bundle(tmp_path, [tmp_path / "trigger"], allocate_mb=64)
    return tmp_path / "trigger"


def is_true_of_a(status: dict[str, Any]) -> None:
    """Assert that it says what runs, or ran last, and where; the reported state said the same."""
    assert (status["variant"], status["runtime"], status["isolation"]) == ("a", "faulty", "child")
    assert (status["placement"]["backend"], status["placement"]["nodes"]) == ("CPU", {"CPU": 2})


@pytest.mark.parametrize("fault", ENDS)
def test_an_engine_that_ends_or_hangs_is_replaced(tmp_path: Path, trigger: Path, fault: str) -> None:
    with running.running(tmp_path) as line:
        first = line.status
        assert (first["state"], first["reason"], first["restarts"]) == ("RUNNING", "", 0)
        tell(trigger, fault)
        is_true_of_a(line.says("DEGRADED"))
        # Meanwhile a replacement may be proving itself and fail in the same way; that is mended as well.
        tell(trigger, "")
        last = line.recovers()
        is_true_of_a(last)
        assert last["restarts"] >= 1
        assert last["pid"] != first["pid"]
        assert eventually(lambda: not living(first["pid"]))
        line.until(lambda: line.events("fault", "model"))
        told = line.events("fault", "model")[0]
        assert told["state"] == "failed"
        assert all(word in told["reason"] for word in ENDS[fault]), told
        # The phase of the replacement may still tell of the trouble; what ended that is told by itself.
        line.until(lambda: line.events("fault", "engine")[-1]["state"] == "restored")
        assert [phase["variant"] for phase in line.events("phase") if "variant" in phase][-1] == "a"
        line.until(lambda: line.telemetry is not None and line.telemetry.restarts == last["restarts"])
        assert line.agent.error is None
        assert line.agent.running


@pytest.mark.parametrize("fault", ["segfault", "abort", "kill"])
def test_while_it_lasts_no_model_is_loaded_and_each_side_says_so(
    tmp_path: Path, trigger: Path, fault: str
) -> None:
    with running.running(tmp_path) as line:
        tell(trigger, fault)  # kept on: each replacement dies as it is proven
        is_true_of_a(line.says("DEGRADED", "no model is loaded", ENDS[fault][0]))
        tell(trigger, "")
        line.recovers()


@pytest.mark.parametrize("fault", FAILS)
def test_runs_that_fail_are_passed_over_and_told(tmp_path: Path, trigger: Path, fault: str) -> None:
    with running.running(tmp_path, {"failures": 1000}) as line:
        first = line.status
        tell(trigger, fault)
        is_true_of_a(line.says("DEGRADED", "engine: ", FAILS[fault]))
        errors = line.status["errors"]
        line.until(lambda: line.status["errors"] > errors)
        decisions = line.agent.totals()[BELT].decisions
        errors = line.status["errors"]
        line.until(lambda: line.status["errors"] > errors + 5)
        assert line.agent.totals()[BELT].decisions == decisions  # nothing was decided on nonsense
        tell(trigger, "")
        last = line.recovers()
        assert (last["pid"], last["restarts"]) == (first["pid"], 0)
        line.until(lambda: len(line.events("fault", "engine")) == 2)
        failed, restored = line.events("fault", "engine")
        assert (failed["state"], restored["state"]) == ("failed", "restored")
        assert FAILS[fault] in failed["reason"]


@pytest.mark.parametrize("fault", ["raise", "refuse"])
def test_an_engine_that_keeps_failing_is_replaced(tmp_path: Path, trigger: Path, fault: str) -> None:
    with running.running(tmp_path) as line:
        first = line.status
        tell(trigger, fault)
        line.says("DEGRADED", FAILS[fault])
        line.until(lambda: line.status["restarts"] >= 1)
        tell(trigger, "")
        assert line.recovers()["pid"] != first["pid"]


def test_memory_that_is_refused_is_a_failed_run_and_no_end_of_the_agent(
    tmp_path: Path, trigger: Path
) -> None:
    with running.running(tmp_path) as line:
        first = line.status
        pages = int(Path(f"/proc/{first['pid']}/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + (16 << 20)
        resource.prlimit(first["pid"], resource.RLIMIT_AS, (limit, limit))
        tell(trigger, "allocate")
        line.says("DEGRADED", "MemoryError")
        tell(trigger, "")
        line.recovers()


def test_a_model_of_another_shape_than_its_manifest_is_not_taken(tmp_path: Path, trigger: Path) -> None:
    with running.running(tmp_path) as line:
        tell(trigger, "load-shape")  # found when the file is loaded the next time
        os.kill(line.status["pid"], signal.SIGKILL)
        is_true_of_a(line.says("DEGRADED", "no model is loaded", "The output of the file is"))
        tell(trigger, "")
        line.recovers()


def test_a_model_of_another_shape_gives_way_to_the_next_at_the_start(tmp_path: Path, trigger: Path) -> None:
    running.faulty_bundle(tmp_path, [trigger, tmp_path / "other"])
    tell(trigger, "load-shape")
    with running.running(tmp_path, {"retry_s": 60.0, "retry_max_s": 60.0}) as line:
        line.says("DEGRADED", "a was skipped: The output of the file is", variant="b")
        line.until(lambda: line.events("fault", "variant"))
        assert line.events("fault", "variant")[0]["variant"] == "a"
        line.decides()
