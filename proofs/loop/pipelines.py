"""CPU of two pipelines on one camera over the bare inference of both models plus one decode of its frames.

The agent's side is a process, with both models inline or in engines of their own: one reader of the video, a
mailbox, preprocessing, engine, decoder, policy and actions for each pipeline. The other side is one process
that for each of the same frames decodes it and runs each model's library on an input that is ready. They take
turns on one core.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from outrider_agent.bench.compare import WARM, Ratio, ratio
from outrider_bundle.bars import Row
from outrider_fleet.broker import Broker
from proofs.agent.runs import NAMES, bundles, cpu_s, family, one_thread, say
from proofs.agent.video import ROOT
from proofs.loop import turns
from proofs.loop.agents import Agent, document, scaled

STARTS, ROUNDS, FRAMES = 3, 6, 30
SETTLE_S = 0.3
"""After the last frame was read both models still run; what the agent does while it rests counts too."""

LONG_S = 3600.0
MS = 1000.0
SOURCE = "camera"


def rows() -> tuple[Row, ...]:
    """Measure both ways, each in turns with the other side."""
    bundles()
    core = min(os.sched_getaffinity(0))
    inline, child = (_compared(isolation, core) for isolation in ("inline", "child"))
    each = ", ".join(f"{part} {MS * took:.2f}" for part, took in child.parts.items())
    pairs = scaled(STARTS) * scaled(ROUNDS)
    how = (
        f"CPU time, isolation child, which `auto` takes for these models, {pairs} interleaved pairs of "
        f"{FRAMES} frames of a video, {scaled(STARTS)} starts, all on one core, half of them "
        f"{_half(child.turns)}; agent: one shared source that decodes, {' and '.join(NAMES)}, "
        f"preprocessing, decisions to a broker; here {MS * child.spent_s:.2f} ms a frame; bare, frame by "
        f"frame: {each} ms, inputs ready, one thread each; over each part alone in warm caches "
        f"{child.alone.median:.3f}; with isolation inline {inline.turns.median:.3f} "
        f"({_half(inline.turns)}), {inline.alone.median:.3f} over warm parts"
    )
    return (Row(id="pipelines.two", value=child.turns.median, sense="<=", limit=1.05, unit="ratio", how=how),)


class Compared(Struct, frozen=True, kw_only=True):
    """One isolation over the bare side: in turns, over each part alone; medians of both sides in seconds."""

    turns: Ratio
    alone: Ratio
    spent_s: float
    parts: dict[str, float]


def _compared(isolation: str, core: int) -> Compared:
    over: list[float] = []
    bare: list[dict[str, dict[str, float]]] = []
    with tempfile.TemporaryDirectory() as name, Broker(Path(name) / "broker") as broker:
        for number in range(scaled(STARTS)):
            say(f"pipelines: {isolation}, start {number + 1}")
            private = Path(name) / f"agent-{number}"
            with _agent(private, broker.url, isolation, core) as (agent, given), _bare(core) as process:
                given.give(WARM)
                _bare_s(process, WARM)
                for _ in range(scaled(ROUNDS)):
                    over.append(_agent_s(agent, given))
                    bare.append(_bare_s(process, FRAMES))
                _check(agent, WARM + scaled(ROUNDS) * FRAMES)
    turned, alone = (ratio(over, [sum(one[way].values()) for one in bare]) for way in ("turns", "alone"))
    parts = {part: statistics.median(one["turns"][part] for one in bare) for part in bare[0]["turns"]}
    return Compared(turns=turned, alone=alone, spent_s=statistics.median(over), parts=parts)


def _half(spread: Ratio) -> str:
    return f"{spread.low:.3f} to {spread.high:.3f}"


def _agent_s(agent: Agent, given: turns.Turns) -> float:
    """Return the agent's CPU seconds of a frame, its engines' too."""
    pids = family(agent.pid)
    begun_s = sum(map(cpu_s, pids))
    given.give(FRAMES)
    time.sleep(SETTLE_S)
    return (sum(map(cpu_s, pids)) - begun_s) / FRAMES


def _check(agent: Agent, frames: int) -> None:
    """See that each pipeline has looked at each frame, once."""
    for name, status in agent.status().items():
        found = {key: status[key] for key in ("frames", "dropped", "late", "errors")}
        if found != {"frames": frames, "dropped": 0, "late": 0, "errors": 0}:
            raise RuntimeError(f"the pipeline '{name}' was given {frames} frames: {found}")


@contextmanager
def _agent(folder: Path, url: str, isolation: str, core: int) -> Iterator[tuple[Agent, turns.Turns]]:
    folder.mkdir()
    path = folder / "turns.socket"
    pipelines = [
        {
            "id": name,
            "bundle": bundle,
            "source": SOURCE,
            "policy": {"kind": "rules", "rules": [{"label": "*", "cooldown_s": 1.0}]},
            "actions": [{"kind": "mqtt"}],
            "engine": {"isolation": isolation, "threads": 1},
            "idle_s": LONG_S,
            "stale_s": LONG_S,
        }
        for name, bundle in bundles().items()
    ]
    sources = [{"id": SOURCE, "kind": "turn-video", "socket": path}]
    link = {"url": url, "telemetry_interval_s": 2.0}
    written = document(folder, pipelines, sources=sources, link=link)
    points = turns.install(folder / "points")
    with turns.Turns(path) as given, Agent(folder, written, points, core) as agent:
        yield agent, given


@contextmanager
def _bare(core: int) -> Iterator[subprocess.Popen[str]]:
    command = ["taskset", "--cpu-list", str(core), sys.executable, "-m", "proofs.loop.bare"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=one_thread()
    ) as process:
        yield process


def _bare_s(process: subprocess.Popen[str], frames: int) -> dict[str, dict[str, float]]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{frames}\n")
    process.stdin.flush()
    return msgspec.json.decode(process.stdout.readline(), type=dict[str, dict[str, float]])
