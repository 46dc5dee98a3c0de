"""What a decoder makes of a model's outputs; what a policy decides on.

Every perception has `labels`, all that it names, and `score`, how sure the model is of the first; 1 where
a model does not say.
"""

import math

from msgspec import Struct

Box = tuple[float, float, float, float]
"""Left, top, width and height in pixels of the frame."""

SAME_OBJECT = 0.5
"""Intersection over union from which two boxes are of one object (PASCAL VOC, Everingham et al. 2010)."""

SAME_NUMBER = 0.05
"""The share of the larger of two numbers by which they may differ and count as the same."""

SAME_ZERO = 1e-6
"""By so much two numbers may differ however small they are."""


class Classification(Struct, frozen=True, kw_only=True, tag="classification", tag_field="kind"):
    """The most likely label. `score` is its probability in 0..1, `margin` the lead over the second."""

    index: int
    label: str
    score: float
    margin: float

    @property
    def labels(self) -> tuple[str, ...]:
        """The label, alone."""
        return (self.label,)


class Detection(Struct, frozen=True, kw_only=True):
    """One object.

    Args:
        label: what it is.
        index: of the label.
        score: its probability, 0..1.
        box: where it is; within the frame and never empty.
        detail: what a second model has seen in the box, if one was asked.
    """

    label: str
    index: int
    score: float
    box: Box
    detail: Classification | None = None


class Detections(Struct, frozen=True, kw_only=True, tag="detection", tag_field="kind"):
    """The objects in a frame, the surest first; there may be none. `frame` is its width and height."""

    objects: tuple[Detection, ...] = ()
    frame: tuple[int, int] = (0, 0)

    @property
    def labels(self) -> tuple[str, ...]:
        """The label of each object, as often as it is there."""
        return tuple(found.label for found in self.objects)

    @property
    def score(self) -> float:
        """The score of the surest object; 0 if there is none."""
        return self.objects[0].score if self.objects else 0.0


class Regression(Struct, frozen=True, kw_only=True, tag="regression", tag_field="kind"):
    """Numbers in the units of what was measured, each with the name of its place in `names`."""

    names: tuple[str, ...]
    values: tuple[float, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """Nothing: a number is no label."""
        return ()

    @property
    def score(self) -> float:
        """1: a regression does not tell how sure it is."""
        return 1.0


class Control(Struct, frozen=True, kw_only=True, tag="control", tag_field="kind"):
    """What a policy network wants done.

    Args:
        names: of discrete actions, or of the actuators of a continuous one.
        values: one per name: scores of discrete actions, or where to bring each actuator.
        index: of the discrete action with the largest score; -1 if the action is continuous.
    """

    names: tuple[str, ...]
    values: tuple[float, ...]
    index: int = -1

    @property
    def labels(self) -> tuple[str, ...]:
        """The discrete action, alone."""
        return (self.names[self.index],) if self.index >= 0 else ()

    @property
    def score(self) -> float:
        """1: neither values of actions nor logits are probabilities."""
        return 1.0


class Anomaly(Struct, frozen=True, kw_only=True, tag="anomaly", tag_field="kind"):
    """How strange the input is: `score` is 0 or more, and from `threshold` on it counts as an anomaly."""

    score: float
    threshold: float

    @property
    def labels(self) -> tuple[str, ...]:
        """`anomaly` or `normal`."""
        return ("anomaly" if self.score >= self.threshold else "normal",)


Perception = Classification | Detections | Regression | Control | Anomaly
"""A union in time: each task adds its struct."""


def agreement(one: Perception, other: Perception) -> float:
    """Return how much two models agree on one frame, 0..1; labels, names and actions are compared by name.

    Classifications, discrete controls and anomalies agree if their label is the same. Numbers of regressions
    and continuous controls agree if all of them do: they have the same names, and no pair differs by more
    than `SAME_NUMBER` of the larger magnitude of the two, or both are 0 but for `SAME_ZERO`. Of detections it
    is the share of objects that both have found, 2 m / (a + b) for m pairs of one label whose boxes overlap
    by `SAME_OBJECT` (Dice 1945); the surest objects are paired first. Two that found nothing agree,
    perceptions of different tasks or action spaces do not.
    """
    if isinstance(one, Detections) and isinstance(other, Detections):
        total = len(one.objects) + len(other.objects)
        return 2 * _pairs(one, other) / total if total else 1.0
    if type(one) is not type(other):
        return 0.0
    if isinstance(one, Regression | Control) and isinstance(other, Regression | Control):
        numbers = [isinstance(each, Regression) or each.index < 0 for each in (one, other)]
        if any(numbers):
            return float(all(numbers) and _same_numbers(one, other))
    return float(one.labels == other.labels)


def overlap(one: Box, other: Box) -> float:
    """Return the intersection over the union of two boxes, 0..1."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    union = one[2] * one[3] + other[2] * other[3] - shared
    return shared / union if union > 0.0 else 0.0


def _same_numbers(one: Regression | Control, other: Regression | Control) -> bool:
    """Return whether two perceptions have the same names, each with the same number."""
    mine, theirs = (dict(zip(each.names, each.values, strict=True)) for each in (one, other))
    return mine.keys() == theirs.keys() and all(
        math.isclose(mine[name], theirs[name], rel_tol=SAME_NUMBER, abs_tol=SAME_ZERO) for name in mine
    )


def _pairs(one: Detections, other: Detections) -> int:
    """Return how many objects of `one` are in `other` as well, each counted once."""
    left = list(other.objects)
    for found in one.objects:
        same = [candidate for candidate in left if candidate.label == found.label]
        best = max(same, key=lambda candidate: overlap(found.box, candidate.box), default=None)
        if best is not None and overlap(found.box, best.box) >= SAME_OBJECT:
            left.remove(best)
    return len(other.objects) - len(left)
