"""Finds a value: of a regression, of a control, or the score of an anomaly."""

import math
from typing import Any

from msgspec import Struct

from outrider_agent.rules.options import Rule
from outrider_runtime.perception import Anomaly, Control, Perception, Regression

SCORE = "score"


class Reading(Struct, frozen=True):
    """A number and its name."""

    label: str
    value: float


class ValueFinder:
    """Finds a number by its name, beyond the thresholds of a rule. One that is not finite is not there."""

    __slots__ = ("_fires", "_limits", "_stays", "name", "until")

    def __init__(self, name: str, rule: Rule) -> None:
        """Take what `rule` asks of the value `name`."""
        self.name = name
        self._limits = (rule.above, rule.below)
        self._fires = _span(*self._limits)
        edge = (None, rule.release) if rule.above is None else (rule.release, None)
        self._stays = _span(*edge)
        self.until = "" if rule.release is None else f"not {_words(*edge)}"

    def find(self, perception: Perception, counted: str) -> Reading | None:  # noqa: ARG002 - there is one name
        """Return the value if it is beyond the thresholds."""
        value = self._read(perception)
        if value is None or not self._fires[0] < value < self._fires[1]:
            return None
        return Reading(self.name, value)

    def holds(self, perception: Perception, label: str) -> bool:  # noqa: ARG002 - there is one name
        """Return whether the value is there and still beyond its release."""
        value = self._read(perception)
        return value is not None and self._stays[0] < value < self._stays[1]

    def tell(self, found: Reading, perception: Perception) -> dict[str, Any]:  # noqa: ARG002 - all is in `found`
        """Return the value and its name."""
        return {"name": found.label, "value": found.value}

    def end(self, perception: Perception, label: str) -> dict[str, Any]:
        """Return its name, and the value that released it if there is one."""
        value = self._read(perception)
        return {"name": label} if value is None else {"name": label, "value": value}

    def show(self, found: Reading) -> str:
        """Return the value."""
        return f"{found.value:.6g}"

    def lack(self, perception: Perception) -> str:
        """Return what the value is, or that there is none."""
        value = self._read(perception)
        return "no such value" if value is None else f"{value:.6g} is not {_words(*self._limits)}"

    def _read(self, perception: Perception) -> float | None:
        value = None
        if isinstance(perception, Regression | Control):
            if self.name in perception.names:
                value = perception.values[perception.names.index(self.name)]
        elif isinstance(perception, Anomaly) and self.name == SCORE:
            value = perception.score
        return value if value is not None and math.isfinite(value) else None


def _span(above: float | None, below: float | None) -> tuple[float, float]:
    return (-math.inf if above is None else above, math.inf if below is None else below)


def _words(above: float | None, below: float | None) -> str:
    if above is None:
        return f"below {below:g}"
    return f"above {above:g}" if below is None else f"between {above:g} and {below:g}"
