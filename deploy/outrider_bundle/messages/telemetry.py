"""Metrics of an interval; (run, seq) tells a receiver what it has already. See docs/telemetry.md."""

from typing import Annotated, Literal

from msgspec import Meta, field

from outrider_bundle.histogram import SIZE
from outrider_bundle.manifest import Identifier
from outrider_bundle.messages.codec import Count, Duration, Line, Message, Run

Bucket = Annotated[int, Meta(ge=0, lt=SIZE)]


class Latency(Message, frozen=True, kw_only=True):
    """The time a stage took, over `count` frames.

    `buckets` are those of `outrider_bundle.histogram` that are not empty, as pairs of bucket and count, of
    nanoseconds: what several intervals or devices counted is their sum, where percentiles have none.
    """

    count: Count
    p50_ms: Duration
    p95_ms: Duration
    p99_ms: Duration
    max_ms: Duration
    buckets: tuple[tuple[Bucket, Count], ...] = ()


class ShadowMetrics(Message, frozen=True, kw_only=True):
    """A candidate in the shadow: `frames` answered of `offered`, mean `agreement` with what decides."""

    frames: Count
    offered: Count
    agreement: Annotated[float, Meta(ge=0.0, le=1.0)]
    errors: Count
    p50_ms: Duration
    p95_ms: Duration


class PipelineMetrics(Message, frozen=True, kw_only=True):
    """One pipeline over the interval.

    `dropped` frames were never run, `late` ones answered after the deadline; `no_input` counts waits
    that ended without a frame. `classes` counts perceptions by label. `variant` runs on `backend`, which took
    so many `nodes`; `restarts` counts engines that were replaced since the start. `rss_mb` and `cpu_s` are
    those of the agent with the engine of this pipeline.
    """

    frames: Count
    dropped: Count
    decisions: Count
    events: Count
    no_input: Count
    late: Count
    errors: Count
    stages: dict[Identifier, Latency]
    classes: dict[Line, Count]
    rss_mb: Duration
    cpu_s: Duration
    variant: Line = ""
    backend: Line = ""
    nodes: dict[Line, Count] = field(default_factory=dict)
    restarts: Count = 0
    shadow: ShadowMetrics | None = None


class ProcessMetrics(Message, frozen=True, kw_only=True):
    """The agent itself, without the engines that have a process of their own.

    `cpu_s` is of the interval; sizes are in 10^6 bytes.
    """

    rss_mb: Duration
    cpu_s: Duration


class BoardMetrics(Message, frozen=True, kw_only=True):
    """The board at the end of the interval; what it does not show is left out or null.

    `temperature_c` is the highest of `temperatures_c`, which are called as the kernel calls them. `throttled`
    says what holds the processors back now, `throttles` how often that was counted in the interval.
    """

    temperature_c: float | None = None
    temperatures_c: dict[Line, float] = field(default_factory=dict)
    throttled: tuple[Line, ...] = ()
    throttles: Count = 0
    load_1m: Duration | None = None
    memory_available_mb: Duration | None = None
    disk_free_mb: Duration | None = None


class LinkMetrics(Message, frozen=True, kw_only=True):
    """What became of messages since the start of the run.

    `published` at QoS 1, `acked` by the broker and of these `refused`; `missed` at QoS 0, without a
    connection; `lost` from the outbox for want of room; `too_large` for the broker; `reconnects` counts
    connections that were made again.
    """

    published: Count = 0
    acked: Count = 0
    refused: Count = 0
    lost: Count = 0
    missed: Count = 0
    reconnects: Count = 0
    too_large: Count = 0


class OutboxMetrics(Message, frozen=True, kw_only=True):
    """What waits for the broker: messages `waiting`, and of these `waiting_bytes` on the disk.

    Since the start of the run: `stored` on the disk and `replayed` from it, `lost` for want of room (events,
    reports, telemetry), `expired` for their age, `disk_faults` where a write failed.
    """

    waiting: Count = 0
    waiting_bytes: Count = 0
    stored: Count = 0
    replayed: Count = 0
    lost: tuple[Count, Count, Count] = (0, 0, 0)
    expired: Count = 0
    disk_faults: Count = 0


class Telemetry(Message, frozen=True, kw_only=True):
    """An interval that began at `start` (unix seconds) and lasted `duration_s`."""

    schema: Literal[1] = 1
    run: Run
    seq: Count
    start: float
    duration_s: Duration
    pipelines: dict[Identifier, PipelineMetrics]
    agent: ProcessMetrics | None = None
    board: BoardMetrics | None = None
    link: LinkMetrics | None = None
    outbox: OutboxMetrics | None = None
