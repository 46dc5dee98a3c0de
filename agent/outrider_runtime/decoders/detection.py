"""Outputs with a box and one score per label for each of many candidates, as YOLO detectors have them."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import DetectionDecoder, ImagePreprocess, Input, Quantization, Tensor
from outrider_runtime.decoders.stored import dequantize, not_a_number
from outrider_runtime.geometry import Resize, WayBack, sides
from outrider_runtime.perception import Detection, Detections
from outrider_runtime.session import Array

BOX = 4
"""Rows that hold the box; those behind are scores."""

MOST = 1000
"""Candidates among which overlaps are looked for; of more the best. It bounds a broken model's time."""

NOTHING = Detections()
PLAIN = Quantization(scale=1.0)


class DetectionReader:
    """The objects that stand out, each once. It owns scratch memory: one thread at a time.

    Most candidates of most frames are none, so they are sorted out by what is stored, before a box is
    looked at. Overlaps are judged on boxes as they are reported, within the frame: by OpenCV, which took
    27 us for 50 candidates and 170 us for 300 where the best of numpy took 67 and 580.
    """

    def __init__(self, plan: DetectionDecoder, tensor: Tensor, given: Input) -> None:
        """Check shapes and allocate.

        Raises:
            EngineError: `tensor` is not `(1, 4 + labels, n)`, or `given` is no image.
        """
        shape, rows = tensor.shape, BOX + len(plan.labels)
        if shape[:-1] != (1, rows):
            what = f"There are {len(plan.labels)} labels for an output of {shape}"
            raise EngineError(what, f"Candidates are (1, {BOX} + labels, n): here (1, {rows}, n)")
        if not isinstance(given.preprocess, ImagePreprocess) or not sides(given):
            raise EngineError("There are boxes in an input that is no image", "Detect on images")
        _, height, width = sides(given)
        self._plan, self._tensor = plan, tensor
        self._size = height, width
        self._resize: Resize = given.preprocess.resize
        self._back = WayBack(self._size, self._size, self._resize)
        stored = tensor.quantization or PLAIN
        self._least = plan.min_score / stored.scale + stored.zero_point
        self._real = np.issubdtype(np.dtype(tensor.dtype), np.floating)
        self._best = np.empty(shape[-1], np.dtype(tensor.dtype))
        self._clear = np.empty(shape[-1], np.bool_)

    def decode(self, array: Array, frame: tuple[int, ...] = ()) -> Detections:
        """Return objects with boxes in pixels of `frame`; see `Decoder.decode`."""
        rows = array[0]
        np.maximum.reduce(rows[BOX:], axis=0, out=self._best)
        # A NaN is the largest of any numbers, and the smallest.
        if self._real and not (
            math.isfinite(np.minimum.reduce(rows, None)) and math.isfinite(np.maximum.reduce(rows, None))
        ):
            raise not_a_number()
        columns = self._candidates()
        if not columns.size:
            return NOTHING
        values = dequantize(rows.take(columns, 1), self._tensor)
        corners = self._way(frame).corners(values[:BOX])
        there = (corners[2:] > corners[:2]).all(0)
        return self._objects(corners[:, there], values[BOX:, there])

    def _candidates(self) -> NDArray[np.intp]:
        """Return the columns whose best score suffices, the best `MOST` of them."""
        np.greater_equal(self._best, self._least, out=self._clear)
        columns = self._clear.nonzero()[0]
        if len(columns) > MOST:
            columns = columns[np.argsort(self._best[columns], kind="stable")[-MOST:]]
        return columns

    def _way(self, frame: tuple[int, ...]) -> WayBack:
        """Return the way to pixels of `frame`; frames of a source all have one shape."""
        height, width = frame[:2] if frame else self._size
        if self._back.frame != (height, width):
            self._back = WayBack((height, width), self._size, self._resize)
        return self._back

    def _objects(self, corners: NDArray[np.float64], scores: NDArray[np.float64]) -> Detections:
        """Return one object for each heap of boxes `(4, n)` of a label, with its `scores` `(labels, n)`."""
        plan = self._plan
        corners[2:] -= corners[:2]
        indices, sure, boxes = scores.argmax(0).tolist(), scores.max(0).tolist(), corners.T.tolist()
        kept = cv2.dnn.NMSBoxesBatched(boxes, sure, indices, 0.0, plan.iou) if boxes else ()
        best = sorted((int(at) for at in kept), key=lambda at: (-sure[at], at))[: plan.max_objects]
        return Detections(
            objects=tuple(
                Detection(
                    label=plan.labels[indices[at]], index=indices[at], score=sure[at], box=tuple(boxes[at])
                )
                for at in best
            )
        )
