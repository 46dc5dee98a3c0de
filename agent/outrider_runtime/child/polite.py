"""Load at idle priority, so that a model at work beside loses no frame; run at the usual one.

Linux keeps the scheduling policy per thread, and new threads inherit it. Without root or RLIMIT_NICE no
thread leaves SCHED_IDLE again (sched(7)), so a helper thread enters it and ends, and the main thread
never does. Threads that a library started meanwhile, its pool for one, are brought back if that is allowed.
"""

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")
TASKS = Path("/proc/self/task")


def idly(call: Callable[[], Result]) -> tuple[Result, int]:
    """Return what `call` returns, from a thread of idle priority, and how many threads are left there.

    Raises:
        Exception: what `call` raises.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        with contextlib.suppress(OSError):  # where that is barred, loading is merely not polite
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001 - it goes on in the thread that waits
            errors.append(error)

    helper = threading.Thread(target=run)
    helper.start()
    helper.join()
    if errors:
        raise errors[0]
    return results[0], _restore(helper.native_id)


def _restore(ended: int | None) -> int:
    """Give every thread but `ended` this one's policy; return how many keep theirs."""
    policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    stuck = 0
    for task in (int(entry.name) for entry in TASKS.iterdir()):
        try:
            if task != ended and os.sched_getscheduler(task) == os.SCHED_IDLE != policy:
                os.sched_setscheduler(task, policy, parameter)
        except PermissionError:
            stuck += 1
        except ProcessLookupError:  # it ended meanwhile
            continue
    return stuck
