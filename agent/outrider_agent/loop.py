"""The perception-action loop of one pipeline: take, perceive, decide, act.

Runs in a thread of its own and never waits for anything but a frame (bounded) and the engine
(bounded by its deadline). A wait that ends without a frame is progress too: the watchdog is fed by
`ticks`, and an idle camera is no reason to restart.
"""

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from time import monotonic_ns
from typing import Any, Protocol

from msgspec import Struct

from outrider_agent.engine.seam import GoneError
from outrider_agent.events import Kind
from outrider_agent.health import Health
from outrider_agent.mailbox import Mailbox
from outrider_agent.perceiver import LateError
from outrider_agent.seams import Action, Decision, Frame, Policy
from outrider_agent.tap import Taps, View
from outrider_agent.telemetry.metrics import Meters
from outrider_bundle.errors import OutriderError
from outrider_bundle.messages.event import Event
from outrider_runtime.perception import Perception

NS = 1_000_000_000
MAX_REASON = 1000


class Emit(Protocol):
    """Publishes an event of this pipeline."""

    def __call__(self, kind: Kind, data: dict[str, Any], frame: str = "") -> Event:
        """Return the event as it was numbered."""
        ...


class Sight(Protocol):
    """Perceives; see `Perceiver`, and `Cascade` for several models in a row."""

    def ready(self, wait_s: float) -> bool:
        """Return whether there is a model, waiting up to `wait_s` for one."""
        ...

    def perceive(self, frame: Frame, meters: Meters, begun_ns: int) -> Perception:
        """Return what is seen in `frame`, which is released."""
        ...


class Stages(Struct, frozen=True, kw_only=True):
    """What a frame goes through, in order; actions by name."""

    mailbox: Mailbox
    perceiver: Sight
    policy: Policy
    actions: Mapping[str, Action]


class Limits(Struct, frozen=True, kw_only=True):
    """Seconds.

    Args:
        idle_s: how long a frame is waited for at a time.
        stale_s: when the last perception is older, actions go to their safe state.
    """

    idle_s: float
    stale_s: float


class Loop:
    """One pipeline's loop.

    Args:
        name: of the pipeline, for the log.
        stages: its parts.
        limits: how long it waits.
        emit: publishes events.
        on_health: called when a trouble begins or ends.
        clock_ns: nanoseconds on the clock of `time.monotonic`.
    """

    def __init__(
        self,
        name: str,
        stages: Stages,
        limits: Limits,
        emit: Emit,
        on_health: Callable[[], None] = lambda: None,
        clock_ns: Callable[[], int] = monotonic_ns,
    ) -> None:
        """Start with nothing perceived."""
        self._log = logging.getLogger(f"outrider.{name}")
        self._stages, self._idle_s, self._stale_ns = stages, limits.idle_s, int(limits.stale_s * NS)
        self._emit, self._on_health, self._clock_ns = emit, on_health, clock_ns
        self._state = stages.policy.initial()
        self._seen_ns = clock_ns()
        self._stale = False
        self._watching = threading.Lock()
        self._ending = False
        self._asked: tuple[Any, float] = self._state, 0.0
        self._made_safe = False
        self.meters = Meters()
        self.health = Health()
        self.taps = Taps()
        self.ticks = 0

    def run(self) -> None:
        """Loop until the mailbox has ended; outputs are safe before the first frame and after the last."""
        self._seen_ns = self._clock_ns()  # loading the models of other pipelines may have taken long
        try:
            self.make_safe()
            while not (self._ending or self._stages.mailbox.ended):
                self.tick()
        finally:
            self.make_safe()

    def end(self) -> None:
        """Turn no more after this turn, whatever is still in the mailbox, and act no more in this one."""
        self._ending = True

    def tick(self) -> None:
        """Take one frame through all stages, or notice that there is none."""
        # Without a model no frame is taken: the latest one waits, and older ones count as dropped.
        if self._stages.perceiver.ready(self._wait_s()):
            frame = self._stages.mailbox.take(self._wait_s())
            if frame is not None:
                if self.taps.wanted:
                    self._show(frame)
                else:
                    self._look(frame)
            elif not self._stages.mailbox.ended:
                self.meters.no_input += 1
        self.watch()
        self.ticks += 1

    def stale_in_s(self) -> float:
        """Return when outputs must be safe if nothing is perceived until then; infinite once they are."""
        if self._stale:
            return math.inf
        return (self._seen_ns + self._stale_ns - self._clock_ns()) / NS

    def watch(self) -> None:
        """Make outputs safe once the last perception is too old.

        Called by the loop, and by another thread for a loop that hangs in its model or an action.
        """
        with self._watching:
            if not self._stale and self.stale_in_s() <= 0:
                self._stale = True
                self.make_safe()
                why = f"none for {self._stale_ns / NS:g} s; outputs are in their safe state"
                self._trouble("perception", why)

    def make_safe(self) -> None:
        """Bring every action into its safe state."""
        self._made_safe = True
        for name, action in self._stages.actions.items():
            self._guarded(f"action.{name}", action.safe_state)

    def _wait_s(self) -> float:
        """Return how long to wait for a frame: not beyond the moment when perception gets stale."""
        if self._stale:
            return self._idle_s
        return min(self._idle_s, max(0.0, self.stale_in_s()))

    def _show(self, frame: Frame) -> None:
        """Look, and let those see it who ask for it."""
        taps = [tap for tap in self.taps.wanted if tap.wants()]
        if not taps:
            self._look(frame)
            return
        array, begun_ns = frame.array.copy(), self._clock_ns()
        perception, decisions = self._look(frame)
        view = View(
            frame=frame.id,
            seq=frame.seq,
            time_s=frame.time_s,
            array=array,
            perception=perception,
            decisions=tuple(decision.data for decision in decisions),
            why=self._why(perception),
            error=self.health.reason if self._stale or perception is None else "",
            took_ns=self._clock_ns() - begun_ns,
        )
        for tap in taps:
            tap.see(view)

    def _why(self, perception: Perception | None) -> tuple[str, ...]:
        """Return how the policy explains what it has just decided."""
        explain = getattr(self._stages.policy, "explain", None)
        if perception is None or explain is None:
            return ()
        try:
            return tuple(explain(perception, *self._asked))
        except Exception as error:  # noqa: BLE001 - so may an explanation
            return (f"the policy cannot explain: {error!r}",)

    def _look(self, frame: Frame) -> tuple[Perception | None, Sequence[Decision]]:
        """Perceive, decide and act; a frame on which that fails is counted and passed over."""
        begun_ns, taken_ns = self._clock_ns(), int(frame.time_s * NS)
        self.meters.frames += 1
        self.meters.stages["age"].record(begun_ns - taken_ns)
        try:
            perception = self._stages.perceiver.perceive(frame, self.meters, begun_ns)
        except LateError as error:
            self.meters.late += 1
            self._trouble("engine", error)
            return None, ()
        except Exception as error:  # noqa: BLE001 - a frame or a runtime fails in any way; the loop does not
            self._failed("engine", error)
            if isinstance(error, GoneError) or not self._stages.perceiver.ready(0.0):
                self.make_safe()  # nobody looks until there is another model
            return None, ()
        for label in perception.labels:
            self.meters.saw(label)
        self._fine("engine")
        if self._fresh(min(taken_ns, begun_ns)):
            return perception, self._decide(frame, perception, begun_ns)
        self.watch()  # what was seen is too old to act on
        return perception, ()

    def _decide(self, frame: Frame, perception: Perception, begun_ns: int) -> Sequence[Decision]:
        meters, before_ns = self.meters, self._clock_ns()
        try:
            if self._made_safe:
                self._rearm()
            self._asked = self._state, before_ns / NS
            decisions, self._state = self._stages.policy.decide(perception, *self._asked)
        except Exception as error:  # noqa: BLE001 - so may a policy
            self._failed("policy", error)
            return ()
        decided_ns = self._clock_ns()
        meters.stages["policy"].record(decided_ns - before_ns)
        meters.stages["loop"].record(decided_ns - begun_ns)
        if decisions:
            self._act(frame, decisions)
            meters.stages["act"].record(self._clock_ns() - decided_ns)
        return decisions

    def _rearm(self) -> None:
        """Let the policy know that outputs are not as it left them: what is still there is decided again."""
        self._made_safe = False
        rearm = getattr(self._stages.policy, "rearm", None)
        if rearm is not None:
            self._state = rearm(self._state)

    def _act(self, frame: Frame, decisions: Sequence[Decision]) -> None:
        for decision in decisions:
            try:
                event = self._emit("decision", decision.data, frame.id)
            except Exception as error:  # noqa: BLE001 - a policy may decide on anything
                self._failed("policy", error)
                continue
            self.meters.decisions += 1
            for name, action in self._stages.actions.items():
                if not (self._stale or self._ending):  # another thread may have made outputs safe meanwhile
                    self._guarded(f"action.{name}", action.apply, event)
        if self._stale:  # or it has just now, between the question and the action
            self.make_safe()

    def _guarded(self, part: str, call: Callable[..., None], *arguments: object) -> None:
        """Let one action fail without the others."""
        try:
            call(*arguments)
        except Exception as error:  # noqa: BLE001 - so may an action
            self._failed(part, error)
        else:
            self._fine(part)

    def _fresh(self, seen_ns: int) -> bool:
        """Note when something was seen; return whether that may be acted on."""
        with self._watching:
            self._seen_ns = max(self._seen_ns, seen_ns)
            if self._clock_ns() - self._seen_ns >= self._stale_ns:
                return False
            self._stale = False
            self._fine("perception")
            return True

    def _failed(self, part: str, error: object) -> None:
        self.meters.errors += 1
        self._trouble(part, error)

    def _trouble(self, part: str, why: object) -> None:
        reason = (str(why) if isinstance(why, OutriderError | str) else repr(why))[:MAX_REASON]
        if self.health.bad(part, reason, self._clock_ns() / NS):
            self._log.warning("%s failed: %s", part, reason)
            self._emit("fault", {"part": part, "state": "failed", "reason": reason})
            self._on_health()

    def _fine(self, part: str) -> None:
        if self.health.good(part, self._clock_ns() / NS):
            self._log.warning("%s works again", part)
            self._emit("fault", {"part": part, "state": "restored"})
            self._on_health()
