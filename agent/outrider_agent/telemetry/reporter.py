"""Telemetry by intervals, as messages."""

import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from outrider_agent.telemetry.board import Board
from outrider_agent.telemetry.metrics import Intervals, Totals, Work, message
from outrider_agent.telemetry.process import CpuClock, cpu_s, rss_mb
from outrider_bundle.messages.codec import MAX_BYTES
from outrider_bundle.messages.telemetry import (
    LinkMetrics,
    OutboxMetrics,
    PipelineMetrics,
    ProcessMetrics,
    Telemetry,
)


class Way(Struct, frozen=True, kw_only=True):
    """How the way to the broker is: the link, and what waits for it."""

    link: LinkMetrics | None = None
    outbox: OutboxMetrics | None = None


class Reporter:
    """Cuts what the pipelines count into telemetry messages, numbered from 0.

    Args:
        run: id of this start of the agent.
        now: totals of all pipelines at the beginning.
        state_dir: on the disk whose free space is told.
    """

    def __init__(self, run: str, now: Mapping[str, Totals], state_dir: Path = Path()) -> None:
        """Begin the first interval."""
        self._run = run
        self._intervals = Intervals(now)
        self._cpu, self._board = CpuClock(), Board(state_dir)
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

    def cut(
        self,
        now: Mapping[str, Totals],
        works: Mapping[str, Work] | None = None,
        way: Way = Way(),  # noqa: B008 - frozen
    ) -> Telemetry:
        """End the interval; memory and processor time are this process's and that of a pipeline's engine.

        Args:
            now: totals of all pipelines.
            works: what they compute with.
            way: to the broker.
        """
        agent = ProcessMetrics(rss_mb=rss_mb(), cpu_s=self._cpu.lap_s())
        passed = self._intervals.cut(now)
        metrics: dict[str, PipelineMetrics] = {}
        for name, totals in passed.items():
            work = (works or {}).get(name, Work())
            child_mb = rss_mb(work.pid) if work.pid else 0.0
            child_s = self._child_s(name, work.pid)
            metrics[name] = message(
                totals, rss_mb=agent.rss_mb + child_mb, cpu_s=agent.cpu_s + child_s, work=work
            )
        telemetry = Telemetry(
            run=self._run,
            seq=self._count,
            start=self._start_s,
            duration_s=self.age_s,
            pipelines=metrics,
            agent=agent,
            board=self._board.read(),
            link=way.link,
            outbox=way.outbox,
        )
        self._start_s, self._since_s = time.time(), time.monotonic()
        self._count += 1
        return fitted(telemetry)

    def _child_s(self, pipeline: str, pid: int) -> float:
        """Return what the engine of `pipeline` has used since the last call; a new one, since its start."""
        if not pid:
            return 0.0
        before_pid, before_s = self._children.get(pipeline, (0, 0.0))
        now_s = cpu_s(pid)
        self._children[pipeline] = pid, now_s
        return max(0.0, now_s - before_s if pid == before_pid else now_s)


def way(counts: Struct, stored: Struct) -> Way:
    """Return what the counts of a link and of its outbox say; their names are those of the message."""
    return Way(
        link=msgspec.convert(msgspec.to_builtins(counts), LinkMetrics),
        outbox=msgspec.convert(msgspec.to_builtins(stored), OutboxMetrics),
    )


def fitted(telemetry: Telemetry, most: int = MAX_BYTES) -> Telemetry:
    """Return `telemetry`; without histograms, or without classes too, if it is longer than `most` bytes."""
    if len(msgspec.json.encode(telemetry)) <= most:
        return telemetry
    bare = {
        name: replace(one, stages={k: replace(stage, buckets=()) for k, stage in one.stages.items()})
        for name, one in telemetry.pipelines.items()
    }
    shorter = replace(telemetry, pipelines=bare)
    if len(msgspec.json.encode(shorter)) <= most:
        return shorter
    return replace(telemetry, pipelines={name: replace(one, classes={}) for name, one in bare.items()})
