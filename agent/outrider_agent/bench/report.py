"""The result, as text for people and as JSON for programs."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from outrider_agent.bench.compare import Ratio, ratio
from outrider_bundle.bars import Machine, machine

MS = 1000.0
NOTE = "The bundle's signature was not checked; `outrider bundle verify` does that."


class Report(Struct, frozen=True, kw_only=True):
    """What was measured.

    Args:
        bundle: its name.
        version: of the bundle.
        variant: that ran.
        runtime: that ran it.
        isolation: `child` or `inline`.
        placement: where it really ran.
        frames: of a block.
        pairs: of blocks.
        ratio: the agent's CPU time over the bare runtime's.
        agent_ms: CPU milliseconds of a frame, all processes; of this machine and of no other.
        bare_ms: the same of the runtime alone.
        machine: where it was measured.
        trusted: nothing here is.
    """

    bundle: str
    version: str
    variant: str
    runtime: str
    isolation: str
    placement: Mapping[str, Any]
    frames: int
    pairs: int
    ratio: Ratio
    agent_ms: float
    bare_ms: float
    machine: Machine
    trusted: bool = False


def report(
    described: Mapping[str, Any], agent_s: Sequence[float], bare_s: Sequence[float], frames: int
) -> Report:
    """Sum up CPU seconds of a frame, pair by pair; `described` is what the agent says of its pipeline."""
    return Report(
        bundle=str(described["bundle"]),
        version=str(described["version"]),
        variant=str(described["variant"]),
        runtime=str(described["runtime"]),
        isolation=str(described["isolation"]),
        placement=described["placement"],
        frames=frames,
        pairs=len(agent_s),
        ratio=ratio(agent_s, bare_s),
        agent_ms=MS * statistics.median(agent_s),
        bare_ms=MS * statistics.median(bare_s),
        machine=machine(),
    )


def as_json(what: Report) -> str:
    """Return one JSON document."""
    return msgspec.json.format(msgspec.json.encode(what), indent=2).decode()


def as_text(what: Report) -> str:
    """Return a few lines."""
    place, spread = what.placement, what.ratio
    threads = int(place["threads"])
    ran = f"{what.variant} on {what.runtime} ({place['backend']}), {what.isolation}"
    half = f"half of the pairs {spread.low:.3f} to {spread.high:.3f}"
    lines = (
        f"{what.bundle} {what.version}, {ran}, {threads} thread{'s' if threads > 1 else ''}",
        f"  agent  {what.agent_ms:9.3f} ms CPU a frame, on this machine",
        f"  bare   {what.bare_ms:9.3f} ms",
        f"  ratio  {spread.median:9.3f}    {half}, all {spread.least:.3f} to {spread.most:.3f}",
        f"Medians of {what.pairs} interleaved pairs of {what.frames} frames; {what.machine.cpu}.",
        NOTE,
    )
    return "\n".join(lines)
