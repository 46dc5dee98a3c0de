import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from outrider_fleet import lifeline

OWNER = """
import sys, time
from outrider_fleet import lifeline
child = lifeline.spawn([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


def gone(pid: int, within_s: float) -> bool:
    """Whether the process ends in time; a zombie that nobody has waited for has ended."""
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal is Linux")
def test_a_child_dies_with_an_owner_that_is_killed() -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE)
    with owner:
        assert owner.stdout is not None
        child = int(owner.stdout.readline())
        assert not gone(child, 0.3)
        owner.kill()
        assert gone(child, 5.0)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal is Linux")
def test_a_child_of_an_owner_that_died_early_does_not_start() -> None:
    launched = [sys.executable, lifeline.__file__, str(os.getpid() + 1), "sleep", "60"]
    done = subprocess.run(launched, timeout=10, check=False)
    assert done.returncode == 1


def test_a_child_keeps_pid_arguments_output_and_code(tmp_path: Path) -> None:
    said = tmp_path / "said"
    script = "import os, sys; print(os.getpid(), *sys.argv[1:]); sys.exit(7)"
    with said.open("wb") as out:
        child = lifeline.spawn([sys.executable, "-c", script, "a b", tmp_path], stdout=out)
    assert child.wait(10) == 7
    assert said.read_text() == f"{child.pid} a b {tmp_path}\n"


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    said = tmp_path / "said"
    with said.open("wb") as out:
        child = lifeline.spawn(["/nowhere/at-all"], stderr=out)
    assert child.wait(10) == lifeline.NOT_FOUND
    assert said.read_text() == "/nowhere/at-all: No such file or directory\n"


def test_a_child_can_be_killed_by_its_pid() -> None:
    child = lifeline.spawn(["sleep", "60"])
    child.kill()
    assert child.wait(10) == -signal.SIGKILL
