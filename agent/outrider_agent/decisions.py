"""What decisions of any policy have in common: JSON values, and names that are their own."""

import math
from collections.abc import Mapping

from outrider_runtime.perception import Anomaly, Classification, Detections, Perception


def hidden(name: str, table: Mapping[str, object], own: frozenset[str]) -> list[str]:
    """Return what is wrong with the data `table` of an option `name`: it would hide what a decision says."""
    names = ", ".join(sorted(own & table.keys()))
    return [f"{name} cannot hold {names}: a decision says that itself"] if names else []


def finite(perception: Perception) -> bool:
    """Return whether all numbers of `perception` can be written: JSON has no other."""
    return all(map(math.isfinite, _numbers(perception)))


def _numbers(perception: Perception) -> tuple[float, ...]:
    if isinstance(perception, Classification):
        return (perception.score, perception.margin)
    if isinstance(perception, Detections):
        return tuple(
            number
            for one in perception.objects
            for number in (one.score, *one.box, *(_numbers(one.detail) if one.detail else ()))
        )
    if isinstance(perception, Anomaly):
        return (perception.score, perception.threshold)
    return perception.values
