"""The whole loop's CPU time over the bare runtime's: link, policy, events and telemetry on.

Every comparison is made in several processes: where a model lies in memory makes its runs a percent faster
or slower until the process ends, and that is as much as what is looked for.
"""

import os
import statistics
import tempfile
from pathlib import Path

from msgspec import Struct

from outrider_agent.bench.compare import interleave, ratio
from outrider_agent.bench.setup import Setup
from outrider_agent.bench.sides import AgentSide, Side
from outrider_agent.broker import BrokerOptions
from outrider_agent.config import Isolation
from outrider_bundle.bars import Row
from outrider_bundle.messages.telemetry import Telemetry
from outrider_runtime.session import Array
from proofs.agent.runs import apart, bundles, say
from proofs.agent.tutorial import Tutorial
from proofs.agent.video import WORK, frames
from tests.fakes.broker import Broker, Listener

STARTS, ROUNDS, FRAMES = 3, 7, 30
IMAGES = 4
"""So many frames go round, as in the sources: no colder in the cache than one just decoded."""

TELEMETRY_S = 2.0
"""A fifth of the usual interval, since the loop rests while the others run."""

MS = 1000.0


class Case(Struct, frozen=True, kw_only=True):
    """One bar."""

    id: str
    model: str
    isolation: Isolation
    limit: float
    cores: int = 0


CASES = (
    Case(id="loop.inline.detector", model="detector", isolation="inline", limit=1.03),
    Case(id="loop.inline.mobilenet", model="mobilenet", isolation="inline", limit=1.08),
    Case(id="loop.child.detector", model="detector", isolation="child", limit=1.05),
    Case(id="loop.child.mobilenet", model="mobilenet", isolation="child", limit=1.12),
    Case(id="loop.onecore", model="detector", isolation="child", limit=1.05, cores=1),
)


def rows() -> tuple[Row, ...]:
    """Measure all cases."""
    bundles()
    return tuple(_row(case) for case in CASES)


def measured(model: str, isolation: Isolation, cores: int, url: str) -> dict[str, list[float]]:
    """Return CPU seconds of a frame by side, measured in this process, on so many cores; 0 for all."""
    if cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    images: list[Array] = [*frames(IMAGES)]
    setup = Setup(
        bundle=WORK / f"{model}.orb",
        images=images,
        isolation=isolation,
        threads=1,
        link=BrokerOptions(url=url, telemetry_interval_s=TELEMETRY_S),
    )
    with AgentSide(setup) as agent:
        control = Tutorial(model, WORK / f"{model}.onnx", images)
        sides: dict[str, Side] = {"agent": agent, "bare": agent.bare(), "tutorial": control}
        return interleave(sides, ROUNDS, FRAMES)


def _row(case: Case) -> Row:
    spent: dict[str, list[float]] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        Broker(Path(folder)) as broker,
        Listener(broker.port) as ears,
    ):
        for number in range(STARTS):
            say(f"{case.id}: process {number + 1} of {STARTS}")
            found = apart(__name__, "measured", case.model, case.isolation, case.cores, broker.url)
            spent = {side: spent.get(side, []) + times for side, times in found.items()}
        told = sum(p.frames for t in ears.messages("telemetry", Telemetry) for p in t.pipelines.values())
    over, plain = ratio(spent["agent"], spent["bare"]), ratio(spent["tutorial"], spent["bare"])
    agent_ms, bare_ms = (MS * statistics.median(spent[side]) for side in ("agent", "bare"))
    count, pinned = len(spent["agent"]), ", all on one core" if case.cores else ""
    how = (
        f"CPU time of all processes, median of {count} interleaved pairs of {FRAMES} frames of vtest.avi "
        f"in {STARTS} processes{pinned}; half of them {over.low:.3f} to {over.high:.3f}; "
        f"here {agent_ms:.2f} over {bare_ms:.2f} ms; telemetry told a broker of {told} frames; "
        f"control: a tutorial's loop {plain.median:.3f}"
    )
    value = over.median if told >= STARTS * ROUNDS * FRAMES else float("nan")
    return Row(id=case.id, value=value, sense="<=", limit=case.limit, unit="ratio", how=how)
