"""A device whose time is compressed: an agent in a process of its own, and what a receiver must get from it.

What happens in a second here happens in a hundred on a device that decides once a second. The bundle passes
8x8 pictures through without a library, so that the agent's own work is what keeps it busy.
"""

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from outrider_agent.control.client import ask
from outrider_bundle.messages.event import Event
from proofs.agent.runs import say
from proofs.daemon.ledger import Ledger
from proofs.loop.agents import PIPELINE, Agent, document
from tests.fakes import null_bundle
from tests.fakes.broker import Listener

SPEED = 100.0
"""Seconds of a device's life in one of the proof."""

HOUR = 3600
"""Decisions of an hour, at one a second."""

TELEMETRY_S, RETRY_S, REPLAY_PER_S = 10.0, 30.0, 1000
SETTLED_S = 0.5
"""What was decided so long before a SIGKILL must arrive; the youngest may still have been in memory."""

PATIENCE_S, TURN_S, POLL_S = 90.0, 0.5, 0.05
APP = "sorting"


class Run(Struct, frozen=True):
    """A run of the agent, and how many of its events must arrive at least."""

    id: str
    least: int


class Device:
    """The device, which is an agent now and then.

    Args:
        folder: private to it.
        url: of its broker.
        state_dir: of its agent.
    """

    def __init__(self, folder: Path, url: str, state_dir: Path) -> None:
        """Write its bundle, its pictures and its configuration."""
        self._folder, self._state_dir = folder, state_dir
        null_bundle.write(folder / "sorter.orb")
        null_bundle.write_images(folder / "images", 7)
        pipeline = {
            "bundle": folder / "sorter.orb",
            "source": {"kind": "images", "path": folder / "images", "fps": SPEED, "loop": True},
            "engine": {"isolation": "inline"},
        }
        link = {
            "url": url,
            "telemetry_interval_s": TELEMETRY_S / SPEED,
            "retry_s": RETRY_S / SPEED,
            "replay_per_s": REPLAY_PER_S,
        }
        written = document(folder, [pipeline], APP, link=link)
        written["device"] |= {"hardware": "bench", "state_dir": state_dir}
        self._written = written

    def agent(self) -> Agent:
        """Return the next agent, which starts with the block."""
        return Agent(self._folder, self._written)

    def run(self) -> Run:
        """Return the run of the agent that is at work, as far as it has come.

        Raises:
            OutriderError: it does not answer.
        """
        status = ask(self._state_dir, {"command": "status"})
        return Run(status["run"], status["pipelines"][PIPELINE]["frames"])

    def kill(self, agent: Agent) -> Run:
        """Kill the agent by SIGKILL; what it had done a moment before must arrive."""
        run = self.run()
        time.sleep(SETTLED_S)
        os.kill(agent.pid, signal.SIGKILL)
        say(f"killed the run {run.id} after {run.least} decisions")
        return run


def decides(agent: Agent, count: int) -> None:
    """Wait until the agent has decided `count` times in all; it does on each frame.

    Raises:
        RuntimeError: it does not come to that.
    """
    agent.until(_decided(count), timeout_s=PATIENCE_S + count / SPEED)


def more(ears: Listener, count: int) -> None:
    """Wait for `count` more messages.

    Raises:
        RuntimeError: they do not come.
    """
    wanted, end_s = len(ears.heard) + count, time.monotonic() + PATIENCE_S
    while len(ears.heard) < wanted:
        if time.monotonic() > end_s:
            raise RuntimeError(f"{len(ears.heard)} of {wanted} messages came within {PATIENCE_S:g} s")
        time.sleep(POLL_S)


def lost(ears: Listener, runs: Sequence[Run], wait_s: float = PATIENCE_S) -> int:
    """Return how many events of `runs` are missing; they have `wait_s` to come."""
    end_s = time.monotonic() + wait_s
    while True:
        ledger = Ledger.of(ears.messages("events", Event))
        missing = sum(ledger.missing(run.id, run.least) for run in runs)
        if not missing or time.monotonic() > end_s:
            return missing
        time.sleep(TURN_S)


def _decided(count: int) -> Callable[[dict[str, Any]], bool]:
    return lambda status: status.get("frames", 0) >= count
