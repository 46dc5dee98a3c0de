"""Several models in a row: what a detector finds is looked at by others, in crops of the frame."""

from collections.abc import Sequence
from time import monotonic_ns

from msgspec import Struct
from msgspec.structs import replace

from outrider_agent.buffers import keep
from outrider_agent.config import CascadeTable
from outrider_agent.perceiver import Perceiver
from outrider_agent.seams import Frame
from outrider_agent.telemetry.metrics import Meters
from outrider_bundle.errors import EngineError
from outrider_runtime.perception import Box, Classification, Detection, Detections, Perception
from outrider_runtime.session import Array


class Second(Struct, frozen=True, kw_only=True):
    """A model that looks at objects: which ones, and what runs it."""

    table: CascadeTable
    perceiver: Perceiver
    meters: Meters


class Cascade:
    """A detector and the models behind it, as one; an object is looked at by the first that wants it.

    Args:
        first: finds objects.
        seconds: look at them, in order.
    """

    def __init__(self, first: Perceiver, seconds: Sequence[Second]) -> None:
        """Hold the parts."""
        self._first, self._seconds = first, seconds

    def ready(self, wait_s: float) -> bool:
        """Return whether all models are there, waiting up to `wait_s` for each."""
        return self._first.ready(wait_s) and all(one.perceiver.ready(wait_s) for one in self._seconds)

    def perceive(self, frame: Frame, meters: Meters, begun_ns: int) -> Perception:
        """Return what the first model sees in `frame`, with what the others see in its objects.

        Raises:
            EngineError: one of the models failed or was late; half of an answer is none.
        """
        try:
            found = self._first.perceive(replace(frame, release=keep), meters, begun_ns)
            if not (isinstance(found, Detections) and found.objects):
                return found
            asked_ns = monotonic_ns()
            for second in self._seconds:
                found = replace(found, objects=_detailed(second, frame, found.objects))
            meters.stages["cascade"].record(monotonic_ns() - asked_ns)
            return found
        finally:
            frame.release()


def wanted(table: CascadeTable, objects: Sequence[Detection]) -> tuple[int, ...]:
    """Return which objects are looked at: the surest `most` of those that match and have no detail yet."""
    matching = (
        at
        for at, one in enumerate(objects)
        if one.detail is None and one.score >= table.min_score and one.label in (table.labels or (one.label,))
    )
    return tuple(at for _, at in zip(range(table.most), matching, strict=False))


def crop(array: Array, box: Box, margin: float) -> Array:
    """Return what of a picture is in `box` and `margin` times its sides around: a view, never empty."""
    left, top, width, height = box
    rows, columns = array.shape[:2]
    x0, y0 = max(0, int(left - margin * width)), max(0, int(top - margin * height))
    x1 = min(columns, round(left + (1 + margin) * width))
    y1 = min(rows, round(top + (1 + margin) * height))
    x0, y0 = min(x0, columns - 1), min(y0, rows - 1)
    return array[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]


def _detailed(second: Second, frame: Frame, objects: Sequence[Detection]) -> tuple[Detection, ...]:
    seen = list(objects)
    for at in wanted(second.table, objects):
        part = crop(frame.array, objects[at].box, second.table.margin)
        begun_ns = monotonic_ns()
        detail = second.perceiver.perceive(replace(frame, array=part, release=keep), second.meters, begun_ns)
        if not isinstance(detail, Classification):
            raise EngineError("The second model of a cascade is no classifier", "Give it a classifier")
        seen[at] = replace(objects[at], detail=detail)
    return tuple(seen)
