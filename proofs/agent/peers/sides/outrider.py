"""Ours: the agent as it is, with policy, telemetry and a broker, its engine in the same process.

Its bare run is that of the peers, the library's own call: a session of ours would hide what it costs.
"""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import cv2

from outrider_agent import logs
from outrider_agent.bench.setup import Setup
from outrider_agent.bench.sides import AgentSide, BareSide
from outrider_agent.broker import BrokerOptions
from proofs.agent.peers import onnx
from proofs.agent.peers.letterbox import letterbox
from proofs.agent.peers.seam import Task
from proofs.agent.video import frames


def start(task: Task) -> "Ours":
    """Start an agent on the bundle."""
    logs.start("error")
    setup = Setup(
        bundle=Path(task.bundle),
        images=frames(task.images),
        isolation="inline",
        threads=1,
        link=BrokerOptions(url=task.broker),
    )
    session = onnx.session(task.model)
    blob = cv2.dnn.blobFromImage(letterbox(setup.images[0]), 1.0 / 255.0, swapRB=True)
    feed = {session.get_inputs()[0].name: blob}
    return Ours(setup, lambda: session.run(None, feed))


class Ours:
    """The agent's side of its own bench, over `run`."""

    objects = None
    """What it finds it tells the broker, and who listens there."""

    def __init__(self, setup: Setup, run: Callable[[], object]) -> None:
        """Admit, load and prove the model."""
        self._running = ExitStack()
        self._agent = self._running.enter_context(AgentSide(setup))
        self._bare = BareSide(run)
        described = self._agent.described
        self.about = f"outrider, engine {described['isolation']} on {described['placement']['backend']}"

    def loop(self, frames: int) -> float:
        """See `Side`."""
        return self._agent.block(frames)

    def bare(self, frames: int) -> float:
        """See `Side`."""
        return self._bare.block(frames)

    def close(self) -> None:
        """Stop the agent; what it has counted is sent."""
        self._running.close()
