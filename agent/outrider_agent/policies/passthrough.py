"""Passes the whole perception on: its `kind` and all its fields, in JSON values.

Nothing is decided on a perception with a number that is not finite: JSON cannot tell it.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from outrider_agent.decisions import finite, hidden
from outrider_agent.seams import Decision
from outrider_bundle.manifest import Scalar
from outrider_runtime.perception import (
    Anomaly,
    Classification,
    Control,
    Detections,
    Perception,
    Regression,
)

KINDS: tuple[type[Struct], ...] = (Classification, Detections, Regression, Control, Anomaly)
OWN = frozenset({"kind", *(name for kind in KINDS for name in kind.__struct_fields__)})
State = float
"""When it decided last."""


class PassthroughOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `[pipelines.policy]` may hold.

    Args:
        every_s: how long after a decision there is no other; 0 to pass on every perception.
        data: goes into the decision, for the actions to read.
    """

    every_s: Annotated[float, Meta(ge=0.0)] = 0.0
    data: dict[str, Scalar] = {}

    def __post_init__(self) -> None:
        """Refuse data that would hide what a perception says itself."""
        if faults := hidden("data", self.data, OWN):
            raise ValueError(faults[0])


class PassthroughPolicy:
    """Decides whatever is perceived."""

    Options = PassthroughOptions

    def __init__(self, options: PassthroughOptions) -> None:
        """Keep the options."""
        self._every_s, self._data = options.every_s, options.data

    def initial(self) -> State:
        """Return the state before the first perception."""
        return -math.inf

    def decide(self, perception: Perception, state: State, now: float) -> tuple[Sequence[Decision], State]:
        """Return a decision, or none, and when the last one was."""
        if now - state < self._every_s or not finite(perception):
            return (), state
        # By way of JSON: `to_builtins` leaves tuples, which an event that was read does not have.
        told: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(perception))
        return (Decision(data=told | self._data),), now

    def explain(self, perception: Perception, state: State, now: float) -> tuple[str, ...]:
        """Return why it decides, or what is lacking."""
        kind = type(perception).__struct_config__.tag
        if now - state < self._every_s:
            return (f"{kind}: waits for {self._every_s - (now - state):.3g} s",)
        return (f"{kind}: fires" if finite(perception) else f"{kind}: not all numbers are finite",)
