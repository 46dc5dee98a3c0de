"""Crashes and lost events on a full disk, on which nobody makes room for an hour.

The agent's state is on a disk of its own. The broker ends, another program fills the disk to the last byte
and takes whatever room comes free, and the agent goes on; now and then it is killed with SIGKILL and starts
again on the full disk. Then the broker comes back. Told by the events' numbers, as in `outbox_lost`; other
messages may go, events may not.
"""

import tempfile
from pathlib import Path

from outrider_bundle.bars import Row
from outrider_bundle.errors import OutriderError
from outrider_bundle.messages.event import Event
from proofs.agent.runs import say
from proofs.daemon import disk
from proofs.daemon.device import HOUR, Device, Run, decides, lost
from proofs.daemon.ledger import Ledger
from proofs.loop.agents import scaled
from tests.fakes.broker import Broker, Listener

SIZE = 48 << 20
"""Of the disk: less than the outbox may take, so that no cap of its own keeps it from being full."""

BEFORE, END_S = 300, 10.0
KILLS = 2
"""After a third the agent would begin in safe mode, without its loop."""


def rows() -> tuple[Row, ...]:
    """Measure it."""
    if why := disk.missing():
        how = f"NOT MEASURED, there is no such disk here: {why}"
        return (Row(id="outbox.full", value=None, sense="==", limit=0, unit="events", how=how),)
    disk.alone()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            disk.Disk(folder / "small", SIZE) as small,
            Broker(folder / "broker") as broker,
            Listener(broker.port) as ears,
        ):
            runs, crashes = _hour(Device(folder, broker.url, small.path / "state"), small, broker, ears)
            missing = lost(ears, runs, END_S)
            ledger = Ledger.of(ears.messages("events", Event))
    how = (
        f"{crashes} crashes, {missing} of {ledger.unique + missing} events lost; ext4 of {SIZE >> 20} MB, "
        f"which another program fills to the last byte and keeps full while the broker is away, through "
        f"{scaled(HOUR)} events; {KILLS} times kill -9 and a start on the full disk"
    )
    return (Row(id="outbox.full", value=crashes + missing, sense="==", limit=0, unit="events", how=how),)


def _hour(device: Device, small: disk.Disk, broker: Broker, ears: Listener) -> tuple[list[Run], int]:
    """Live through it; return the runs of the agent, and how often it ended by itself."""
    before, part = scaled(BEFORE), scaled(HOUR) // (KILLS + 1)
    runs: list[Run] = []
    with device.agent() as agent:
        decides(agent, before)
        broker.stop()
        decides(agent, 2 * before)
        with disk.Neighbour(small):
            say(f"outbox_full: the disk is full, {small.free} bytes are free")
            try:
                decides(agent, 2 * before + part)
                runs.append(device.kill(agent))
                runs += [_again(device, part) for _ in range(KILLS - 1)]
                runs.append(_at_last(device, broker, ears, runs, part))
            except (OutriderError, RuntimeError) as error:
                say(f"outbox_full: {error}")
                return runs, 1
    return runs, 0


def _again(device: Device, count: int) -> Run:
    """Start on the full disk, and end by SIGKILL."""
    with device.agent() as agent:
        decides(agent, count)
        return device.kill(agent)


def _at_last(device: Device, broker: Broker, ears: Listener, runs: list[Run], count: int) -> Run:
    """Start on the full disk, and deliver all over a broker that comes back; the disk stays full."""
    with device.agent() as agent:
        decides(agent, count)
        broker.start()
        lost(ears, [*runs, device.run()])
        summary = agent.stop()
    return Run(summary["run"], summary["events"])
