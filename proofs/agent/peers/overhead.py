"""The bar `peer.overhead`: CPU time that our loop adds to its bare runtime, over what the best peer adds.

Every side runs in a process of its own and is compared with its own runtime in that process. All are
started several times: where a process lies in memory makes its runs faster or slower until it ends, and a
percent of a run is as much as what is looked for.
"""

import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path

from outrider_bundle.bars import Row
from outrider_bundle.messages.event import Event
from outrider_bundle.messages.telemetry import Telemetry
from outrider_fleet.broker import Broker
from proofs.agent.peers import install
from proofs.agent.peers.measure import FRAMES, Cost, best, measure, ratio
from proofs.agent.peers.process import OURS
from proofs.agent.peers.seam import Task
from proofs.converter.runs import say
from tests.fakes.broker import Listener

PEERS = ("supervision", "ultralytics", "openvino")
CONTROL = "tutorial"
STARTS, ROUNDS = 4, 7
LEAST = 2
"""Peers that must run, or the best of them means nothing."""

LIMIT = 0.7


def rows() -> tuple[Row, ...]:
    """Install the peers, measure, print every side's figures, and return the bar."""
    with tempfile.TemporaryDirectory() as name:
        costs, missing = _measured(Path(name))
    for side in (OURS, *PEERS, CONTROL):
        say(f"peers: {side}: {_figures(costs[side]) if side in costs else 'left out: ' + missing[side]}")
    return (row(costs, missing),)


def row(costs: Mapping[str, Cost], missing: Mapping[str, str]) -> Row:
    """Return the bar; its value is not a number if we or too many peers are missing."""
    peers = {name: costs[name] for name in PEERS if name in costs}
    value, said = float("nan"), [f"{name} left out: {why}"[:200] for name, why in missing.items()]
    if OURS in costs and len(peers) >= LEAST:
        ours, first = costs[OURS], peers[best(peers)]
        value, low, high = ratio(ours.overhead_ms, first.overhead_ms)
        medians = [f"{one.about} {statistics.median(one.overhead_ms):.2f} ms" for one in peers.values()]
        said.insert(
            0,
            f"CPU of a frame over bare: ours {statistics.median(ours.overhead_ms):.2f} ms inline, "
            f"{', '.join(medians)}; over {first.about}, 95 % interval {low:.2f} to {high:.2f}; "
            f"{len(ours.loop_ms)} interleaved rounds of {FRAMES} frames, {STARTS} starts; "
            f"policy, telemetry and broker on",
        )
    return Row(id="peer.overhead", value=value, sense="<=", limit=LIMIT, unit="ratio", how="; ".join(said))


def _measured(folder: Path) -> tuple[dict[str, Cost], dict[str, str]]:
    """Return costs by side and why others are missing; a subscriber counts what ours has reported."""
    from proofs.agent.models import detector  # noqa: PLC0415 - torch; every side's process reads this module
    from proofs.agent.peers import bundle  # noqa: PLC0415

    install.install()
    model, packed = detector(), folder / "detector.orb"
    bundle.write(packed, model)
    costs: dict[str, Cost] = {}
    missing: dict[str, str] = {}
    with Broker(folder / "broker") as broker, Listener(broker.port) as listener:
        task = Task(model=str(model), bundle=str(packed), broker=broker.url)
        for number in range(STARTS):
            say(f"peers: start {number + 1} of {STARTS}, {ROUNDS} rounds")
            sides = [side for side in (OURS, *PEERS, CONTROL) if side not in missing]
            found, failed = measure(sides, task, ROUNDS)
            missing |= failed
            costs = {
                side: costs[side].joined(cost) if side in costs else cost for side, cost in found.items()
            }
        telemetry = [
            part for one in listener.messages("telemetry", Telemetry) for part in one.pipelines.values()
        ]
        decided = sum(event.kind == "decision" for event in listener.messages("events", Event))
    frames = sum(part.frames for part in telemetry)
    objects = sum(sum(part.classes.values()) for part in telemetry) / max(1, frames)
    say(
        f"peers: ours told the broker of {frames} frames with {objects:.2f} objects each in {len(telemetry)} "
        f"telemetry messages, and of {decided} decisions"
    )
    if OURS in costs and not (decided and frames >= len(costs[OURS].loop_ms) * FRAMES):
        missing[OURS] = f"the broker heard of {frames} frames and {decided} decisions: telemetry was not on"
        del costs[OURS]
    return costs, missing


def _joined(earlier: Cost | None, later: Cost) -> Cost:
    return earlier.joined(later) if earlier else later


def _figures(cost: Cost) -> str:
    """Return one line for a side."""
    over = cost.overhead_ms
    low, middle, high = statistics.quantiles(over, method="inclusive")
    bare_ms, loop_ms = statistics.median(cost.bare_ms), statistics.median(cost.loop_ms)
    objects = "" if cost.objects is None else f", {cost.objects:.2f} objects a frame"
    return (
        f"bare {bare_ms:.2f} ms, loop {loop_ms:.2f} ms, overhead {middle:.3f} ms ({low:.3f} to {high:.3f}), "
        f"{middle / bare_ms:.1%} of bare{objects} ({cost.about})"
    )
