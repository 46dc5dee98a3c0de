"""How far answers are from golden ones: each kind of number by a measure of its own.

Among coordinates of hundreds of pixels nobody would see a wrong score, so boxes and scores are judged apart.
Objects that a model has suppressed itself come in the order of their scores, which rounding may exchange:
those that are read are compared with the nearest, and classes must be the same ones.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from outrider_bundle.decoders import BOX, numbers_axis
from outrider_bundle.manifest import (
    AnomalyDecoder,
    ControlDecoder,
    Decoder,
    DetectionDecoder,
    RegressionDecoder,
    SsdDecoder,
    StepTolerance,
    Tensor,
    Tolerance,
)
from outrider_runtime.decoders import dequantize
from outrider_runtime.session import Array

Real = NDArray[np.float64]

TINY = float(np.finfo(np.float32).tiny)
CERTAIN = 1.0
"""The score of a certain object. Where there is none, the scores are noise near 0: theirs is no measure."""

OTHER = 0.1
"""So much further away an object of another class counts, in sizes of the box."""


class Difference(Struct, frozen=True, kw_only=True):
    """The largest difference of a sample.

    Args:
        gap: how large it is, in `unit`; infinite if there was no number.
        limit: how large it may be.
        unit: `steps`, `relative` or, of what stands for a label, `classes`.
    """

    gap: float
    limit: float
    unit: str


class Judged(Struct, frozen=True, kw_only=True):
    """One output: its tensor, its tolerance, and answers to all samples, `(n, ...)`."""

    tensor: Tensor
    tolerance: Tolerance
    actual: Array
    wanted: Array


class Objects(Struct, kw_only=True):
    """What a detector tells once: for each sample n boxes `(n, 4)`, scores and classes."""

    boxes: Real
    scores: Real
    classes: Real


def limit_of(tolerance: Tolerance) -> tuple[float, str]:
    """Return how large a difference may be, and its unit."""
    if isinstance(tolerance, StepTolerance):
        return tolerance.steps, "steps"
    return tolerance.relative, "relative"


def differences(decoder: Decoder, outputs: Sequence[Judged]) -> Iterator[Difference]:
    """Yield the difference of everything in `outputs` that is judged apart.

    Args:
        decoder: of the first output.
        outputs: all of them.
    """
    roles = _told_once(decoder)
    for at, output in enumerate(outputs):
        if not all(np.isfinite(one).all() for one in (output.actual, output.wanted)):
            limit, unit = limit_of(output.tolerance)
            yield Difference(gap=math.inf, limit=limit, unit=unit)
        elif not roles:
            yield from (_plain(output, part, floor) for part, floor in _parts(decoder, at, output))
    if roles and all(np.isfinite(one).all() for output in outputs for one in (output.actual, output.wanted)):
        yield from _of_objects(decoder, roles, outputs)


def _told_once(decoder: Decoder) -> tuple[str, ...]:
    """Return the roles of outputs of a detector that suppresses overlaps itself; nothing for any other."""
    if isinstance(decoder, DetectionDecoder) and decoder.layout == "end":
        return ("end",)
    if isinstance(decoder, SsdDecoder) and not {"classes", "rows"}.isdisjoint(decoder.outputs):
        return decoder.outputs
    return ()


def _parts(decoder: Decoder, at: int, output: Judged) -> Iterator[tuple[tuple[slice, ...], float]]:
    """Yield what of the output number `at` is judged apart, and what its norm is taken to be at least."""
    everything = (slice(None),)
    if isinstance(decoder, DetectionDecoder):
        before = everything * numbers_axis(decoder, output.tensor.shape)
        yield (*before, slice(BOX)), TINY
        yield (*before, slice(BOX, None)), CERTAIN
    elif isinstance(decoder, SsdDecoder):
        yield everything, CERTAIN if decoder.outputs[at] == "scores" else TINY
    elif isinstance(decoder, RegressionDecoder | ControlDecoder | AnomalyDecoder):
        # Such a number may be near 0 in one sample: half of the samples are larger than this.
        wanted = dequantize(output.wanted, output.tensor)
        yield everything, max(TINY, float(np.median(_norms(wanted))))
    else:
        yield everything, TINY


def _plain(output: Judged, part: tuple[slice, ...], floor: float) -> Difference:
    """Return the difference of a part of an output, whose numbers keep their places."""
    actual, wanted = output.actual[part], output.wanted[part]
    if isinstance(output.tolerance, StepTolerance):
        stored = actual.astype(np.float64), wanted.astype(np.float64)
        return _difference(output.tolerance, 1.0, stored, floor)
    real = dequantize(actual, output.tensor), dequantize(wanted, output.tensor)
    return _difference(output.tolerance, 1.0, real, floor)


def _difference(tolerance: Tolerance, scale: float, pair: tuple[Real, Real], floor: float) -> Difference:
    """Return the difference of a pair of numbers; one of them is `scale` times a stored one."""
    (limit, unit), (actual, wanted) = limit_of(tolerance), pair
    if isinstance(tolerance, StepTolerance):
        gap = float(np.abs(actual - wanted).max(initial=0.0)) / (tolerance.step * scale)
    else:
        gap = float((_norms(actual - wanted) / np.maximum(_norms(wanted), floor)).max(initial=0.0))
    return Difference(gap=gap, limit=limit, unit=unit)


def _norms(values: Real) -> Real:
    """Return the Euclidean norm of each sample."""
    norms: Real = np.linalg.norm(values.reshape(len(values), -1), axis=1)
    return norms


def _of_objects(decoder: Decoder, roles: tuple[str, ...], outputs: Sequence[Judged]) -> Iterator[Difference]:
    """Yield the differences of the boxes and classes that are read, and of all scores."""
    wanted, actual = (
        _objects(roles, [dequantize(array, one.tensor) for one, array in zip(outputs, arrays, strict=True)])
        for arrays in ([one.wanted for one in outputs], [one.actual for one in outputs])
    )
    least = decoder.min_score if isinstance(decoder, DetectionDecoder | SsdDecoder) else 0.0
    read = wanted.scores >= least
    for at, mask in enumerate(read):
        order = _order(actual, wanted, at, mask)
        for values in (actual.boxes, actual.scores, actual.classes):
            values[at] = values[at][order]
    boxes = outputs[roles.index("boxes") if "boxes" in roles else 0]
    scores = outputs[roles.index("scores") if "scores" in roles else 0]
    pair = actual.boxes * read[..., np.newaxis], wanted.boxes * read[..., np.newaxis]
    yield _difference(boxes.tolerance, _scale(boxes.tensor), pair, TINY)
    yield _difference(scores.tolerance, _scale(scores.tensor), (actual.scores, wanted.scores), CERTAIN)
    others = np.abs(np.rint(actual.classes) - np.rint(wanted.classes)) * read
    yield Difference(gap=float(others.max(initial=0.0)), limit=0.0, unit="classes")


def _scale(tensor: Tensor) -> float:
    return tensor.quantization.scale if tensor.quantization is not None else 1.0


def _objects(roles: tuple[str, ...], real: Sequence[Real]) -> Objects:
    """Return what the outputs tell, with a score of 0 behind the last object."""
    if roles == ("end",):
        return Objects(boxes=real[0][..., :BOX], scores=real[0][..., BOX], classes=real[0][..., BOX + 1])
    if roles == ("rows",):
        rows = real[0][:, 0]
        valid = np.logical_and.accumulate(rows[..., 0] >= 0.0, axis=1)
        return Objects(boxes=rows[..., 3:], scores=rows[..., 2] * valid, classes=rows[..., 1])
    found = dict(zip(roles, real, strict=True))
    valid = np.arange(found["scores"].shape[1]) < np.rint(found["count"]).reshape(-1, 1)
    return Objects(boxes=found["boxes"], scores=found["scores"] * valid, classes=found["classes"])


def _order(actual: Objects, wanted: Objects, at: int, read: NDArray[np.bool_]) -> list[int]:
    """Return which object of sample `at` stands for each one wanted: if that is read, the nearest."""
    order, left = [-1] * len(read), np.zeros(len(read))
    for row in np.flatnonzero(read).tolist():
        box = wanted.boxes[at, row]
        size = max(TINY, float(np.abs(box[2:] - box[:2]).sum()))
        away = np.abs(actual.boxes[at] - box).sum(1) / size + left
        away += np.abs(actual.scores[at] - wanted.scores[at, row])
        away += OTHER * (np.rint(actual.classes[at]) != np.rint(wanted.classes[at, row]))
        order[row] = int(away.argmin())
        left[order[row]] = math.inf
    rest = iter(np.flatnonzero(left == 0.0).tolist())
    return [next(rest) if one < 0 else one for one in order]
