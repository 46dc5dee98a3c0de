"""Processor time of this process and of the engine's."""

import time

from outrider_bundle.errors import EngineError

PROCESS = 2
"""CPUCLOCK_SCHED of a whole process, in the clock ids that Linux makes of process ids."""


class Clock:
    """CPU seconds of this process, all threads, and of another one."""

    def __init__(self, engine: int, own: int) -> None:
        """Count `engine` in, unless it is the process `own` that asks."""
        self._other = (~engine << 3) | PROCESS if engine != own else None

    def read_s(self) -> float:
        """Return the seconds so far.

        Raises:
            EngineError: the other process has ended.
        """
        own_s = time.process_time()
        if self._other is None:
            return own_s
        try:
            return own_s + time.clock_gettime(self._other)
        except OSError as error:
            raise EngineError("The engine's process has ended while it was measured") from error
