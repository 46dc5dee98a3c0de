"""The better variant keeps failing: the next one decides, degraded, until the fault is gone."""

from pathlib import Path

import pytest

from tests.fakes import faulty_runtime, running
from tests.fakes.faulty_runtime import tell
from tests.fakes.running import Line

LONG = {"retry_s": 60.0, "retry_max_s": 60.0}
"""No better variant is tried again within a test."""


@pytest.fixture
def triggers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A bundle with the variants `a` and `b`; returns what makes each of them fail."""
    faulty_runtime.use(monkeypatch, tmp_path / "plugins")
    made = tmp_path / "trigger-a", tmp_path / "trigger-b"
    running.faulty_bundle(tmp_path, made)
    return made


def falls_to_b(line: Line, *words: str) -> None:
    """Wait until `b` decides in place of `a`, and assert that each side says so, and why."""
    status = line.says("DEGRADED", "a was skipped: ", *words, variant="b")
    line.decides()
    line.until(lambda: line.telemetry is not None and line.telemetry.variant == "b")
    line.until(lambda: line.events("phase")[-1].get("variant") == "b")
    told = line.events("phase")[-1]
    assert told["state"] == "DEGRADED"
    assert told["placement"] == status["placement"]
    assert all(word in told["reason"] for word in words)


def crashes_once(line: Line, trigger: Path) -> None:
    """Let the engine die under one frame, and wait until another is at work."""
    status = line.status
    tell(trigger, "abort")
    line.until(lambda: line.status["errors"] > status["errors"])
    tell(trigger, "")
    line.until(lambda: line.status["pid"] != status["pid"])
    line.decides()


@pytest.mark.parametrize("fault", ["segfault", "raise", "nan"])
def test_a_variant_that_always_fails_gives_way_to_the_next(
    tmp_path: Path, triggers: tuple[Path, Path], fault: str
) -> None:
    with running.running(tmp_path, LONG) as line:
        assert line.status["variant"] == "a"
        tell(triggers[0], fault)
        words = {"segfault": "SIGSEGV", "raise": "the driver says no", "nan": "NaN or infinity"}
        falls_to_b(line, words[fault])
        assert line.status["restarts"] >= 1
        assert line.agent.error is None


@pytest.mark.parametrize("failures", [1, 3])
def test_it_gives_way_after_so_many_failures_and_not_before(
    tmp_path: Path, triggers: tuple[Path, Path], failures: int
) -> None:
    with running.running(tmp_path, {**LONG, "failures": failures}) as line:
        for count in range(1, failures + 1):
            crashes_once(line, triggers[0])
            assert line.status["variant"] == ("b" if count == failures else "a")
        falls_to_b(line, "SIGABRT")
        assert line.status["restarts"] == failures


def test_the_better_variant_is_taken_back_when_its_fault_is_gone(
    tmp_path: Path, triggers: tuple[Path, Path]
) -> None:
    with running.running(tmp_path, {"failures": 1, "retry_s": 0.5, "retry_max_s": 0.5}) as line:
        tell(triggers[0], "segfault")
        falls_to_b(line, "SIGSEGV")
        restarts = line.status["restarts"]
        line.decides(60)  # it was tried again meanwhile, in vain, and `b` went on
        assert (line.status["variant"], line.status["restarts"]) == ("b", restarts)
        errors = line.status["errors"]
        tell(triggers[0], "")
        status = line.recovers()
        assert status["variant"] == "a"
        assert status["errors"] == errors  # no frame failed for it
        line.until(lambda: line.events("phase")[-1].get("variant") == "a")
        assert line.events("phase")[-1]["state"] == "RUNNING"
        line.until(lambda: line.telemetry is not None and line.telemetry.variant == "a")


def test_without_any_variant_it_waits_says_so_and_starts_again(
    tmp_path: Path, triggers: tuple[Path, Path]
) -> None:
    with running.running(tmp_path) as line:
        for trigger in triggers:
            tell(trigger, "segfault")
        line.says("DEGRADED", "no model is loaded", "a was skipped: The engine was killed by SIGSEGV")
        assert line.agent.running
        for trigger in triggers:
            tell(trigger, "")
        line.decides()
        status = line.recovers()
        assert status["variant"] == "a"
