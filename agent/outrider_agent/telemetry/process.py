"""Memory and processor time of this process."""

import os
import time
from pathlib import Path

_PAGE = os.sysconf("SC_PAGESIZE")
_WHOLE = 2
"""CPUCLOCK_SCHED, all threads, in the clock ids that Linux makes of process ids: clock_getcpuclockid(3)."""


def cpu_s(pid: int) -> float:
    """Return the processor seconds of the process `pid`; 0 if it is gone."""
    try:
        return time.clock_gettime((~pid << 3) | _WHOLE)
    except OSError:
        return 0.0


def rss_mb(pid: int = 0) -> float:
    """Return the resident memory of `pid`, or of this process, in 10^6 bytes; 0 where nothing tells."""
    try:
        statm = Path(f"/proc/{pid or 'self'}/statm").read_bytes()
        return int(statm.split()[1]) * _PAGE / 1e6
    except (OSError, IndexError, ValueError):
        return 0.0


class CpuClock:
    """Processor seconds of all threads, from one call to the next."""

    def __init__(self) -> None:
        """Start now."""
        self._last_s = time.process_time()

    def lap_s(self) -> float:
        """Return the seconds since the last call."""
        now_s = time.process_time()
        lap_s, self._last_s = now_s - self._last_s, now_s
        return lap_s
