"""Outputs with boxes and scores apart, as SSD detectors have them; see `SsdDecoder`."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from outrider_bundle.decoders import background
from outrider_bundle.manifest import SsdDecoder, Tensor
from outrider_runtime.decoders.above import Above, label_of
from outrider_runtime.decoders.ends import Ends
from outrider_runtime.decoders.objects import Candidate, Objects
from outrider_runtime.decoders.stored import Finite, Numbers
from outrider_runtime.geometry import Ways
from outrider_runtime.perception import Detections
from outrider_runtime.session import Array

Told = tuple[float, int, Sequence[float]]
"""Score, index of the label, negative for a background, and edges of a box as they are stored."""


class SsdReader:
    """The objects that stand out, each once. It owns scratch memory: one thread at a time."""

    def __init__(self, plan: SsdDecoder, ends: Ends) -> None:
        """Choose what reads this set of outputs."""
        tensors: dict[str, Tensor] = dict(zip(plan.outputs, ends.tensors, strict=True))
        suppressed = "scores" not in tensors or "classes" in tensors
        self._set: Set = (
            Rows(plan, tensors)
            if "rows" in tensors
            else Suppressed(plan, tensors)
            if suppressed
            else Scores(plan, tensors)
        )
        self._roles = plan.outputs
        self._finite = [Finite(tensor) for tensor in ends.tensors]
        self._across = plan.box == "xyxy"
        self._ways = Ways(ends.given)
        self._objects = Objects(plan.labels, plan.max_objects, None if suppressed else plan.iou)

    def decode(
        self, outputs: Sequence[Array], frame: tuple[int, ...] = (), fed: Array | None = None
    ) -> Detections:
        """Return objects with boxes in pixels of `frame`; see `Decoder.decode`."""
        del fed
        for finite, array in zip(self._finite, outputs, strict=True):
            finite.check(array.reshape(1, -1))
        (height, width), way = self._ways.size, self._ways.to(frame)
        found: list[Candidate] = []
        for score, index, edges in self._set.read(dict(zip(self._roles, outputs, strict=True))):
            left, top, right, bottom = edges if self._across else (edges[1], edges[0], edges[3], edges[2])
            box = way.box(left * width, top * height, right * width, bottom * height)
            if index >= 0 and box is not None:
                found.append((score, index, *box))
        return self._objects.of(found, way.sides)


class Set(Protocol):
    """A set of outputs; see `SsdDecoder`."""

    def read(self, outputs: dict[str, Array]) -> Iterator[Told]:
        """Yield what stands out in `outputs`, by role."""
        ...


class Scores:
    """`boxes, scores`: a box is of the label with the largest score, whatever the background has."""

    def __init__(self, plan: SsdDecoder, tensors: dict[str, Tensor]) -> None:
        """Allocate."""
        count = tensors["boxes"].shape[1]
        self._before = background(plan)
        self._boxes, self._scores = Numbers(tensors["boxes"]), Numbers(tensors["scores"])
        self._best = np.empty(count, np.dtype(tensors["scores"].dtype))
        self._above = Above(count, self._scores.least(plan.min_score))

    def read(self, outputs: dict[str, Array]) -> Iterator[Told]:
        """See `Set.read`."""
        boxes, scores = outputs["boxes"][0], outputs["scores"][0, :, self._before :]
        np.maximum.reduce(scores, 1, out=self._best)
        for at in self._above.columns(self._best):
            row = self._scores.real(scores[at])
            best = max(row)
            yield best, row.index(best), self._boxes.real(boxes[at])


class Suppressed:
    """`boxes, classes, scores, count`: what is behind the count is not read."""

    def __init__(self, plan: SsdDecoder, tensors: dict[str, Tensor]) -> None:
        """Allocate."""
        self._labels, self._before = len(plan.labels), background(plan)
        self._numbers = {role: Numbers(tensor) for role, tensor in tensors.items()}
        self._above = Above(tensors["boxes"].shape[1], self._numbers["scores"].least(plan.min_score))

    def read(self, outputs: dict[str, Array]) -> Iterator[Told]:
        """See `Set.read`."""
        numbers = self._numbers
        count = round(numbers["count"].real(outputs["count"])[0])
        for at in self._above.columns(outputs["scores"][0]):
            if at >= count:
                return
            (score,) = numbers["scores"].real(outputs["scores"][0, at : at + 1])
            (number,) = numbers["classes"].real(outputs["classes"][0, at : at + 1])
            index = label_of(number, self._before, self._labels)
            yield score, index, numbers["boxes"].real(outputs["boxes"][0, at])


class Rows:
    """`rows`: a negative number of an image ends them."""

    def __init__(self, plan: SsdDecoder, tensors: dict[str, Tensor]) -> None:
        """Allocate."""
        self._labels, self._before = len(plan.labels), background(plan)
        self._numbers = Numbers(tensors["rows"])
        self._above = Above(tensors["rows"].shape[2], self._numbers.least(plan.min_score))

    def read(self, outputs: dict[str, Array]) -> Iterator[Told]:
        """See `Set.read`."""
        rows = outputs["rows"][0, 0]
        columns = self._above.columns(rows[:, 2])
        if not columns:
            return
        over = (rows[:, 0] < self._numbers.zero).nonzero()[0]
        count = int(over[0]) if len(over) else len(rows)
        for at in columns:
            if at >= count:
                return
            _, number, score, *edges = self._numbers.real(rows[at])
            yield score, label_of(number, self._before, self._labels), edges
