"""Events lost and events doubled when the broker is away through an hour, told by their numbers.

While the broker is away the agent is killed once with SIGKILL; when it is back, in the middle of the replay,
it is killed again and then the broker ends once more. The receiver's session outlives all that, at QoS 1.
"""

import tempfile
from pathlib import Path

from outrider_bundle.bars import Row
from outrider_bundle.messages.event import Event
from outrider_bundle.messages.telemetry import Telemetry
from proofs.agent.runs import say
from proofs.daemon.device import HOUR, SETTLED_S, SPEED, Device, Run, decides, lost, more
from proofs.daemon.ledger import Ledger
from proofs.loop.agents import scaled
from tests.fakes.broker import Broker, Listener

BEFORE, AFTER = 300, 300
"""Decisions while the broker is there: at first, and after its return."""

REPLAYED = 1000
"""So many messages after the broker's return the replay is interrupted."""

END_S = 10.0


def rows() -> tuple[Row, ...]:
    """Measure both in one go."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Broker(folder / "broker") as broker, Listener(broker.port) as ears:
            runs = _hour(Device(folder, broker.url, folder / "state"), broker, ears)
            missing = lost(ears, runs, END_S)
            ledger = Ledger.of(ears.messages("events", Event))
            reports = len(ears.messages("telemetry", Telemetry))
    how = (
        f"{ledger.unique} events of {len(runs)} runs by their numbers at a receiver over a real mosquitto; "
        f"away through {scaled(HOUR)} of them, at {SPEED:g} a second for one; kill -9 of the agent meanwhile "
        f"and in the replay, broker ended again in the replay; {reports} telemetry aggregates arrived; lost "
        f"is every gap, and in killed runs what was decided {SETTLED_S:g} s before the end"
    )
    again = ledger.received - ledger.unique
    twice = (
        f"the same run, by (run, seq): {ledger.received} received, {again} of them again, as at least once "
        f"allows; left: one number with two contents, or one content under two numbers"
    )
    return (
        Row(id="outbox.lost", value=missing, sense="==", limit=0, unit="events", how=how),
        Row(id="outbox.dups", value=ledger.doubled, sense="==", limit=0, unit="events", how=twice),
    )


def _hour(device: Device, broker: Broker, ears: Listener) -> list[Run]:
    """Live through it; return the runs of the agent."""
    before, half = scaled(BEFORE), scaled(HOUR) // 2
    with device.agent() as agent:
        decides(agent, before)
        broker.stop()
        decides(agent, before + half)
        runs = [device.kill(agent)]
    with device.agent() as agent:
        decides(agent, half)
        say(f"outbox_lost: the broker comes back after {len(ears.heard)} messages")
        broker.start()
        more(ears, scaled(REPLAYED))
        runs.append(device.kill(agent))
    with device.agent() as agent:
        more(ears, scaled(REPLAYED) // 2)
        broker.stop()
        decides(agent, scaled(AFTER))
        broker.start()
        lost(ears, [*runs, device.run()])  # the replay takes its time
        summary = agent.stop()
    return [*runs, Run(summary["run"], summary["events"])]
