"""Says in one line why a rule decides, or what it is still lacking."""

from typing import Any

from outrider_agent.rules.judge import Judge, Memory
from outrider_runtime.perception import Perception


def line(judge: Judge[Any], perception: Perception, memory: Memory, now: float) -> str:
    """Return why `judge` decides what it decides on `perception`; the first words are the rule's name.

    It `fires` or `turns off` if and only if it makes a decision, of which the latter is one on release.
    """
    data, after = judge.step(perception, memory, now)
    why = (
        _on(judge, memory, after, data)
        if memory.on
        else _off(judge, perception, memory, now, fires=bool(data))
    )
    return f"{judge.finder.name}: {why}"


def _on(judge: Judge[Any], memory: Memory, after: Memory, data: dict[str, Any] | None) -> str:
    until = judge.finder.until
    if not after.on:
        return f"{'turns off' if data else 'armed again'}: {until}{_during(judge.rule.release_frames)}"
    if after.gone:
        return f"on, {until} for {after.gone} of {judge.rule.release_frames} frames"
    which = "" if memory.label == judge.finder.name else f" for {memory.label}"
    return f"already on{which}, until {until}"


def _off(judge: Judge[Any], perception: Perception, memory: Memory, now: float, *, fires: bool) -> str:
    rule, found = judge.rule, judge.finder.find(perception, memory.label)
    if found is None:
        return str(judge.finder.lack(perception))
    if fires:
        return f"fires: {judge.finder.show(found)}{_during(rule.frames)}"
    streak = memory.streak + 1 if memory.label == found.label else 1
    if streak < rule.frames:
        return f"{streak} of {rule.frames} frames"
    if cooling_s := judge.cooling_s(memory, now):
        return f"cooling down for {cooling_s:.3g} s"
    limited_s = judge.limited_s(memory, now)
    return f"at its rate of {rule.rate_count} in {rule.rate_s:g} s, for {limited_s:.3g} s more"


def _during(frames: int) -> str:
    return f" for {frames} frames" if frames > 1 else ""
