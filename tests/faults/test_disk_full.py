"""The disk of `state_dir` (a small tmpfs) is full: what runs goes on, what cannot be done says so."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from outrider_agent.engine.order import Wish
from outrider_bundle.errors import OutriderError
from tests.fakes import agents, null_bundle, provable, running
from tests.fakes.agents import AgentProcess
from tests.fakes.delegated import for_sorter
from tests.fakes.running import BELT

SIZE = "4m"
BALLAST = "ballast"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a small disk where the agent keeps its state."""
    folder = tmp_path / "state"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [str(mount), "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    if os.geteuid() or mount is None or subprocess.run(command, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here; that needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> None:
    """Leave not one byte."""
    with (disk / BALLAST).open("wb", buffering=0) as ballast:
        while shutil.disk_usage(disk).free:
            ballast.write(bytes(4096))


def relieve(disk: Path) -> None:
    """Give it all back."""
    (disk / BALLAST).unlink()


def says_why(text: str) -> None:
    assert "No space left on device" in text
    assert "Traceback" not in text


def test_a_start_on_a_full_disk_ends_with_its_reason_and_works_later(tmp_path: Path, disk: Path) -> None:
    null_bundle.write(tmp_path / "sorter.orb")
    null_bundle.write_images(tmp_path / "images", 5)
    written = agents.document(tmp_path, None)
    fill(disk)
    with AgentProcess(tmp_path, written) as agent:
        assert agent.wait() != 0
    says_why(agent.log)
    relieve(disk)
    with AgentProcess(tmp_path, written) as agent:
        assert agent.wait() == 0, agent.log
    assert agent.summary["decisions"] == 5


def test_a_running_pipeline_goes_on_and_a_swap_is_refused_until_there_is_room(
    tmp_path: Path, disk: Path
) -> None:
    null_bundle.write(tmp_path / "sorter.orb")
    null_bundle.write(tmp_path / "new.orb", version="2.0.0")
    with running.running(tmp_path) as line:
        first = line.says("RUNNING", reason="")
        fill(disk)
        with pytest.raises(OutriderError) as refused:
            line.agent.swap(BELT, tmp_path / "new.orb", Wish())
        says_why(str(refused.value))
        status = line.says("RUNNING", reason="", version="1.2.0")
        assert (status["pid"], status["errors"]) == (first["pid"], 0)
        line.decides()
        relieve(disk)
        line.agent.swap(BELT, tmp_path / "new.orb", Wish())
        line.says("RUNNING", reason="", version="2.0.0")
        line.decides()


def test_an_engine_is_replaced_on_a_full_disk_although_nothing_can_be_cached(
    tmp_path: Path, disk: Path
) -> None:
    provable.write_provable(tmp_path / "sorter.orb")
    with running.running(tmp_path, {"variant": "onnx-float32"}, change=for_sorter) as line:
        first = line.says("RUNNING", reason="")
        assert list((disk / "cache" / "onnx").iterdir())
        shutil.rmtree(disk / "cache")
        fill(disk)
        os.kill(first["pid"], signal.SIGKILL)
        line.until(lambda: line.status["restarts"] == 1)
        last = line.recovers()
        assert last["placement"] == first["placement"]
        assert not [path for path in (disk / "cache").rglob("*") if path.is_file() and path.stat().st_size]
