"""Memory and processor time of this process."""

import os
import time
from pathlib import Path

_STATM = Path("/proc/self/statm")
_PAGE = os.sysconf("SC_PAGESIZE")


def rss_mb() -> float:
    """Return the resident memory in 10^6 bytes; 0 where the kernel does not tell."""
    try:
        return int(_STATM.read_bytes().split()[1]) * _PAGE / 1e6
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
