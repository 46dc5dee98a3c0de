"""Engine children in tests: started and ended, asked, and looked at from outside."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from outrider_agent.engine import child
from outrider_agent.engine.child import ChildEngine
from outrider_agent.engine.seam import Answer, Plan

Start = Callable[[Plan], ChildEngine]
PATIENCE_S = 20.0


@contextmanager
def engines() -> Iterator[Start]:
    """Give what starts an engine; all of them are closed at the end."""
    started: list[ChildEngine] = []

    def start(plan: Plan) -> ChildEngine:
        started.append(child.start(plan))
        return started[-1]

    try:
        yield start
    finally:
        for engine in started:
            engine.close()


def answer(engine: ChildEngine, seq: int, deadline_s: float = PATIENCE_S) -> Answer | None:
    """Run on an input full of `seq`."""
    engine.slot()[0].fill(seq)
    engine.submit(seq)
    return engine.collect(deadline_s)


def eventually(condition: Callable[[], bool], within_s: float = 5.0) -> bool:
    """Whether `condition` comes true in time."""
    end_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.01)
    return True


def living(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "XZ"


def children() -> set[int]:
    """Return the pids of this process's children."""
    tasks = Path("/proc/self/task").iterdir()
    return {int(pid) for task in tasks for pid in (task / "children").read_text().split()}


def policies(pid: int) -> set[int]:
    """Return the scheduling policies of the threads of a process."""
    return {os.sched_getscheduler(int(task.name)) for task in Path(f"/proc/{pid}/task").iterdir()}
