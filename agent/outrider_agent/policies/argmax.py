"""Decides on the most likely label, each time or when it changes.

| perception | decision |
|---|---|
| classification | `label`, `score`, `index`, `margin` |
| detection | `label`, `score`, `index`, `box` of the surest object; `detail`, `detail_score` if it has one |
| control, discrete | `label`, `index` |
| control, continuous | none: it names no action |
| anomaly | `label` (`anomaly` or `normal`), `score` |
| regression | `label`, `index`, `value`: the name of the largest number |

Nothing is decided on a perception with a number that is not finite, nor where nothing is named.
"""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from outrider_agent.decisions import finite, hidden
from outrider_agent.rules.region import Share
from outrider_agent.seams import Decision
from outrider_bundle.manifest import Scalar
from outrider_runtime.perception import (
    Anomaly,
    Classification,
    Detection,
    Detections,
    Perception,
    Regression,
)

OWN = frozenset({"label", "score", "index", "margin", "box", "detail", "detail_score", "value"})
State = str | None
"""The label of the last decision."""


class ArgmaxOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `[pipelines.policy]` may hold.

    Args:
        min_score: how sure the model must be; a control and a regression do not tell and are always sure.
        on_change: decide only when the label is not that of the last decision.
        data: goes into the decision, for the actions to read.
    """

    min_score: Share = 0.0
    on_change: bool = False
    data: dict[str, Scalar] = {}

    def __post_init__(self) -> None:
        """Refuse data that would hide what a decision says itself."""
        if faults := hidden("data", self.data, OWN):
            raise ValueError(faults[0])


class ArgmaxPolicy:
    """Decides on the most likely label."""

    Options = ArgmaxOptions

    def __init__(self, options: ArgmaxOptions) -> None:
        """Keep the options."""
        self._options = options

    def initial(self) -> State:
        """Return the state before the first perception."""
        return None

    def decide(
        self,
        perception: Perception,
        state: State,
        now: float,  # noqa: ARG002 - nothing here depends on it
    ) -> tuple[Sequence[Decision], State]:
        """Return a decision, or none, and the label of the last one."""
        told = likeliest(perception)
        if told is None or self._withheld(perception, told, state):
            return (), state
        return (Decision(data=told | self._options.data),), told["label"]

    def explain(
        self,
        perception: Perception,
        state: State,
        now: float,  # noqa: ARG002 - nor here
    ) -> tuple[str, ...]:
        """Return why it decides, or what is lacking."""
        told = likeliest(perception)
        if told is None:
            return ("nothing seen",)
        sure = told.get("value", told.get("score"))
        fires = "fires" if sure is None else f"fires: {sure:.4g}"
        return (f"{told['label']}: {self._withheld(perception, told, state) or fires}",)

    def rearm(self, state: State) -> State:  # noqa: ARG002 - nothing of it counts then
        """Return the state after outputs were made safe: any label is a change."""
        return None

    def _withheld(self, perception: Perception, told: dict[str, Any], state: State) -> str:
        """Return why there is no decision, or nothing if there is one."""
        options = self._options
        if perception.score < options.min_score:
            return f"{perception.score:.4g} below {options.min_score:g}"
        return "as decided last" if options.on_change and told["label"] == state else ""


def likeliest(perception: Perception) -> dict[str, Any] | None:
    """Return what a decision says of the most likely label; None if nothing is named or a number is lost."""
    return _named(perception) if finite(perception) else None


def _named(perception: Perception) -> dict[str, Any] | None:
    if isinstance(perception, Classification):
        return _scored(perception) | {"margin": perception.margin}
    if isinstance(perception, Detections):
        return _surest(perception.objects[0]) if perception.objects else None
    if isinstance(perception, Regression):
        return _largest(perception) if perception.values else None
    if isinstance(perception, Anomaly):
        return {"label": perception.labels[0], "score": perception.score}
    chosen = perception.index
    return {"label": perception.names[chosen], "index": chosen} if chosen >= 0 else None


def _scored(seen: Classification | Detection) -> dict[str, Any]:
    return {"label": seen.label, "score": seen.score, "index": seen.index}


def _surest(seen: Detection) -> dict[str, Any]:
    data = _scored(seen) | {"box": list(seen.box)}
    if seen.detail is not None:
        data |= {"detail": seen.detail.label, "detail_score": seen.detail.score}
    return data


def _largest(seen: Regression) -> dict[str, Any]:
    value = max(seen.values)
    index = seen.values.index(value)
    return {"label": seen.names[index], "index": index, "value": value}
