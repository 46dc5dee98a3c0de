"""What a run came to, as one JSON file at its end."""

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from outrider_agent.telemetry.metrics import NS_PER_MS, Totals
from outrider_bundle import atomic
from outrider_bundle.histogram import Histogram


class Skipped(Struct, frozen=True, kw_only=True):
    """A variant that was passed over, and why."""

    variant: str
    reason: str


class Summary(Struct, frozen=True, kw_only=True):
    """One run.

    `p50_ms` and `p99_ms` are of the loop, from taking a frame to the end of the policy. With several
    pipelines counts and times are taken together; `variant` and `placement` are the first one's.
    """

    run: str
    frames: int
    dropped: int
    late: int
    no_input: int
    errors: int
    decisions: int
    events: int
    telemetry: int
    p50_ms: float
    p99_ms: float
    variant: str
    placement: dict[str, Any]
    exit: int
    reconnects: int
    skipped: tuple[Skipped, ...]


def loop_ms(pipelines: Sequence[Totals], *shares: float) -> tuple[float, ...]:
    """Return quantiles of the loop's time over all `pipelines`."""
    times = reduce(Histogram.merged, (totals.stages["loop"] for totals in pipelines), Histogram())
    return tuple(round(ns / NS_PER_MS, 6) for ns in times.quantiles(*shares))


def write(path: Path, summary: Summary) -> None:
    """Write `summary` to `path` in one piece.

    Raises:
        OutriderError: it cannot be written.
    """
    atomic.write_file(path, [msgspec.json.format(msgspec.json.encode(summary), indent=1), b"\n"])
