"""What a pipeline counts, and one aggregate of it per interval.

The loop thread only adds; everybody else works on copies of the totals and on their differences, so
nothing is lost between two intervals and no lock is taken per frame.
"""

import itertools
from collections.abc import Mapping

from msgspec import Struct

from outrider_bundle.histogram import Histogram
from outrider_bundle.messages.telemetry import Latency, PipelineMetrics, ShadowMetrics

STAGES = ("age", "preprocess", "engine", "decode", "cascade", "policy", "act", "loop")
"""`age` is a frame's when it is taken, `loop` from there to the decision; `act` comes after, `cascade` is
what second models take together."""

NS_PER_MS = 1e6
MAX_CLASSES = 256
OTHERS = "*"

_BIRTHS = itertools.count(1)


class Totals(Struct, frozen=True, kw_only=True):
    """Counts since the start, or since other totals; `born` tells one pipeline from the next of its name."""

    born: int = 0
    frames: int
    dropped: int
    decisions: int
    events: int
    no_input: int
    late: int
    errors: int
    classes: dict[str, int]
    stages: dict[str, Histogram]

    def since(self, earlier: "Totals") -> "Totals":
        """Return what was counted after `earlier`."""
        classes = {k: n - earlier.classes.get(k, 0) for k, n in self.classes.items()}
        return Totals(
            born=self.born,
            frames=self.frames - earlier.frames,
            dropped=self.dropped - earlier.dropped,
            decisions=self.decisions - earlier.decisions,
            events=self.events - earlier.events,
            no_input=self.no_input - earlier.no_input,
            late=self.late - earlier.late,
            errors=self.errors - earlier.errors,
            classes={k: n for k, n in classes.items() if n},
            stages={k: h.since(earlier.stages[k]) for k, h in self.stages.items()},
        )


class Meters:
    """The counters of one pipeline; plain attributes, since its loop writes them for every frame."""

    def __init__(self) -> None:
        """Start at zero."""
        self.born = next(_BIRTHS)
        self.frames = 0
        self.decisions = 0
        self.events = 0
        self.no_input = 0
        self.late = 0
        self.errors = 0
        self.classes: dict[str, int] = {}
        self.stages = {stage: Histogram() for stage in STAGES}

    def saw(self, label: str) -> None:
        """Count a perception."""
        self.classes[label] = self.classes.get(label, 0) + 1

    def totals(self, dropped: int) -> Totals:
        """Return a copy; `dropped` is counted by the mailbox."""
        return Totals(
            born=self.born,
            frames=self.frames,
            dropped=dropped,
            decisions=self.decisions,
            events=self.events,
            no_input=self.no_input,
            late=self.late,
            errors=self.errors,
            classes=dict(self.classes),
            stages={k: h.copy() for k, h in self.stages.items()},
        )


def frequent(classes: Mapping[str, int]) -> dict[str, int]:
    """Return the most frequent classes; the rest together counts as `OTHERS`."""
    if len(classes) <= MAX_CLASSES:
        return dict(classes)
    ranked = sorted(classes.items(), key=lambda item: -item[1])
    return {**dict(ranked[:MAX_CLASSES]), OTHERS: sum(count for _, count in ranked[MAX_CLASSES:])}


def latency(times: Histogram) -> Latency:
    """Summarize times in nanoseconds, and keep their histogram."""
    p50, p95, p99, most = (ns / NS_PER_MS for ns in times.quantiles(0.5, 0.95, 0.99, 1.0))
    return Latency(count=times.count, p50_ms=p50, p95_ms=p95, p99_ms=p99, max_ms=most, buckets=times.buckets)


class Work(Struct, frozen=True, kw_only=True):
    """What a pipeline computes with now; `pid` is the engine's, 0 if it has no process of its own."""

    pid: int = 0
    variant: str = ""
    backend: str = ""
    nodes: dict[str, int] = {}
    restarts: int = 0
    shadow: ShadowMetrics | None = None


def message(
    interval: Totals,
    *,
    rss_mb: float,
    cpu_s: float,
    work: Work = Work(),  # noqa: B008 - frozen
) -> PipelineMetrics:
    """Return `interval` as it is published; stages that did not happen are left out."""
    return PipelineMetrics(
        frames=interval.frames,
        dropped=interval.dropped,
        decisions=interval.decisions,
        events=interval.events,
        no_input=interval.no_input,
        late=interval.late,
        errors=interval.errors,
        stages={k: latency(h) for k, h in interval.stages.items() if h.count},
        classes=frequent(interval.classes),
        rss_mb=rss_mb,
        cpu_s=cpu_s,
        variant=work.variant,
        backend=work.backend,
        nodes=work.nodes,
        restarts=work.restarts,
        shadow=work.shadow,
    )


class Intervals:
    """Cuts totals into intervals."""

    def __init__(self, now: Mapping[str, Totals]) -> None:
        """Begin the first interval with the totals of `now`, by pipeline."""
        self._last = dict(now)

    def cut(self, now: Mapping[str, Totals]) -> dict[str, Totals]:
        """Return what was counted since the last call and begin the next interval.

        A pipeline that has come meanwhile, or taken the place of another, is counted from its start.
        """
        passed: dict[str, Totals] = {}
        for name, totals in now.items():
            last = self._last.get(name)
            passed[name] = totals if last is None or last.born != totals.born else totals.since(last)
        self._last = dict(now)
        return passed
