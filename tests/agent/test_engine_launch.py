"""How an engine child is started, as whom and how politely, and what is left when it has ended."""

import os
import pwd
import signal
import subprocess
import sys
import tempfile
import threading
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from outrider_agent.engine import child
from outrider_agent.engine.child import ChildEngine
from outrider_bundle.errors import EngineError
from tests.fakes import faulty_runtime, plans
from tests.fakes.children import Start, answer, children, engines, eventually, living, policies
from tests.fakes.faulty_runtime import EXIT, tell
from tests.fakes.models import onnx_files

ROOT = Path(__file__).parents[2]
BARRED = {"cv2", "paho", "outrider_agent", "typer", "rich", "cryptography", "onnxruntime"}


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
    made = start(plans.faulty(folder))
    assert answer(made, 0) is not None
    return made


def test_it_outlives_the_thread_that_asked_for_it(folder: Path) -> None:
    """The kernel's parent-death signal comes when the thread that forked ends."""
    made: list[ChildEngine] = []
    plan = plans.faulty(folder)
    asker = threading.Thread(target=lambda: made.append(child.start(plan)))
    asker.start()
    asker.join()
    (engine,) = made
    assert not eventually(lambda: not living(engine.pid), within_s=0.2)
    assert answer(engine, 1) is not None
    engine.close()


PARENT = """
import sys, time
from pathlib import Path
from outrider_agent.engine import child
from tests.fakes import plans
from tests.fakes.faulty_runtime import tell

folder = Path(sys.argv[1])
engine = child.start(plans.faulty(folder))
if sys.argv[2] == "busy":
    tell(folder / "trigger", "hang")
    engine.slot()
    engine.submit(1)
print(engine.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("state", ["idle", "busy", "stopped"])
def test_it_dies_with_its_agent(folder: Path, state: str) -> None:
    command = [sys.executable, "-c", PARENT, str(folder), state]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        if state == "stopped":
            os.kill(pid, signal.SIGSTOP)
        assert living(pid)
        parent.kill()
    assert eventually(lambda: not living(pid), within_s=2.0)


def test_ctrl_c_is_for_the_agent_alone(engine: ChildEngine) -> None:
    os.kill(engine.pid, signal.SIGINT)
    assert answer(engine, 1) is not None
    assert Path(f"/proc/{engine.pid}/comm").read_text() == "outrider-engine\n"


def test_it_goes_before_its_agent_when_memory_is_out(engine: ChildEngine) -> None:
    own, its = (int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in ("self", engine.pid))
    assert its > own


def held() -> tuple[int, int, int, list[str]]:
    """Return how many descriptors, shared maps and children this process has, and what has a name."""
    maps = Path("/proc/self/maps").read_text().count("memfd:outrider")
    named = sorted(path.name for path in Path("/dev/shm").iterdir())  # noqa: S108 - what is left there shows
    return len(list(Path("/proc/self/fd").iterdir())), maps, len(children()), named


def test_twenty_engines_leave_nothing_behind(folder: Path, start: Start) -> None:
    plan = plans.faulty(folder)
    start(plan).close()
    before = held()
    for count in range(20):
        engine = child.start(plan)
        assert answer(engine, count) is not None
        if count % 2:
            os.kill(engine.pid, signal.SIGKILL)
        engine.close()
    assert held() == before


def test_a_refused_load_leaves_nothing_behind(folder: Path) -> None:
    plan = plans.faulty(folder)
    child.start(plan).close()
    before = held()
    for fault in ("load-refuse", "load-exit", "load-shape"):
        tell(folder / "trigger", fault)
        with pytest.raises(EngineError):
            child.start(plan)
    assert held() == before


def test_it_imports_nothing_but_what_runs_the_model(engine: ChildEngine, folder: Path) -> None:
    tell(folder / "trigger", "modules")
    assert answer(engine, 1) is not None
    modules = set((folder / "trigger.modules").read_text().split())
    assert {"numpy", "msgspec", "faulty_runtime", "outrider_runtime.child.serve"} <= modules
    assert not {name.partition(".")[0] for name in modules} & BARRED


def test_a_load_that_takes_too_long_is_ended(folder: Path) -> None:
    plan = plans.faulty(folder, load_s=0.6)
    before = held()
    tell(folder / "trigger", "load-hang")
    with pytest.raises(EngineError, match=r"has not loaded within 0\.6 s.*engine\.load_s"):
        child.start(plan)
    assert held()[2] == before[2]


def test_a_load_that_crashes_says_how(folder: Path) -> None:
    plan = plans.faulty(folder)
    for fault, how in (("load-segfault", "was killed by SIGSEGV"), ("load-exit", f"exited with code {EXIT}")):
        tell(folder / "trigger", fault)
        with pytest.raises(EngineError, match=f"The engine {how} while it loaded tiny-faulty"):
            child.start(plan)


def test_options_beyond_a_message_are_one_error(folder: Path) -> None:
    with pytest.raises(EngineError, match="cannot be started: Message too long"):
        child.start(plans.faulty(folder, options={"device": "x" * 400_000}))


def test_a_polite_load_runs_at_usual_priority_afterwards(tmp_path: Path, start: Start) -> None:
    plan = plans.plan("onnx", *onnx_files(tmp_path), options={"threads": 2}, polite=True)
    engine = start(plan)
    assert len(list(Path(f"/proc/{engine.pid}/task").iterdir())) > 1
    assert eventually(lambda: policies(engine.pid) == {os.SCHED_OTHER})  # the helper may still be ending
    assert answer(engine, 1) is not None


def test_a_polite_load_is_idle(folder: Path) -> None:
    plan = plans.faulty(folder, polite=True, load_s=5.0)
    tell(folder / "trigger", "load-hang")
    known = children()

    def load() -> None:
        with pytest.raises(EngineError, match="SIGKILL"):
            child.start(plan)

    loading = threading.Thread(target=load)
    loading.start()
    try:
        assert eventually(lambda: any(os.SCHED_IDLE in policies(pid) for pid in children() - known))
    finally:
        for pid in children() - known:
            os.kill(pid, signal.SIGKILL)
        loading.join()


def test_it_runs_in_another_interpreter(folder: Path, tmp_path: Path, start: Start) -> None:
    venv.create(tmp_path / "venv", symlinks=True, with_pip=False)
    own = {path for path in sys.path if path and Path(path).is_dir()}
    (site,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    (site / "own.pth").write_text("\n".join(sorted(own)))
    python = tmp_path / "venv/bin/python"
    engine = start(plans.faulty(folder, python=str(python)))
    assert Path(f"/proc/{engine.pid}/cmdline").read_bytes().startswith(str(python).encode() + b"\0")
    assert answer(engine, 1) is not None


def test_an_interpreter_without_outrider_is_told_what_it_lacks(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv.create(tmp_path / "venv", symlinks=True, with_pip=False)
    plan = plans.faulty(folder, python=str(tmp_path / "venv/bin/python"))
    monkeypatch.delenv("PYTHONPATH")
    with pytest.raises(EngineError, match=r"No module named 'outrider_runtime'.*Install outrider"):
        child.start(plan)


def test_an_interpreter_or_a_user_that_is_not_there_is_one_error(folder: Path) -> None:
    with pytest.raises(EngineError, match=r"cannot be started with /nonexistent: No such file"):
        child.start(plans.faulty(folder, python="/nonexistent"))
    with pytest.raises(EngineError, match="There is no user 'nonesuch'"):
        child.start(plans.faulty(folder, user="nonesuch"))


@pytest.mark.root
@pytest.mark.parametrize("threads", [1, 2])
def test_it_runs_as_another_user_who_may_not_leave_idle_priority(
    monkeypatch: pytest.MonkeyPatch, start: Start, threads: int
) -> None:
    """With threads of the runtime's own it is loaded a second time, at the usual priority."""
    python = Path("/usr/bin") / f"python{sys.version_info.major}.{sys.version_info.minor}"
    if os.geteuid() or not python.exists():
        pytest.skip(f"needs root and {python}, which any user may run")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    probe = [python, "-c", "import outrider_runtime, onnxruntime"]
    if subprocess.run(probe, user="nobody", check=False, capture_output=True).returncode:
        pytest.skip("this checkout or its libraries may not be read by the user nobody")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        options = {"threads": threads}
        plan = plans.plan(
            "onnx", *onnx_files(folder), options=options, python=str(python), user="nobody", polite=True
        )
        engine = start(plan)
        status = Path(f"/proc/{engine.pid}/status").read_text()
        ids = [line.split()[1:] for line in status.splitlines() if line.startswith(("Uid:", "Gid:"))]
        entry = pwd.getpwnam("nobody")
        assert ids == [[str(entry.pw_uid)] * 4, [str(entry.pw_gid)] * 4]
        assert answer(engine, 1) is not None
        assert eventually(lambda: policies(engine.pid) == {os.SCHED_OTHER})  # the helper may still be ending
