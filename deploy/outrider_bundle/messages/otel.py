"""Telemetry as data points of OpenTelemetry, for whoever feeds a collector; docs/telemetry.md has the table.

Names and units are those of the semantic conventions where these have one (`system`, `process`, `hw`), and
`outrider.*` where they have none; units are of UCUM. It needs no library of OpenTelemetry: a point has all
that the OTLP data model asks for, apart from its time, which is the interval of the message.
"""

from collections.abc import Iterator, Mapping
from typing import Literal

from msgspec import Struct

from outrider_bundle.histogram import span
from outrider_bundle.messages.telemetry import (
    BoardMetrics,
    LinkMetrics,
    OutboxMetrics,
    PipelineMetrics,
    Telemetry,
)

MEGA = 1e6
NS = 1e9

Kind = Literal["delta", "cumulative", "updown", "gauge", "histogram"]
"""A sum over the interval or since the start of the run; a sum that may fall; a value; a histogram."""


class Distribution(Struct, frozen=True):
    """Counts of values up to each of `bounds`, and of what is above: one more than there are bounds."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]


class Point(Struct, frozen=True):
    """One data point."""

    name: str
    kind: Kind
    unit: str
    value: float | Distribution
    attributes: Mapping[str, str] = {}


COUNTED: Mapping[str, tuple[str, str]] = {
    "frames": ("outrider.pipeline.frame.count", "{frame}"),
    "dropped": ("outrider.pipeline.frame.dropped", "{frame}"),
    "late": ("outrider.pipeline.frame.late", "{frame}"),
    "no_input": ("outrider.pipeline.frame.missing", "{wait}"),
    "decisions": ("outrider.pipeline.decision.count", "{decision}"),
    "events": ("outrider.pipeline.event.count", "{event}"),
    "errors": ("outrider.pipeline.error.count", "{error}"),
}
"""Fields of a pipeline that count within the interval: name and unit."""

LINK = ("published", "acked", "refused", "lost", "missed", "too_large")
OUTBOX = ("stored", "replayed", "expired")
RANKS = ("event", "report", "telemetry")
"""Of what the outbox lost, in the order of the message."""


def points(telemetry: Telemetry) -> tuple[Point, ...]:
    """Return all that `telemetry` holds as data points."""
    found: list[Point] = []
    for name, metrics in telemetry.pipelines.items():
        found += _pipeline({"outrider.pipeline": name}, metrics)
        found += _engine({"outrider.pipeline": name}, metrics, telemetry)
    if telemetry.agent is not None:
        own = {"outrider.process": "agent"}
        found += _process(own, telemetry.agent.rss_mb, telemetry.agent.cpu_s)
    found += _board(telemetry.board) if telemetry.board is not None else ()
    found += _link(telemetry.link) if telemetry.link is not None else ()
    found += _outbox(telemetry.outbox) if telemetry.outbox is not None else ()
    return tuple(found)


def distribution(buckets: tuple[tuple[int, int], ...]) -> Distribution:
    """Return buckets of nanoseconds as explicit bounds in seconds, each the highest value that it counts."""
    bounds: list[int] = []
    counts: list[int] = []
    for bucket, count in buckets:
        low, high = span(bucket)
        if bounds[-1:] != [low - 1]:  # nothing is counted up to here
            bounds.append(low - 1)
            counts.append(0)
        bounds.append(high)
        counts.append(count)
    return Distribution(tuple(ns / NS for ns in bounds), (*counts, 0))


def _pipeline(where: Mapping[str, str], metrics: PipelineMetrics) -> Iterator[Point]:
    for field, (name, unit) in COUNTED.items():
        yield Point(name, "delta", unit, getattr(metrics, field), where)
    for label, count in metrics.classes.items():
        at = {**where, "outrider.label": label}
        yield Point("outrider.pipeline.perception.count", "delta", "{perception}", count, at)
    for stage, times in metrics.stages.items():
        at = {**where, "outrider.stage": stage}
        yield Point("outrider.pipeline.stage.duration", "histogram", "s", distribution(times.buckets), at)


def _engine(where: Mapping[str, str], metrics: PipelineMetrics, telemetry: Telemetry) -> Iterator[Point]:
    what = {**where, "outrider.variant": metrics.variant}
    yield Point("outrider.engine.restart.count", "cumulative", "{restart}", metrics.restarts, where)
    for backend, nodes in metrics.nodes.items():
        yield Point(
            "outrider.engine.node.count", "updown", "{node}", nodes, {**what, "outrider.backend": backend}
        )
    if metrics.shadow is not None:
        yield Point("outrider.engine.shadow.agreement", "gauge", "1", metrics.shadow.agreement, where)
    agent = telemetry.agent
    if agent is not None and metrics.rss_mb > agent.rss_mb:  # an engine with a process of its own
        own = {**where, "outrider.process": "engine"}
        yield from _process(own, metrics.rss_mb - agent.rss_mb, max(0.0, metrics.cpu_s - agent.cpu_s))


def _process(which: Mapping[str, str], rss_mb: float, cpu_s: float) -> Iterator[Point]:
    yield Point("process.memory.usage", "updown", "By", rss_mb * MEGA, which)
    yield Point("process.cpu.time", "delta", "s", cpu_s, which)


def _board(board: BoardMetrics) -> Iterator[Point]:
    for zone, degrees in board.temperatures_c.items():
        yield Point("hw.temperature", "gauge", "Cel", degrees, {"hw.id": zone})
    yield Point("outrider.board.throttled", "gauge", "1", int(bool(board.throttled)))
    yield Point("outrider.board.throttle.count", "delta", "{event}", board.throttles)
    if board.load_1m is not None:
        yield Point("system.linux.cpu.load_1m", "gauge", "{thread}", board.load_1m)
    if board.memory_available_mb is not None:
        yield Point("system.memory.linux.available", "updown", "By", board.memory_available_mb * MEGA)
    if board.disk_free_mb is not None:
        state = {"system.filesystem.state": "free"}
        yield Point("system.filesystem.usage", "updown", "By", board.disk_free_mb * MEGA, state)


def _link(link: LinkMetrics) -> Iterator[Point]:
    for field in LINK:
        yield Point(f"outrider.link.message.{field}", "cumulative", "{message}", getattr(link, field))
    yield Point("outrider.link.reconnect.count", "cumulative", "{connection}", link.reconnects)


def _outbox(outbox: OutboxMetrics) -> Iterator[Point]:
    yield Point("outrider.outbox.message.count", "updown", "{message}", outbox.waiting)
    yield Point("outrider.outbox.usage", "updown", "By", outbox.waiting_bytes)
    for field in OUTBOX:
        yield Point(f"outrider.outbox.message.{field}", "cumulative", "{message}", getattr(outbox, field))
    for rank, count in zip(RANKS, outbox.lost, strict=True):
        at = {"outrider.rank": rank}
        yield Point("outrider.outbox.message.lost", "cumulative", "{message}", count, at)
    yield Point("outrider.outbox.disk.error.count", "cumulative", "{error}", outbox.disk_faults)
