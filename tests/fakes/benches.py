"""A loop with everything around it under control."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from outrider_agent.events import Kind
from outrider_agent.loop import Limits, Loop, Stages
from outrider_agent.mailbox import Mailbox
from outrider_agent.perceiver import Perceiver
from outrider_agent.policies.rules import Rule, RulesOptions, RulesPolicy
from outrider_agent.seams import Frame
from outrider_bundle.messages.codec import encode
from outrider_bundle.messages.event import Event
from outrider_runtime.session import Array
from tests.fakes.clock import Clock
from tests.fakes.engines import CopyLens, ScriptedEngine, seated


class Gate:
    """An action that remembers what was asked of it, and can be broken."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.broken = False

    def apply(self, decision: Event) -> None:
        if self.broken:
            raise OSError("the gate is stuck")
        self.done.append(f"{decision.frame}:{decision.data['label']}")

    def safe_state(self) -> None:
        self.done.append("safe")

    def close(self) -> None:
        self.done.append("closed")


class Bench:
    """A loop with everything around it under control."""

    def __init__(
        self,
        script: Sequence[int | str],
        rule: Rule | None = None,
        on_collect: Callable[[], None] = lambda: None,
    ) -> None:
        self.clock, self.mailbox, self.gate, self.log = Clock(), Mailbox(), Gate(), Gate()
        self.engine = ScriptedEngine(script, on_collect)
        self.events: list[Event] = []
        self.released: list[int] = []
        self.changes = 0
        stages = Stages(
            mailbox=self.mailbox,
            perceiver=Perceiver(seated(CopyLens(), self.engine), 0.1, clock_ns=self.clock),
            policy=RulesPolicy(RulesOptions(rules=(rule or Rule(),))),
            actions={"gate": self.gate, "log": self.log},
        )
        limits = Limits(idle_s=0.01, stale_s=5.0)
        self.loop = Loop("belt", stages, limits, self.emit, self.changed, self.clock)

    def emit(self, kind: Kind, data: dict[str, Any], frame: str = "") -> Event:
        event = Event(
            run="0" * 16,
            seq=len(self.events),
            time=0.0,
            pipeline="belt",
            kind=kind,
            frame=frame,
            data=data,
        )
        encode(event)
        self.events.append(event)
        return event

    def changed(self) -> None:
        self.changes += 1

    def feed(self, seq: int = 0, age_s: float = 0.0, image: Array | None = None) -> None:
        """Let one frame come and take it through the loop."""
        pixels = np.full((4, 4), seq, np.uint8) if image is None else image
        self.mailbox.put(
            Frame(
                id=f"f{seq}",
                time_s=self.clock.s - age_s,
                array=pixels,
                seq=seq,
                release=lambda: self.released.append(seq),
            )
        )
        self.loop.tick()

    def faults(self) -> list[tuple[str, str]]:
        return [(e.data["part"], e.data["state"]) for e in self.events if e.kind == "fault"]
