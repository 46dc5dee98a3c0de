"""One pipeline at work: a source thread, a loop thread, and what is reported of them."""

import contextlib
import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec

from outrider_agent import parts
from outrider_agent.admission import Admitted
from outrider_agent.config import Pipeline as Config
from outrider_agent.engine import Engine, InlineEngine
from outrider_agent.events import Events, Kind
from outrider_agent.feeder import Feeder
from outrider_agent.loop import Limits, Loop, Stages
from outrider_agent.mailbox import Mailbox
from outrider_agent.parts import Part
from outrider_agent.perceiver import Perceiver
from outrider_agent.seams import Action, Context
from outrider_agent.telemetry.metrics import Totals
from outrider_bundle.errors import OutriderError
from outrider_bundle.messages.event import Event
from outrider_bundle.messages.reported import PipelineReport

JOIN_S = 5.0
MAX_REASON = 2000

log = logging.getLogger(__name__)


class Pipeline:
    """Built from an admitted bundle; `start` once, `stop` once.

    Args:
        config: its tables.
        admitted: the proven model; closed with the pipeline.
        context: for its plug-ins.
        events: where its events go.
        on_change: called from its threads when its report has changed or it has ended.

    Raises:
        OutriderError: a plug-in cannot be built.
    """

    def __init__(
        self,
        config: Config,
        admitted: Admitted,
        context: Context,
        events: Events,
        on_change: Callable[[], None],
    ) -> None:
        """Build the plug-ins and the loop; nothing runs yet."""
        self.id = config.table.id
        self.admitted = admitted
        self._events, self._on_change = events, on_change
        self._mailbox = Mailbox()
        with contextlib.ExitStack() as built:
            engine = InlineEngine(admitted.model.session)
            built.callback(engine.close)
            self._actions = _actions(config.actions, context, built)
            self._feeder = Feeder(parts.source(config.source, context), self._mailbox, self.id)
            self._loop = self._make_loop(config, engine)
            self._built = built.pop_all()
        self.placement: dict[str, Any] = msgspec.to_builtins(engine.placement)
        self._thread = threading.Thread(target=self._run, name=f"loop-{self.id}", daemon=True)
        self._state: Literal["STARTING", "RUNNING", "STOPPED"] = "STARTING"
        self._crash: OutriderError | None = None

    @property
    def finished(self) -> bool:
        """Whether it has run and does not any more."""
        return self._state == "STOPPED"

    @property
    def error(self) -> OutriderError | None:
        """Why it has ended, if that was a fault."""
        return self._crash or self._feeder.error

    @property
    def ticks(self) -> int:
        """Grows while the loop turns."""
        return self._loop.ticks

    def start(self) -> None:
        """Begin to perceive and act."""
        self._state = "RUNNING"
        self._say_phase()
        self._thread.start()
        self._feeder.start()

    def stop(self) -> None:
        """End source and loop, bring outputs to their safe state, free everything."""
        self._feeder.stop()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)
        if self._thread.is_alive():
            # A hung engine cannot be interrupted in this process; freeing it would crash.
            log.error("The loop of '%s' does not end; it is left behind", self.id)
            self._loop.make_safe()
        else:
            self._built.close()
        self._state = "STOPPED"
        self._say_phase()

    def report(self) -> PipelineReport:
        """Return what is reported of it now: DEGRADED whenever it is not as good as it could be."""
        admitted, variant = self.admitted, self.admitted.variant
        passed = [f"{one.variant} was skipped: {one.reason}" for one in admitted.skipped]
        reason = "; ".join(filter(None, [*passed, self._loop.health.reason, str(self.error or "")]))
        degraded = bool(reason) and self._state == "RUNNING"
        return PipelineReport(
            bundle=admitted.manifest.name,
            version=admitted.manifest.version,
            digest=admitted.digest,
            variant=variant.id,
            runtime=variant.runtime,
            placement=self.placement,
            state="DEGRADED" if degraded else self._state,
            reason=reason[:MAX_REASON],
        )

    def totals(self) -> Totals:
        """Return what it has counted so far."""
        return self._loop.meters.totals(self._mailbox.dropped)

    def _make_loop(self, config: Config, engine: Engine) -> Loop:
        table = config.table
        stages = Stages(
            mailbox=self._mailbox,
            perceiver=Perceiver(self.admitted.model.ports, engine, table.engine.deadline_ms / 1000.0),
            policy=parts.policy(config.policy),
            actions=self._actions,
        )
        limits = Limits(idle_s=table.idle_s, stale_s=table.stale_s)
        return Loop(self.id, stages, limits, self._emit, self._on_change)

    def _run(self) -> None:
        try:
            self._loop.run()
        except Exception as error:
            log.exception("The loop of '%s' failed", self.id)
            self._crash = OutriderError(f"The loop of '{self.id}' failed: {error!r}")
        self._state = "STOPPED"
        self._on_change()

    def _emit(self, kind: Kind, data: dict[str, Any], frame: str = "") -> Event:
        event = self._events.emit(self.id, kind, data, frame)
        self._loop.meters.events += 1
        return event

    def _say_phase(self) -> None:
        report = self.report()
        data = {"state": report.state, "variant": report.variant, "placement": report.placement}
        self._emit("phase", {**data, "reason": report.reason} if report.reason else data)


def _actions(wanted: Sequence[Part], context: Context, built: contextlib.ExitStack) -> dict[str, Action]:
    """Build all actions; each is closed with `built`. The second of a kind is called `kind-2`."""
    actions: dict[str, Action] = {}
    kinds: Counter[str] = Counter()
    for part in wanted:
        kinds[part.kind] += 1
        number = kinds[part.kind]
        action = parts.action(part, context)
        built.callback(action.close)
        actions[part.kind if number == 1 else f"{part.kind}-{number}"] = action
    return actions
