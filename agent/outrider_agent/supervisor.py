"""The agent: its link, its pipelines, and what is reported of both."""

import logging
import math
import threading
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from outrider_agent import parts
from outrider_agent.admission import admit
from outrider_agent.broker import BrokerOptions
from outrider_agent.config import Config
from outrider_agent.config import Pipeline as PipelineConfig
from outrider_agent.engine.crew import NoneProvenError
from outrider_agent.engine.order import Order, Progress, Swapped, Wish
from outrider_agent.engine.swap import swap
from outrider_agent.events import AGENT, Events
from outrider_agent.fanout import Fanout
from outrider_agent.feeder import Feeder
from outrider_agent.pipeline import Pipeline, Setting, Supply
from outrider_agent.seams import Context, NullPublisher, Publisher
from outrider_agent.summary import Skipped
from outrider_agent.telemetry.metrics import Totals
from outrider_agent.telemetry.reporter import Reporter
from outrider_bundle.errors import OutriderError, UsageError
from outrider_bundle.messages.codec import encode
from outrider_bundle.messages.reported import Reported
from outrider_bundle.messages.state import State
from outrider_bundle.topics import Topics

if TYPE_CHECKING:
    from outrider_agent.link import Change, Link

PHASE = "IDLE"
"""Of an update; without an updater there is none."""
MAX_REASON = 2000
LATE_S = 1.0
"""Telemetry so much over its time had to wait for a connection."""

log = logging.getLogger(__name__)


class Agent:
    """One run of the agent.

    Args:
        config: what to run.
        run: 16 hexadecimal digits, new for each run.
        wake: called from any thread when `tick` should be called soon.
        progress: told of each step of the start that may take long.

    Raises:
        UsageError: the link's password or certificates cannot be read.
    """

    def __init__(
        self,
        config: Config,
        run: str,
        wake: Callable[[], None] = lambda: None,
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Make the link; nothing runs yet."""
        self._config, self._wake, self._progress = config, wake, progress
        device = config.device
        self.run = run
        self.topics = Topics(device.fleet, device.id)
        self.link = self._linked(config.link) if config.link else None
        self._publisher: Publisher = self.link or NullPublisher()
        self.events = Events(run, self.topics, self._publisher)
        self.pipelines: list[Pipeline] = []
        self._feeders: dict[str, tuple[Feeder, Fanout]] = {}
        self._reporter: Reporter | None = None
        self._changed = threading.Event()
        self._ticks: dict[str, int] = {}
        self._error = ""

    @property
    def running(self) -> bool:
        """Whether any pipeline still has input."""
        return any(not pipeline.finished for pipeline in self.pipelines)

    @property
    def error(self) -> OutriderError | None:
        """The first fault that ended a pipeline."""
        return next((p.error for p in self.pipelines if p.error is not None), None)

    @property
    def telemetry_count(self) -> int:
        """How many telemetry messages were made."""
        return self._reporter.count if self._reporter else 0

    def start(self, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Connect, admit every bundle, build and start every pipeline.

        All of them start or none does. `cancelled` is asked between two bundles.

        Raises:
            OutriderError: a bundle is not admitted or a plug-in cannot be built.
        """
        if self.link:
            self.link.start()
        self.events.emit(AGENT, "phase", {"state": "STARTING", "version": version("outrider")})
        self._report()
        for config in self._config.pipelines:
            if cancelled():
                return
            self.pipelines.append(self._build(config))
            self._report()
        self._reporter = Reporter(self.run, self.totals())
        for pipeline in self.pipelines:
            pipeline.start()
        for feeder, _ in self._feeders.values():
            feeder.start()
        self.events.emit(AGENT, "phase", {"state": "RUNNING"})
        self._report()

    def tick(self) -> None:
        """Report what has changed and what is due; called by the main thread at least every second or so."""
        if self._changed.is_set():
            self._changed.clear()
            self._report()
        if self.due_s() <= 0:
            self._publish_telemetry()

    def watch(self) -> float:
        """Make outputs of hanging loops safe; return in how many seconds to call again."""
        return min((pipeline.watch() for pipeline in self.pipelines), default=math.inf)

    def due_s(self) -> float:
        """Return when the next telemetry is due, in seconds from now."""
        if self._config.link is None or self._reporter is None:
            return math.inf
        return self._config.link.telemetry_interval_s - self._reporter.age_s

    def progressed(self) -> bool:
        """Whether every loop that should run has turned since the last call."""
        before, self._ticks = self._ticks, {p.id: p.ticks for p in self.pipelines if not p.finished}
        return all(ticks != before.get(name) for name, ticks in self._ticks.items())

    def stop(self, reason: str, error: OutriderError | None = None) -> None:
        """End all pipelines, report the rest, say goodbye to the broker and why; bounded."""
        self._error = str(error or "")[:MAX_REASON]
        data = {"state": "STOPPING", "reason": reason}
        self.events.emit(AGENT, "phase", data)
        if error is not None:
            fault = {"part": "agent", "state": "failed", "reason": self._error, "exit": error.exit_code}
            self.events.emit(AGENT, "fault", fault)
        for feeder, _ in self._feeders.values():
            feeder.stop()
        for pipeline in self.pipelines:
            pipeline.stop()
        self._report()
        if self.link:
            self._publish_telemetry()
            self.link.stop(reason)

    def swap(self, pipeline: str, bundle: Path, wish: Wish, progress: Progress = lambda _: None) -> Swapped:
        """Put `bundle` in place of what `pipeline` runs, until the next start; blocks its thread.

        Raises:
            UsageError: there is no such pipeline.
            OutriderError: it was not done; the old model is at work as before.
        """
        chosen = next((p for p in self.pipelines if p.id == pipeline), None)
        if chosen is None:
            names = ", ".join(p.id for p in self.pipelines)
            raise UsageError(f"There is no pipeline '{pipeline}'", f"There are: {names}")
        table = next(c.table for c in self._config.pipelines if c.table.id == pipeline)
        admitted = admit(bundle, self._config.device, self._config.trust, table.engine, progress)
        chosen.check(admitted.manifest)
        done = swap(chosen.keeper, Order(admitted=admitted, wish=wish, progress=progress))
        self.events.emit(pipeline, "phase", {"state": "SWAPPED", **msgspec.to_builtins(done)})
        return done

    def describe(self) -> dict[str, Any]:
        """Return what `outrider agent status` shows."""
        link = "none" if self.link is None else "up" if self.link.up else "down"
        return {"run": self.run, "link": link, "pipelines": {p.id: p.describe() for p in self.pipelines}}

    def totals(self) -> dict[str, Totals]:
        """Return what each pipeline has counted so far."""
        return {pipeline.id: pipeline.totals() for pipeline in self.pipelines}

    def status(self) -> str:
        """Return one line for `systemctl status`."""
        reports = {pipeline.id: pipeline.report() for pipeline in self.pipelines}
        each = [f"{k}: {r.state} {r.variant} on {r.placement['device']}" for k, r in reports.items()]
        link = "no link" if self.link is None else "link up" if self.link.up else "link down"
        return "; ".join([*each, link])

    def _build(self, config: PipelineConfig) -> Pipeline:
        table, device = config.table, self._config.device
        setting = Setting(
            context=self._context(table.id),
            events=self.events,
            state_dir=device.state_dir,
            on_change=self._on_change,
            progress=self._progress,
        )
        trust, progress = self._config.trust, self._progress
        admitted = admit(table.bundle, device, trust, table.engine, progress)
        seconds = [admit(one.bundle, device, trust, one.engine, progress) for one in table.cascade]
        feeder, fanout = self._feed(config)
        supply = Supply(admitted=admitted, seconds=tuple(seconds), feeder=feeder, mailbox=fanout.mailbox())
        try:
            pipeline = Pipeline(config, supply, setting)
        except NoneProvenError as error:
            self._say_skipped(table.id, error.skipped)
            raise
        self._say_skipped(table.id, pipeline.keeper.crew.skipped)
        return pipeline

    def _feed(self, config: PipelineConfig) -> tuple[Feeder, Fanout]:
        """Return what reads the source of a pipeline, the same for all that share it."""
        name = config.shared or config.table.id
        key = f"shared/{name}" if config.shared else name
        if key not in self._feeders:
            source, fanout = parts.source(config.source, self._context(name)), Fanout()
            self._feeders[key] = Feeder(source, fanout, name), fanout
        return self._feeders[key]

    def _context(self, name: str) -> Context:
        return Context(pipeline=name, topics=self.topics, link=self._publisher, broker=self._config.link)

    def _say_skipped(self, pipeline: str, skipped: Sequence[Skipped]) -> None:
        for one in skipped:
            reason = one.reason[:MAX_REASON]
            data = {"part": "variant", "state": "skipped", "variant": one.variant, "reason": reason}
            self.events.emit(pipeline, "fault", data)

    def _report(self) -> None:
        reported = Reported(
            run=self.run,
            phase=PHASE,
            pipelines={pipeline.id: pipeline.report() for pipeline in self.pipelines},
            error=self._error,
        )
        self._publisher.retain(self.topics.reported, encode(reported))

    def _publish_telemetry(self) -> None:
        """End the interval; without a connection it goes on instead, so that nothing is missing later."""
        if self._reporter is None or self.link is None or not self.link.up:
            return
        overdue = self.due_s() < -LATE_S
        telemetry = self._reporter.cut(self.totals(), {p.id: p.work() for p in self.pipelines})
        # What was measured while the broker was away is worth an acknowledgement, the latest is not.
        self._publisher.publish(self.topics.telemetry, encode(telemetry), qos=1 if overdue else 0)

    def _linked(self, options: BrokerOptions) -> "Link":
        from outrider_agent.link import Link  # noqa: PLC0415 - 10 MB of a library that only a link needs

        return Link(options, self.topics, self._birth(), self._on_link)

    def _birth(self) -> State:
        device = self._config.device
        return State(
            status="online",
            run=self.run,
            version=version("outrider"),
            app=device.app,
            hardware=device.hardware,
        )

    def _on_change(self) -> None:
        self._changed.set()
        self._wake()

    def _on_link(self, change: "Change", reason: str) -> None:
        self.events.emit(AGENT, "fault", {"part": "link", "state": change, "reason": reason})
