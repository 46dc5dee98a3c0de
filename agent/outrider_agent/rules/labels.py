"""Finds a label: of a classification, of an object, of a discrete control, or of an anomaly."""

import math
from typing import Any

from msgspec import Struct

from outrider_agent.rules.options import ANY, Rule
from outrider_agent.rules.region import Place, region
from outrider_runtime.perception import Anomaly, Classification, Control, Detection, Detections, Perception


class Named(Struct, frozen=True):
    """What a control or an anomaly names. An anomaly's label has no index."""

    label: str
    score: float
    index: int | None = None


Seen = Classification | Detection | Named


class LabelFinder:
    """Finds the surest thing that has the label, the score, the place and the detail that a rule asks for."""

    __slots__ = (
        "_detail",
        "_least",
        "_place",
        "_release",
        "_restricted",
        "_rule",
        "_wanted",
        "name",
        "until",
    )

    def __init__(self, rule: Rule) -> None:
        """Take what `rule` asks for."""
        self._rule = rule
        self._wanted = rule.label if rule.label != ANY else None
        self._least = rule.min_score
        self._release = rule.release_score or 0.0
        self._place = None if rule.region is None else Place(region(rule.region), rule.anchor)
        self._detail = rule.detail
        self._restricted = self._place is not None or rule.detail is not None
        self.name = rule.label
        self.until = f"below {self._release:g}"

    def find(self, perception: Perception, counted: str) -> Seen | None:
        """Return the surest that fits: of those called `counted`, if there are any, else of all."""
        return self._look(perception, counted, self._least)

    def holds(self, perception: Perception, label: str) -> bool:
        """Return whether something called `label` is still there, and sure enough not to be released."""
        found = self._look(perception, label, self._release)
        return found is not None and found.label == label

    def tell(self, found: Seen, perception: Perception) -> dict[str, Any]:
        """Return what it is, and of an object where it is and how many like it there are."""
        data: dict[str, Any] = {"label": found.label, "score": found.score, "index": found.index}
        if isinstance(found, Detection) and isinstance(perception, Detections):
            data["box"] = list(found.box)
            data["count"] = self._count(found.label, perception)
            if self._detail is not None and found.detail is not None:
                data |= {"detail": found.detail.label, "detail_score": found.detail.score}
        elif found.index is None:
            del data["index"]
        return data

    def end(self, perception: Perception, label: str) -> dict[str, Any]:  # noqa: ARG002 - it may be gone
        """Return what was released."""
        return {"label": label}

    def show(self, found: Seen) -> str:
        """Return its score, and its label where the rule names none."""
        return f"{found.score:.4g}" if self._wanted else f"{found.label} {found.score:.4g}"

    def lack(self, perception: Perception) -> str:
        """Return the first of the rule's conditions that nothing meets."""
        if not perception.labels:
            return "not seen" if self._wanted else "nothing seen"
        if isinstance(perception, Detections):
            return self._lacking(perception)
        one = _named(perception)
        if one is None or self._wanted not in {None, one.label}:
            return "not seen"
        if one.score >= self._least:
            return "has no place or detail: it is no object"
        return f"best {one.score:.4g} below {self._least:g}"

    def _look(self, perception: Perception, counted: str, least: float) -> Seen | None:
        if isinstance(perception, Detections):
            return self._among(perception, counted, least)
        one = perception if isinstance(perception, Classification) else _named(perception)
        if one is None or (self._wanted is not None and one.label != self._wanted):
            return None
        return one if one.score >= least and not self._restricted else None

    def _among(self, perception: Detections, counted: str, least: float) -> Detection | None:
        surest, wanted, restricted = None, self._wanted, self._restricted
        for one in perception.objects:
            # The cheapest question first: this runs for every object, rule and frame.
            if (wanted is None or one.label == wanted) and one.score >= least:
                if restricted and not self._apt(one, perception.frame):
                    continue
                if not counted or one.label == counted:
                    return one
                surest = surest or one
        return surest

    def _count(self, label: str, perception: Detections) -> int:
        same = [one for one in perception.objects if one.label == label and one.score >= self._least]
        return sum(self._apt(one, perception.frame) for one in same) if self._restricted else len(same)

    def _apt(self, one: Detection, frame: tuple[int, int]) -> bool:
        """Return whether an object that has label and score has the place and the detail too."""
        return self._there(one, frame) and self._detailed(one)

    def _there(self, one: Detection, frame: tuple[int, int]) -> bool:
        return self._place is None or self._place.has(one.box, frame)

    def _detailed(self, one: Detection) -> bool:
        if self._detail is None:
            return True
        seen = one.detail
        if seen is None or self._detail not in {ANY, seen.label}:
            return False
        return seen.score >= self._rule.min_detail_score

    def _lacking(self, perception: Detections) -> str:
        found = [one for one in perception.objects if self._wanted in {None, one.label}]
        if not found:
            return "not seen"
        sure = [one for one in found if one.score >= self._least]
        if not sure:
            return f"best {max(one.score for one in found):.4g} below {self._least:g}"
        if not any(self._there(one, perception.frame) for one in sure):
            return "outside of its region"
        least = self._rule.min_detail_score
        return f"no detail {self._detail}" + (f" of at least {least:g}" if least else "")


def _named(perception: Perception) -> Classification | Named | None:
    """Return what a perception without objects names, if anything."""
    if isinstance(perception, Classification):
        return perception
    if isinstance(perception, Control) and perception.index >= 0:
        return Named(perception.names[perception.index], perception.score, perception.index)
    if isinstance(perception, Anomaly) and math.isfinite(perception.score):
        return Named(perception.labels[0], perception.score)
    return None
