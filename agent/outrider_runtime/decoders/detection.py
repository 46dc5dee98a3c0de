"""Outputs with a box and one score per label for each of many candidates, as YOLO detectors have them."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from outrider_bundle.decoders import BOX, has_objectness, numbers_axis
from outrider_bundle.manifest import DetectionDecoder
from outrider_runtime.decoders.above import Above, label_of
from outrider_runtime.decoders.ends import Ends
from outrider_runtime.decoders.objects import FEW, Candidate, Objects
from outrider_runtime.decoders.stored import Finite, Numbers, dequantize, not_a_number
from outrider_runtime.geometry import WayBack, Ways
from outrider_runtime.perception import Detections
from outrider_runtime.session import Array

NUMBERS = 4096
"""So many numbers of few candidates are read one by one."""


class DetectionReader:
    """The objects that stand out, each once. It owns scratch memory: one thread at a time.

    Most candidates of most frames are none, so they are sorted out by what is stored, before a box is
    looked at. Overlaps are judged on boxes as they are reported, within the frame. What little is left of
    most frames is read by plain Python: after an inference each call of numpy costs 5 us and more.
    """

    def __init__(self, plan: DetectionDecoder, ends: Ends) -> None:
        """Allocate."""
        self._tensor = tensor = ends.tensors[0]
        self._axis = numbers_axis(plan, tensor.shape) - 1
        self._first = BOX + has_objectness(plan)
        everything = (slice(None),) * self._axis
        self._scored, self._boxed = (*everything, slice(self._first, None)), (*everything, slice(self._first))
        self._centred = plan.layout == "xywh"
        self._ways = Ways(ends.given)
        self._way, self._shape = self._ways.to(()), tuple[int, ...]()
        self._nothing = Detections(frame=self._way.sides)
        self._numbers = Numbers(tensor)
        self._real = np.dtype(tensor.dtype).kind == "f"
        self._objects = Objects(plan.labels, plan.max_objects, plan.iou)
        numbers, count = tensor.shape[1 + self._axis], tensor.shape[2 - self._axis]
        self._few = min(FEW, NUMBERS // numbers)
        self._best = np.empty(count, np.dtype(tensor.dtype))
        # Behind an objectness scores are products of real values.
        self._both = np.empty((2, count)) if has_objectness(plan) else None
        least = plan.min_score if has_objectness(plan) else self._numbers.least(plan.min_score)
        self._above = Above(count, least)

    def decode(
        self, outputs: Sequence[Array], frame: tuple[int, ...] = (), fed: Array | None = None
    ) -> Detections:
        """Return objects with boxes in pixels of `frame`; see `Decoder.decode`."""
        del fed
        array = outputs[0][0]
        np.maximum.reduce(array[self._scored], self._axis, out=self._best)
        # A NaN is the smallest of any numbers; a score of infinity stands out, and is found where it is read.
        if self._real and not (
            math.isfinite(np.minimum.reduce(array, None))
            and math.isfinite(np.maximum.reduce(array[self._boxed], None))
        ):
            raise not_a_number()
        if frame != self._shape:
            self._way, self._shape = self._ways.to(frame), frame
            self._nothing = Detections(frame=self._way.sides)
        columns = self._above.columns(self._best if self._both is None else self._products(array, self._both))
        if not columns:
            return self._nothing
        read = self._read_few if len(columns) <= self._few else self._read_many
        return self._objects.of(read(array, columns, self._way), self._way.sides)

    def _products(self, array: Array, both: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the best score of each candidate times its objectness."""
        there = array[:, BOX] if self._axis else array[BOX]
        if self._real and math.isinf(np.maximum.reduce(self._best)):
            raise not_a_number()
        for stored, real in zip((self._best, there), both, strict=True):
            np.subtract(stored, self._numbers.zero, real)
            np.multiply(real, self._numbers.scale, real)
        best: NDArray[np.float64] = np.multiply(both[0], both[1], both[0])
        return best

    def _read_few(self, array: Array, columns: list[int], way: WayBack) -> list[Candidate]:
        """Return the candidates in `columns` that are in the frame, one after the other."""
        first, scale, zero = self._first, self._numbers.scale, self._numbers.zero
        found: list[Candidate] = []
        for at in columns:
            numbers = (array[at] if self._axis else array[:, at]).tolist()
            scores = numbers[first:]
            best = max(scores)
            score = (best - zero) * scale
            if score == math.inf:
                raise not_a_number()
            if first > BOX:
                score *= (numbers[BOX] - zero) * scale
            left, top, right, bottom = [(number - zero) * scale for number in numbers[:BOX]]
            if self._centred:
                x, y, across, down = left, top, right / 2, bottom / 2
                left, top, right, bottom = x - across, y - down, x + across, y + down
            box = way.box(left, top, right, bottom)
            if box is not None:
                found.append((score, scores.index(best), *box))
        return found

    def _read_many(self, array: Array, columns: list[int], way: WayBack) -> list[Candidate]:
        """Return what `_read_few` does, all at once."""
        taken = array.take(columns, 0).T if self._axis else array.take(columns, 1)
        indices = taken[self._first :].argmax(0)
        real = dequantize(taken, self._tensor)
        scores = real[self._first :].max(0)
        if scores.max() == math.inf:
            raise not_a_number()
        if self._first > BOX:
            scores *= real[BOX]
        corners = real[:BOX]
        if self._centred:
            half = corners[2:] / 2
            corners = np.concatenate((corners[:2] - half, corners[:2] + half))
        boxes, there = way.boxes(corners)
        return list(zip(scores[there].tolist(), indices[there].tolist(), *boxes.tolist(), strict=True))


class EndReader:
    """The objects of a model that suppresses overlaps itself, as YOLOv10 and YOLO26 do: `(1, n, 6)`."""

    def __init__(self, plan: DetectionDecoder, ends: Ends) -> None:
        """Allocate."""
        self._labels = len(plan.labels)
        self._ways = Ways(ends.given)
        self._finite, self._numbers = Finite(ends.tensors[0]), Numbers(ends.tensors[0])
        self._objects = Objects(plan.labels, plan.max_objects, None)
        self._above = Above(ends.tensors[0].shape[1], self._numbers.least(plan.min_score))

    def decode(
        self, outputs: Sequence[Array], frame: tuple[int, ...] = (), fed: Array | None = None
    ) -> Detections:
        """Return objects with boxes in pixels of `frame`; see `Decoder.decode`."""
        del fed
        array = outputs[0][0]
        self._finite.check(array)
        way, found = self._ways.to(frame), list[Candidate]()
        scale, zero = self._numbers.scale, self._numbers.zero
        for at in self._above.columns(array[:, BOX]):
            *corners, score, label = [(number - zero) * scale for number in array[at].tolist()]
            index = label_of(label, 0, self._labels)
            box = way.box(*corners)
            if box is not None:
                found.append((score, index, *box))
        return self._objects.of(found, way.sides)


def detection_reader(plan: DetectionDecoder, ends: Ends) -> DetectionReader | EndReader:
    """Return what reads the layout of `plan`."""
    return EndReader(plan, ends) if plan.layout == "end" else DetectionReader(plan, ends)
