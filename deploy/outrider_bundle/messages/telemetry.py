"""Metrics of an interval; (run, seq) tells a receiver what it has already."""

from typing import Annotated, Literal

from msgspec import Meta, field

from outrider_bundle.manifest import Identifier
from outrider_bundle.messages.codec import Count, Duration, Line, Message, Run


class Latency(Message, frozen=True, kw_only=True):
    """The time a stage took, over `count` frames."""

    count: Count
    p50_ms: Duration
    p95_ms: Duration
    p99_ms: Duration
    max_ms: Duration


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


class Telemetry(Message, frozen=True, kw_only=True):
    """An interval that began at `start` (unix seconds) and lasted `duration_s`."""

    schema: Literal[1] = 1
    run: Run
    seq: Count
    start: float
    duration_s: Duration
    pipelines: dict[Identifier, PipelineMetrics]
