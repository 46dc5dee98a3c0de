"""Telemetry by intervals and the reported state, as messages."""

import time
from collections.abc import Mapping

from outrider_agent.telemetry.metrics import Intervals, Totals, message
from outrider_agent.telemetry.process import CpuClock, rss_mb
from outrider_bundle.messages.telemetry import Telemetry


class Reporter:
    """Cuts what the pipelines count into telemetry messages, numbered from 0.

    Args:
        run: id of this start of the agent.
        now: totals of all pipelines at the beginning.
    """

    def __init__(self, run: str, now: Mapping[str, Totals]) -> None:
        """Begin the first interval."""
        self._run = run
        self._intervals = Intervals(now)
        self._cpu = CpuClock()
        self._start_s, self._since_s = time.time(), time.monotonic()
        self._count = 0

    @property
    def count(self) -> int:
        """How many messages were made."""
        return self._count

    @property
    def age_s(self) -> float:
        """How long the interval has lasted."""
        return time.monotonic() - self._since_s

    def cut(self, now: Mapping[str, Totals]) -> Telemetry:
        """End the interval; memory and processor time are the whole process's."""
        memory_mb, cpu_s = rss_mb(), self._cpu.lap_s()
        passed = self._intervals.cut(now)
        telemetry = Telemetry(
            run=self._run,
            seq=self._count,
            start=self._start_s,
            duration_s=self.age_s,
            pipelines={name: message(t, rss_mb=memory_mb, cpu_s=cpu_s) for name, t in passed.items()},
        )
        self._start_s, self._since_s = time.time(), time.monotonic()
        self._count += 1
        return telemetry
