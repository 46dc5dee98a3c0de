"""The two sides of the comparison: the agent with all it does, and the runtime with nothing around it."""

import os
import secrets
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from outrider_agent.admission import SLOTS
from outrider_agent.bench.bare import Run, bare
from outrider_agent.bench.clock import Clock
from outrider_agent.bench.feed import Feed
from outrider_agent.bench.setup import PIPELINE, Setup, configure
from outrider_agent.engine.mount import options
from outrider_agent.serving import TURN_S
from outrider_agent.supervisor import Agent
from outrider_bundle.container import Bundle
from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import Manifest, Variant
from outrider_bundle.slot import Slot
from outrider_runtime.preprocess import preprocessor
from outrider_runtime.session import empty

POLL_S = 0.001
PATIENCE_S = 600.0
"""For one block; slower models are measured with fewer frames."""


class Side(Protocol):
    """One side of a comparison."""

    def block(self, frames: int) -> float:
        """Run `frames` and return the CPU seconds of one."""
        ...


class AgentSide:
    """A real agent on frames in memory: mailbox, preprocessing, engine, decoder, policy, telemetry, link.

    Args:
        setup: what to run.

    Raises:
        BundleError: the bundle is broken.
    """

    def __init__(self, setup: Setup) -> None:
        """Read the manifest; nothing runs yet."""
        with Bundle.open(setup.bundle) as bundle:
            self.manifest: Manifest = bundle.manifest
            self._digest = bundle.digest
        self._setup, self._feed = setup, Feed(setup.images)
        self._folder = tempfile.TemporaryDirectory(prefix="outrider-bench-")
        self._config = configure(setup, self.manifest, self._feed, Path(self._folder.name))
        self._agent = Agent(self._config, secrets.token_hex(8))
        self._clock = Clock(os.getpid(), os.getpid())

    def __enter__(self) -> Self:
        """Admit the bundle, load and prove the model, start the loop.

        Raises:
            OutriderError: no variant proves itself, or something else is in the way.
        """
        try:
            self._agent.start()
        except BaseException:
            self._end()
            raise
        self._clock = Clock(int(self.described["pid"]), os.getpid())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the agent and remove what it wrote."""
        self._end()

    @property
    def described(self) -> Mapping[str, Any]:
        """What the agent says of its pipeline."""
        pipelines: Mapping[str, Mapping[str, Any]] = self._agent.describe()["pipelines"]
        return pipelines[PIPELINE]

    @property
    def variant(self) -> Variant:
        """The variant that runs."""
        return self.manifest.variant(str(self.described["variant"]))

    def block(self, frames: int) -> float:
        """Let `frames` go through the loop, as fast as it takes them, and return the CPU seconds of one.

        Raises:
            EngineError: the loop failed on one of them or does not end, or the engine was replaced.
        """
        before = self._spoiled()
        pipeline = self._agent.pipelines[0]
        ticks = pipeline.ticks
        self._feed.begin(frames, self._clock.read_s)
        until_s = time.monotonic() + PATIENCE_S
        while not self._feed.wait(TURN_S):
            self._agent.watch()
            self._agent.tick()
            if time.monotonic() > until_s or pipeline.finished:
                raise EngineError("The agent's loop does not take frames", str(self.described["reason"]))
        if self._feed.error is not None:
            raise self._feed.error
        while pipeline.ticks <= ticks + frames and time.monotonic() < until_s:
            time.sleep(POLL_S)  # the last frame still runs, and must not run beside the other side
        if self._spoiled() != before:
            raise EngineError("The agent's loop failed on frames", str(self.described["reason"]))
        return self._feed.spent_s / frames

    def bare(self) -> "BareSide":
        """Return the other side: the same variant with the same options.

        Raises:
            EngineError: it cannot be loaded.
        """
        slot = Slot.open(Path(self._folder.name) / SLOTS / self._digest)
        table, variant = self._config.pipelines[0].table.engine, self.variant
        asked = options(variant, table, self._config.device.state_dir)
        inputs = [empty(tensor) for tensor in variant.inputs]
        writer = preprocessor(self.manifest.inputs[0], variant.inputs[0])
        writer.write(np.ascontiguousarray(self._setup.images[0]), inputs[0])
        return BareSide(bare(variant, slot.files(variant.id), asked, inputs))

    def _spoiled(self) -> int:
        totals = self._agent.totals()[PIPELINE]
        return totals.errors + totals.late + totals.dropped

    def _end(self) -> None:
        try:
            self._agent.stop("measured")
        finally:
            self._folder.cleanup()


class BareSide:
    """A runtime on an input that does not change."""

    def __init__(self, run: Run) -> None:
        """Hold one call of the library."""
        self._run = run

    def block(self, frames: int) -> float:
        """Run `frames` times and return the CPU seconds of one."""
        run, start_s = self._run, time.process_time()
        for _ in range(frames):
            run()
        return (time.process_time() - start_s) / frames
