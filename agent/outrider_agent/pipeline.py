"""One pipeline at work: a source thread, a loop thread, and what is reported of them."""

import contextlib
import logging
import math
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from outrider_agent import parts
from outrider_agent.acting import Outputs
from outrider_agent.admission import Admitted
from outrider_agent.config import Pipeline as Config
from outrider_agent.config import PipelineTable
from outrider_agent.crash import CrashError
from outrider_agent.engine.keeper import Keeper, News
from outrider_agent.engine.mount import Mounted
from outrider_agent.events import Events, Kind
from outrider_agent.feeder import Feeder
from outrider_agent.loop import Limits, Loop, Stages
from outrider_agent.mailbox import Mailbox
from outrider_agent.models import Models, described
from outrider_agent.parts import Part
from outrider_agent.seams import Action, Context, Policy
from outrider_agent.tap import Taps
from outrider_agent.telemetry.metrics import NS_PER_MS, Totals, Work
from outrider_bundle.errors import OutriderError
from outrider_bundle.manifest import Manifest
from outrider_bundle.messages.event import Event
from outrider_bundle.messages.reported import PipelineReport
from outrider_bundle.messages.telemetry import ShadowMetrics

JOIN_S = 5.0
MAX_REASON = 2000

log = logging.getLogger(__name__)


class Setting(Struct, frozen=True, kw_only=True):
    """What is around a pipeline.

    Args:
        context: what its plug-ins may know.
        events: where its events go.
        state_dir: where it may keep files.
        on_change: called from its threads when its report has changed or it has ended.
        progress: told of each step that may take long.
    """

    context: Context
    events: Events
    state_dir: Path
    on_change: Callable[[], None]
    progress: Callable[[str], None] = lambda _: None


class Supply(Struct, frozen=True, kw_only=True):
    """What a pipeline works with: bundles that may run, and the frames of its source.

    Args:
        admitted: its bundle.
        seconds: those of its cascade, in order.
        feeder: reads the source; whoever made it starts and stops it.
        mailbox: where this pipeline finds the frames.
        actions: by name, that a running pipeline has and this one takes over when it starts.
    """

    admitted: Admitted
    seconds: tuple[Admitted, ...] = ()
    feeder: Feeder
    mailbox: Mailbox
    actions: Mapping[str, Action] = {}


class Pipeline:
    """Built from admitted bundles; `start` once, `stop` once.

    Args:
        config: its tables.
        supply: bundles and frames; the models are loaded and proven here.
        setting: what is around it.

    Raises:
        NoneProvenError: no variant of a bundle can be run here.
        OutriderError: a plug-in cannot be built.
    """

    def __init__(self, config: Config, supply: Supply, setting: Setting) -> None:
        """Load the models, build the plug-ins and the loop; nothing runs yet."""
        self.id = config.table.id
        self.patience_s = _patience_s(config.table)
        self._events, self._on_change = setting.events, setting.on_change
        self._supply = supply
        self._models = Models(config.table, supply.admitted, supply.seconds, setting.state_dir, self._news)
        self._state: Literal["STARTING", "RUNNING", "STOPPED"] = "STARTING"
        self._crash: OutriderError | None = None
        self._counting = threading.Lock()
        with contextlib.ExitStack() as built:
            built.callback(self._models.stop)
            self._models.open(setting.progress)
            policy = parts.policy(config.policy)
            self._outputs = Outputs(self.id)
            built.callback(self._outputs.close)
            # The last that may fail: some take hold of outputs.
            self._outputs.build(config.actions, setting.context, supply.actions)
            self._loop = self._make_loop(config.table, policy)
            self._built = built.pop_all()
        self._thread = threading.Thread(target=self._run, name=f"loop-{self.id}", daemon=True)

    @property
    def keeper(self) -> Keeper:
        """Who keeps the model that sees frames."""
        return self._models.keeper

    @property
    def taps(self) -> Taps:
        """Who looks over the loop's shoulder."""
        return self._loop.taps

    @property
    def finished(self) -> bool:
        """Whether it has run and does not any more."""
        return self._state == "STOPPED"

    @property
    def error(self) -> OutriderError | None:
        """Why it has ended, if that was a fault."""
        return self._crash or self._supply.feeder.error

    @property
    def given(self) -> Collection[str]:
        """Actions that it takes over from the pipeline before it."""
        return self._supply.actions.keys()

    def actions_like(self, wanted: Sequence[Part]) -> dict[str, Action]:
        """Return the actions that are as they are `wanted`, by name."""
        return self._outputs.like(wanted)

    @property
    def ticks(self) -> int:
        """Grows while the loop turns."""
        return self._loop.ticks

    @property
    def mounted(self) -> Mounted:
        """The model at work, or the last that was."""
        return self._models.first

    @property
    def placement(self) -> dict[str, Any]:
        """Where the model really runs."""
        return described(self.mounted.engine.placement)

    def check(self, manifest: Manifest) -> None:
        """Check that a bundle can take the place of the one that sees frames.

        Raises:
            IncompatibleError: the cascade behind it could not work with it.
        """
        self._models.check(manifest)

    def start(self) -> None:
        """Begin to perceive and act."""
        self._state = "RUNNING"
        self._say_phase("")
        self._outputs.own()
        self._models.start()
        self._thread.start()

    def watch(self) -> float:
        """Make outputs of a hanging loop safe; return after how many seconds to look again."""
        if self._state != "RUNNING":
            return math.inf
        self._loop.watch()
        return self._loop.stale_in_s()

    def discard(self) -> None:
        """Free what was built, if it does not start after all."""
        self._built.close()

    def stop(self, leaving: Collection[str] = ()) -> None:
        """End the loop, bring outputs to their safe state, free everything; the source is ended before.

        Args:
            leaving: actions that a successor goes on with; they are made safe and not closed.
        """
        self._outputs.leave(leaving)
        self._loop.end()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)
        if self._thread.is_alive():
            # A model that hangs in this process cannot be interrupted; freeing it would crash.
            log.error("The loop of '%s' does not end; it is left behind", self.id)
            self._loop.make_safe()
            self._outputs.close()  # waits for what works behind a queue, and takes no further decision
        else:
            self._built.close()
        self._state = "STOPPED"
        self._say_phase("")

    def report(self) -> PipelineReport:
        """Return what is reported of it now: DEGRADED whenever it is not as good as it could be."""
        mounted = self.mounted
        reason = "; ".join(
            filter(None, [self._models.reason, self._loop.health.reason, str(self.error or "")])
        )
        degraded = bool(reason) and self._state == "RUNNING"
        manifest = mounted.admitted.manifest
        return PipelineReport(
            bundle=manifest.name,
            version=manifest.version,
            digest=mounted.admitted.slot.digest,
            variant=mounted.variant.id,
            runtime=mounted.variant.runtime,
            isolation=mounted.isolation,
            placement=self.placement,
            cascade=self._models.report(),
            state="DEGRADED" if degraded else self._state,
            reason=reason[:MAX_REASON],
        )

    def describe(self) -> dict[str, Any]:
        """Return the report with counts, for a person who asks."""
        totals, shadow = self.totals(), self.keeper.seat.shadow
        p50_ns, p99_ns = totals.stages["loop"].quantiles(0.5, 0.99)
        return {
            **msgspec.to_builtins(self.report()),
            "pid": self.mounted.engine.pid,
            "frames": totals.frames,
            "dropped": totals.dropped,
            "late": totals.late,
            "errors": totals.errors,
            "restarts": self._models.restarts,
            "p50_ms": p50_ns / NS_PER_MS,
            "p99_ms": p99_ns / NS_PER_MS,
            "shadow": msgspec.to_builtins(shadow.record()) if shadow else None,
        }

    def work(self) -> Work:
        """Return what it computes with now, for telemetry."""
        mounted, shadow = self.mounted, self.keeper.seat.shadow
        placement = mounted.engine.placement
        return Work(
            pid=mounted.engine.pid if mounted.isolation == "child" else 0,
            variant=mounted.variant.id,
            backend=placement.backend,
            nodes=placement.nodes,
            restarts=self._models.restarts,
            shadow=ShadowMetrics(**msgspec.to_builtins(shadow.record())) if shadow else None,
        )

    def totals(self) -> Totals:
        """Return what it has counted so far."""
        return self._loop.meters.totals(self._supply.mailbox.dropped)

    def _make_loop(self, table: PipelineTable, policy: Policy) -> Loop:
        stages = Stages(
            mailbox=self._supply.mailbox,
            perceiver=self._models.sight(),
            policy=policy,
            actions=self._outputs.actions,
        )
        limits = Limits(idle_s=table.idle_s, stale_s=table.stale_s)
        return Loop(self.id, stages, limits, self._publish, self._on_change)

    def _run(self) -> None:
        try:
            self._loop.run()
        except Exception as error:
            log.exception("The loop of '%s' failed", self.id)
            self._crash = CrashError(f"The loop of '{self.id}' failed: {error!r}")
        self._supply.mailbox.abandon()  # others may share its source, which waits for its frames
        self._state = "STOPPED"
        self._on_change()

    def _publish(self, kind: Kind, data: dict[str, Any], frame: str = "") -> Event:
        event = self._events.emit(self.id, kind, data, frame)
        with self._counting:  # the loop and the keeper both say something
            self._loop.meters.events += 1
        return event

    def _news(self, news: News, why: str) -> None:
        """Say what the keeper has done; before `start` nobody need be told."""
        if self._state != "RUNNING":
            return
        if news in {"loaded", "vacated"}:
            self._say_phase(why)
        else:
            self._publish("fault", {"part": "model", "state": news, "reason": why[:MAX_REASON]})
        self._on_change()

    def _say_phase(self, why: str) -> None:
        report = self.report()
        data = {"state": report.state, "variant": report.variant, "placement": report.placement}
        reason = "; ".join(filter(None, [why, report.reason]))
        self._publish("phase", {**data, "reason": reason[:MAX_REASON]} if reason else data)


def _patience_s(table: PipelineTable) -> float:
    """Return how long a turn of the loop may take: it waits for a model, a frame, and answers to it."""
    answers_ms = sum(one.most * one.engine.deadline_ms for one in table.cascade)
    return 2 * table.idle_s + (table.engine.deadline_ms + answers_ms) / 1000.0
