"""A device that only one process may hold: it is passed on, also by a process that nobody can kill."""

import os
import signal
from pathlib import Path

import pytest

from outrider_agent.engine import spawn
from outrider_agent.engine.order import Wish
from tests.fakes import faulty_runtime, keepers, null_bundle, running
from tests.fakes.children import eventually, living
from tests.fakes.faulty_runtime import tell
from tests.fakes.running import BELT

ALONE = "faulty-exclusive"


@pytest.fixture
def trigger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle whose better variant `a` holds its device alone; `b` needs none."""
    faulty_runtime.use(monkeypatch, tmp_path / "plugins")
    made = tmp_path / "trigger"
    variants = [keepers.faulty("a", 0, made, ALONE), null_bundle.variant("b", 1)]
    null_bundle.write(tmp_path / "sorter.orb", variants)
    return made


def test_a_held_device_is_free_again_for_the_replacement(tmp_path: Path, trigger: Path) -> None:
    with running.running(tmp_path) as line:
        first = line.says("RUNNING", reason="", runtime=ALONE)
        tell(trigger, "hang")
        line.says("DEGRADED")
        tell(trigger, "")
        last = line.recovers()
        assert last["runtime"] == ALONE
        assert last["pid"] != first["pid"]
        assert not living(first["pid"])


def test_a_model_on_the_same_device_takes_it_over_instead_of_sharing_it(
    tmp_path: Path, trigger: Path
) -> None:
    null_bundle.write(tmp_path / "new.orb", [keepers.faulty("c", 0, trigger, ALONE)], version="2.0.0")
    with running.running(tmp_path) as line:
        first = line.says("RUNNING", reason="", runtime=ALONE)
        swapped = line.agent.swap(BELT, tmp_path / "new.orb", Wish(mode="overlap"))
        assert (swapped.mode, swapped.variant) == ("replace", "c")
        assert "not loaded beside the old one" in swapped.note
        status = line.says("RUNNING", reason="", version="2.0.0", variant="c")
        assert not living(first["pid"])
        assert living(status["pid"])
        line.decides()


@pytest.mark.usefixtures("trigger")
def test_what_cannot_be_killed_is_named_and_its_device_left_alone_until_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Injected is only that the kernel does not end the process: as while a driver never returns."""
    with running.running(tmp_path) as line:
        first = line.says("RUNNING", reason="", runtime=ALONE)
        kill = spawn.Process.kill

        def refused(process: spawn.Process) -> None:
            if process.pid != first["pid"]:
                kill(process)

        monkeypatch.setattr(spawn.Process, "kill", refused)
        monkeypatch.setattr(spawn, "KILL_S", 0.1)
        os.kill(first["pid"], signal.SIGSTOP)
        words = f"process {first['pid']} of {ALONE} cannot be killed"
        line.says("DEGRADED", words, variant="b")
        line.decides()
        line.until(lambda: [one for one in line.events("fault", "model") if one["state"] == "abandoned"])
        assert living(first["pid"])
        os.kill(first["pid"], signal.SIGKILL)
        assert line.recovers()["variant"] == "a"
        assert eventually(lambda: not living(first["pid"]))
