"""Judges perceptions by one rule, over time."""

import math
from typing import Any, Generic

from msgspec import Struct

from outrider_agent.rules.finder import F, Finder
from outrider_agent.rules.options import Rule
from outrider_runtime.perception import Perception


# Memories hold no cycles, and the collector need not look at what lives as long as a pipeline.
class Memory(Struct, frozen=True, gc=False):
    """What a rule remembers.

    Args:
        label: what it counts or is on for; empty if nothing.
        streak: how often that was found in a row, up to what the rule asks for.
        fired: when it fired last.
        on: whether it has fired and was not released since.
        gone: while on, how often in a row what it fired on was not there.
        times: of its last decisions, as many as may fall into its span.
    """

    label: str = ""
    streak: int = 0
    fired: float = -math.inf
    on: bool = False
    gone: int = 0
    times: tuple[float, ...] = ()

    def idle(self) -> "Memory":
        """Return it with nothing counted and nothing on, and its times kept."""
        return Memory(fired=self.fired, times=self.times)


BLANK = Memory()
Step = tuple[dict[str, Any] | None, Memory]


class Judge(Generic[F]):
    """One rule at work.

    Args:
        rule: the rule.
        finder: finds what it looks for.
    """

    __slots__ = ("_find", "_forgets", "_room", "finder", "rule")

    def __init__(self, rule: Rule, finder: Finder[F]) -> None:
        """Keep both."""
        self.rule, self.finder, self._find = rule, finder, finder.find
        # An "off" is never held back: "on" leaves room for it.
        self._room = (rule.rate_count or 0) - (rule.released is not None)
        self._forgets = not (rule.cooldown_s or rule.rate_count or rule.stays)

    def step(self, perception: Perception, memory: Memory, now: float) -> Step:
        """Return the data of the decision, if there is one, and what is remembered then."""
        if memory.on:
            return self._stay(perception, memory, now)
        found = self._find(perception, memory.label)
        if found is None:
            return None, memory.idle() if memory.streak else memory
        rule, label = self.rule, found.label
        streak = memory.streak + 1 if memory.label == label else 1
        if streak >= rule.frames and not (self.cooling_s(memory, now) or self.limited_s(memory, now)):
            return self._fire(found, perception, memory, now)
        streak = min(streak, rule.frames)
        if streak == memory.streak and label == memory.label:
            return None, memory
        return None, Memory(label, streak, memory.fired, times=memory.times)

    def cooling_s(self, memory: Memory, now: float) -> float:
        """Return how long it still cools down."""
        passed = now - memory.fired
        return self.rule.cooldown_s - passed if passed < self.rule.cooldown_s else 0.0

    def limited_s(self, memory: Memory, now: float) -> float:
        """Return how long its rate still holds it back."""
        span, room = self.rule.rate_s, self._room
        if span is None or len(memory.times) < room:
            return 0.0
        passed = now - memory.times[-room]
        return span - passed if passed < span else 0.0

    def _fire(self, found: F, perception: Perception, memory: Memory, now: float) -> Step:
        rule, data = self.rule, self.finder.tell(found, perception)
        if rule.stays:
            data["state"] = "on"
        data.update(rule.data)
        if self._forgets:
            return data, BLANK
        label = found.label if rule.stays else ""
        return data, Memory(label, 0, now, on=rule.stays, times=self._timed(memory, now))

    def _stay(self, perception: Perception, memory: Memory, now: float) -> Step:
        """Wait for the release."""
        if self.finder.holds(perception, memory.label):
            return None, _gone(memory, 0) if memory.gone else memory
        gone = memory.gone + 1
        if gone < self.rule.release_frames:
            return None, _gone(memory, gone)
        if self.rule.released is None:
            return None, memory.idle()
        data = {**self.finder.end(perception, memory.label), "state": "off", **self.rule.released}
        return data, Memory(fired=memory.fired, times=self._timed(memory, now))

    def _timed(self, memory: Memory, now: float) -> tuple[float, ...]:
        count = self.rule.rate_count
        return (*memory.times, now)[-count:] if count else ()


def _gone(memory: Memory, gone: int) -> Memory:
    return Memory(label=memory.label, fired=memory.fired, on=True, gone=gone, times=memory.times)
