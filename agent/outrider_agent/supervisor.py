"""The agent: its link, its pipelines, and what is reported of both."""

import logging
import math
import threading
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from outrider_agent.admission import admit
from outrider_agent.assembly import Around, Assembly
from outrider_agent.broker import BrokerOptions
from outrider_agent.config import Config
from outrider_agent.discovery.options import MEMORY
from outrider_agent.engine.order import Order, Progress, Swapped, Wish
from outrider_agent.engine.swap import swap
from outrider_agent.events import AGENT, Events
from outrider_agent.pipeline import Pipeline
from outrider_agent.pulse import Pulse
from outrider_agent.seams import Context, NullPublisher, Publisher
from outrider_agent.telemetry.board import Board
from outrider_agent.telemetry.metrics import Totals
from outrider_agent.telemetry.reporter import Reporter, way
from outrider_bundle.errors import OutriderError, UsageError
from outrider_bundle.messages.codec import encode
from outrider_bundle.messages.reported import Reported
from outrider_bundle.messages.state import State
from outrider_bundle.topics import Topics

if TYPE_CHECKING:
    from outrider_agent.discovery.announcer import Announcer
    from outrider_agent.link import Change, Link

PHASE = "IDLE"
"""Of an update; without an updater there is none."""
SAFE_MODE = "SAFE_MODE"
"""In its place where the loop does not run."""
MAX_REASON = 2000

log = logging.getLogger(__name__)


class Agent:
    """One run of the agent.

    Args:
        config: what to run.
        run: 16 hexadecimal digits, new for each run.
        wake: called from any thread when `tick` should be called soon.
        progress: told of each step of the start that may take long.
        safe: why no pipeline runs, in safe mode.

    Raises:
        UsageError: the link's password or certificates cannot be read.
    """

    def __init__(
        self,
        config: Config,
        run: str,
        wake: Callable[[], None] = lambda: None,
        progress: Callable[[str], None] = lambda _: None,
        safe: str = "",
    ) -> None:
        """Make the link; nothing runs yet."""
        self._config = replace(config, pipelines=()) if safe else config
        self._wake, self._progress, self._safe = wake, progress, safe
        device = config.device
        self.run = run
        self.topics = Topics(device.fleet, device.id)
        self.link = self._linked(config.link) if config.link else None
        self._publisher: Publisher = self.link or NullPublisher()
        self._announcer = self._announcing()
        self.events = Events(run, self.topics, self._publisher)
        self.pipelines: list[Pipeline] = []
        self._assembly = Assembly(self._config, self._around(self._progress))
        self._reporter: Reporter | None = None
        self._changed = threading.Event()
        self._pulse = Pulse()
        self._alone = threading.Lock()
        self._switching = self._ended = False
        self.note = ""
        """What else the status says, such as why a reload was refused."""
        self._error = safe

    @property
    def config(self) -> Config:
        """What runs."""
        return self._config

    @property
    def running(self) -> bool:
        """Whether any pipeline still has input, or none is to run."""
        idle = not self._safe and all(pipeline.finished for pipeline in self.pipelines)
        return self._switching or not idle

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
        if self._announcer:
            self._announcer.start()
        if self.link:
            self.link.start()
        self.events.emit(AGENT, "phase", {"state": "STARTING", "version": version("outrider")})
        self._report()
        for config in self._config.pipelines:
            if cancelled():
                return
            assembly = self._assembly
            self.pipelines.append(assembly.build(config, assembly.admit(config)))
            self._report()
        self._reporter = Reporter(self.run, self.totals(), self._config.device.state_dir)
        self._assembly.begin()
        state = {"state": SAFE_MODE, "reason": self._safe} if self._safe else {"state": "RUNNING"}
        self.events.emit(AGENT, "phase", state)
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
        """Whether every loop that should run turns, by its own pace."""
        return self._pulse.beats(self.pipelines)

    def stop(self, reason: str, error: OutriderError | None = None) -> None:
        """End all pipelines, report the rest, say goodbye to the broker and why; bounded."""
        if self._announcer:
            self._announcer.stop()
        self._error = str(error or self._safe)[:MAX_REASON]
        data = {"state": "STOPPING", "reason": reason}
        self.events.emit(AGENT, "phase", data)
        if error is not None:
            fault = {"part": "agent", "state": "failed", "reason": self._error, "exit": error.exit_code}
            self.events.emit(AGENT, "fault", fault)
        with self._alone:  # a switch is short, and ends well
            self._ended = True
            self._assembly.end()
        self._report()
        if self.link:
            self._publish_telemetry()
            self.link.stop(reason)

    def poke(self) -> None:
        """Have the main thread look at the status soon."""
        self._wake()

    def beside(self, config: Config, progress: Progress) -> Assembly:
        """Return an assembly of `config`, with nothing built yet, that can take from what runs."""
        return Assembly(config, self._around(progress), self._assembly)

    def switch(self, assembly: Assembly) -> None:
        """Let an assembly that was made beside what runs take its place; what both have goes on.

        Raises:
            OutriderError: the agent stops; nothing was done.
        """
        with self._alone:
            if self._ended:
                raise OutriderError("The agent stops")
            self._switching = True
            try:
                assembly.end_former()
                self._config, self._assembly, self.pipelines = assembly.config, assembly, assembly.pipelines
                assembly.begin()
            finally:
                self._switching = False
        self._on_change()

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
        return {
            "run": self.run,
            "link": link,
            "phase": SAFE_MODE if self._safe else PHASE,
            "reason": "; ".join(filter(None, [self._safe, self.note])),
            "pipelines": {p.id: p.describe() for p in self.pipelines},
        }

    def totals(self) -> dict[str, Totals]:
        """Return what each pipeline has counted so far."""
        return {pipeline.id: pipeline.totals() for pipeline in self.pipelines}

    def status(self) -> str:
        """Return one line for `systemctl status`."""
        reports = {pipeline.id: pipeline.report() for pipeline in self.pipelines}
        each = [f"{k}: {r.state} {r.variant} on {r.placement['device']}" for k, r in reports.items()]
        link = "no link" if self.link is None else "link up" if self.link.up else "link down"
        safe = [f"safe mode: {self._safe}"] if self._safe else []
        return "; ".join([*safe, *each, link, *([self.note] if self.note else [])])

    def _around(self, progress: Progress) -> Around:
        return Around(context=self._context, events=self.events, on_change=self._on_change, progress=progress)

    def _context(self, name: str) -> Context:
        return Context(pipeline=name, topics=self.topics, link=self._publisher, broker=self._config.link)

    def _report(self) -> None:
        reported = Reported(
            run=self.run,
            phase=SAFE_MODE if self._safe else PHASE,
            pipelines={pipeline.id: pipeline.report() for pipeline in self.pipelines},
            error=self._error,
        )
        self._publisher.retain(self.topics.reported, encode(reported))
        if self._announcer and self._reporter:  # from then on all pipelines are there
            from outrider_agent.discovery.entities import subject  # noqa: PLC0415 - the announcer has it already

            self._announcer.update([subject(p.id, p.mounted.admitted.manifest) for p in self.pipelines])

    def _publish_telemetry(self) -> None:
        """End the interval and tell of it; what is told while the broker is away waits in the outbox."""
        if self._reporter is None or self.link is None:
            return
        works = {p.id: p.work() for p in self.pipelines}
        telemetry = self._reporter.cut(self.totals(), works, way(self.link.counts, self.link.stored))
        self._publisher.publish(self.topics.telemetry, encode(telemetry), qos=0 if self.link.up else 1)

    def _linked(self, options: BrokerOptions) -> "Link":
        from outrider_agent.link import Link  # noqa: PLC0415 - 10 MB of a library that only a link needs

        folder = self._config.device.state_dir / "outbox"
        return Link(options, self.topics, self._birth(), self._on_link, folder)

    def _announcing(self) -> "Announcer | None":
        """Return who tells Home Assistant of this device; in safe mode what it was told still stands."""
        link, device, discovery = self._config.link, self._config.device, self._config.discovery
        if self.link is None or link is None or self._safe:
            return None
        if discovery is None and not (device.state_dir / MEMORY).exists():  # nor is there to take back
            return None
        from outrider_agent.discovery.announcer import About, Announcer  # noqa: PLC0415 - few have it

        about = About(
            topics=self.topics,
            hardware=device.hardware,
            interval_s=link.telemetry_interval_s,
            birth=encode(self._birth()),
            state_dir=device.state_dir,
            thermal=discovery is not None and Board(device.state_dir).read().temperature_c is not None,
        )
        return Announcer(discovery, about, self.link)

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
