"""Rules: when a label is seen clearly enough for long enough, decide.

Where a model detects objects, a label is seen if one of them has it. A decision then tells the surest such
object, its `box` (left, top, width, height in pixels of the frame), and the `count` of those with its label.
"""

from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta, Struct

from outrider_agent.seams import Decision
from outrider_bundle.manifest import Scalar
from outrider_runtime.perception import Classification, Detection, Detections, Perception

ANY = "*"
OWN = frozenset({"label", "score", "index", "box", "count"})


class Rule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule.

    Args:
        label: what must be seen; `*` for any, which then must stay the same, whatever else is seen.
        min_score: how sure the model must be, 0..1.
        frames: perceptions in a row that it takes; firing uses them up.
        cooldown_s: how long it does not fire again.
        data: goes into the decision, for the actions to read.
    """

    label: Annotated[str, Meta(min_length=1)] = ANY
    min_score: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.0
    frames: Annotated[int, Meta(ge=1, le=100_000)] = 1
    cooldown_s: Annotated[float, Meta(ge=0.0)] = 0.0
    data: dict[str, Scalar] = {}

    def __post_init__(self) -> None:
        """Refuse data that would hide what every decision says itself."""
        if hidden := sorted(OWN & self.data.keys()):
            raise ValueError(f"data cannot hold {', '.join(hidden)}: a decision says that itself")


class RulesOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `[pipelines.policy]` may hold: rules, each judged on its own."""

    rules: Annotated[tuple[Rule, ...], Meta(min_length=1, max_length=1024)]


class Memory(Struct, frozen=True):
    """What a rule remembers: the label it counts, how often in a row, and when it fired last."""

    label: str = ""
    streak: int = 0
    fired: float | None = None


State = tuple[Memory, ...]
Seen = Classification | Detection


class RulesPolicy:
    """Judges every perception by every rule, in order."""

    Options = RulesOptions

    def __init__(self, options: RulesOptions) -> None:
        """Keep the rules."""
        self._rules = options.rules

    def initial(self) -> State:
        """Return the state before the first perception."""
        return (Memory(),) * len(self._rules)

    def decide(self, perception: Perception, state: State, now: float) -> tuple[Sequence[Decision], State]:
        """Return one decision for each rule that fires, and the next state."""
        seen: Sequence[Seen] = perception.objects if isinstance(perception, Detections) else ()
        if isinstance(perception, Classification):
            seen = (perception,)
        decisions: list[Decision] = []
        memories: list[Memory] = []
        for rule, memory in zip(self._rules, state, strict=True):
            matching = [one for one in seen if matches(rule, one)]
            best = followed(matching, memory)
            fires, following = judge(rule, memory, best, now)
            memories.append(following)
            if fires and best is not None:
                decisions.append(Decision(data=_data(rule, best, matching)))
        return decisions, tuple(memories)


def matches(rule: Rule, seen: Seen) -> bool:
    """Return whether this is what `rule` looks for."""
    return rule.label in {ANY, seen.label} and seen.score >= rule.min_score


def followed(matching: Sequence[Seen], memory: Memory) -> Seen | None:
    """Return what the rule looks at: the surest of the label that it counts already, else of all."""
    for one in matching:
        if memory.streak and one.label == memory.label:
            return one
    return matching[0] if matching else None


def judge(rule: Rule, memory: Memory, seen: Seen | None, now: float) -> tuple[bool, Memory]:
    """Return whether `rule` fires on what is `seen`, if anything matches, and what it remembers then."""
    if seen is None:
        return False, memory if not memory.streak else Memory(fired=memory.fired)
    streak = memory.streak + 1 if memory.label == seen.label else 1
    cooling = memory.fired is not None and now - memory.fired < rule.cooldown_s
    if streak < rule.frames or cooling:
        return False, Memory(seen.label, streak, memory.fired)
    return True, Memory(seen.label, 0, now)


def _data(rule: Rule, seen: Seen, matching: Sequence[Seen]) -> dict[str, Any]:
    data: dict[str, Any] = {"label": seen.label, "score": seen.score, "index": seen.index}
    if isinstance(seen, Detection):
        data |= {"box": list(seen.box), "count": sum(one.label == seen.label for one in matching)}
    return data | rule.data
