"""How busy other processes are beside a measurement: frames dropped then are theirs, and it is said."""

import os
import resource
import time
from collections.abc import Iterable
from pathlib import Path

from proofs.agent.runs import cpu_s, family

IDLE = (3, 4)
"""Columns of `/proc/stat` that count no work: idle and waiting for a disk; proc_stat(5)."""

COUNTED = 8
"""The columns after these are in others already."""


class Others:
    """Counts from when it is made."""

    def __init__(self) -> None:
        """Begin."""
        self._since_s = time.monotonic()
        self._busy_s, self._own_s = _busy_s(), _own_s()

    def cores(self) -> float:
        """Return how many cores processes that are none of ours have used since then, on average."""
        others_s = _busy_s() - self._busy_s - (_own_s() - self._own_s)
        return max(0.0, others_s / (time.monotonic() - self._since_s))


def _busy_s() -> float:
    line = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0]
    ticks = [int(word) for word in line.split()[1 : COUNTED + 1]]
    return sum(n for column, n in enumerate(ticks) if column not in IDLE) / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    """Return the CPU seconds of this process, of what it has started, and of what of that has ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime + sum(_cpu_s(family(os.getpid())))


def _cpu_s(pids: Iterable[int]) -> list[float]:
    found = []
    for pid in pids:
        try:
            found.append(cpu_s(pid))
        except OSError:  # it has ended meanwhile
            continue
    return found
