"""Telemetry by intervals and the reported state, as messages."""

import time
from collections.abc import Mapping

from outrider_agent.telemetry.metrics import Intervals, Totals, Work, message
from outrider_agent.telemetry.process import CpuClock, cpu_s, rss_mb
from outrider_bundle.messages.telemetry import PipelineMetrics, Telemetry


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
        self._children: dict[str, tuple[int, float]] = {}
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

    def cut(self, now: Mapping[str, Totals], works: Mapping[str, Work] | None = None) -> Telemetry:
        """End the interval; memory and processor time are this process's and that of a pipeline's engine."""
        memory_mb, own_s = rss_mb(), self._cpu.lap_s()
        passed = self._intervals.cut(now)
        metrics: dict[str, PipelineMetrics] = {}
        for name, totals in passed.items():
            work = (works or {}).get(name, Work())
            child_mb = rss_mb(work.pid) if work.pid else 0.0
            child_s = self._child_s(name, work.pid)
            metrics[name] = message(totals, rss_mb=memory_mb + child_mb, cpu_s=own_s + child_s, work=work)
        telemetry = Telemetry(
            run=self._run,
            seq=self._count,
            start=self._start_s,
            duration_s=self.age_s,
            pipelines=metrics,
        )
        self._start_s, self._since_s = time.time(), time.monotonic()
        self._count += 1
        return telemetry

    def _child_s(self, pipeline: str, pid: int) -> float:
        """Return what the engine of `pipeline` has used since the last call; a new one, since its start."""
        if not pid:
            return 0.0
        before_pid, before_s = self._children.get(pipeline, (0, 0.0))
        now_s = cpu_s(pid)
        self._children[pipeline] = pid, now_s
        return max(0.0, now_s - before_s if pid == before_pid else now_s)
