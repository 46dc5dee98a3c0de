"""Rules: when a label is seen clearly enough for long enough, or a value is too large or too small, decide.

Where a model detects objects, a label is seen if one of them has it. A decision then tells the surest such
object, its `box` (left, top, width, height in pixels of the frame), and the `count` of those with its label;
if the rule asks for a `detail`, that and its `detail_score` as well. A discrete control is seen as its
action, an anomaly as `anomaly` or `normal`. A decision on a value tells its `name` and `value`.

A rule with `release_score` or `release` is on from firing until its release, and does not fire in between;
its decision has `state = "on"`. With `released`, another decision with `state = "off"` ends it.
"""

from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta, Struct

from outrider_agent.rules import explanation
from outrider_agent.rules.judge import BLANK, Judge, Memory
from outrider_agent.rules.labels import LabelFinder
from outrider_agent.rules.options import Rule
from outrider_agent.rules.values import ValueFinder
from outrider_agent.seams import Decision
from outrider_runtime.perception import Perception


class RulesOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `[pipelines.policy]` may hold: rules, each judged on its own."""

    rules: Annotated[tuple[Rule, ...], Meta(min_length=1, max_length=1024)]


State = tuple[Memory, ...]


class RulesPolicy:
    """Judges every perception by every rule, in order."""

    Options = RulesOptions

    def __init__(self, options: RulesOptions) -> None:
        """Keep the rules."""
        self._judges = tuple(_judge(rule) for rule in options.rules)

    def initial(self) -> State:
        """Return the state before the first perception."""
        return (BLANK,) * len(self._judges)

    def decide(self, perception: Perception, state: State, now: float) -> tuple[Sequence[Decision], State]:
        """Return one decision for each rule that fires or is released, and the next state."""
        decisions: list[Decision] = []
        memories: list[Memory] | None = None
        for at, judge in enumerate(self._judges):
            memory = state[at]
            data, after = judge.step(perception, memory, now)
            if data is not None:
                decisions.append(Decision(data=data))
            if after is not memory:
                memories = memories or list(state)
                memories[at] = after
        return decisions, state if memories is None else tuple(memories)

    def explain(self, perception: Perception, state: State, now: float) -> tuple[str, ...]:
        """Return one line for each rule: why it decides, or what is lacking."""
        pairs = zip(self._judges, state, strict=True)
        return tuple(explanation.line(judge, perception, memory, now) for judge, memory in pairs)

    def rearm(self, state: State) -> State:
        """Return the state after outputs were made safe: nothing is on; cooldowns and rates go on."""
        return tuple(memory.idle() if memory.on else memory for memory in state)


def _judge(rule: Rule) -> Judge[Any]:
    if rule.value is None:
        return Judge(rule, LabelFinder(rule))
    return Judge(rule, ValueFinder(rule.value, rule))
