"""What a decoder asks of the outputs that it reads, and what in it contradicts itself.

It is asked twice: of the shapes that a manifest gives its outputs, before a bundle is accepted, and of those
that a variant's file has, before it is loaded.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from outrider_bundle.manifest import (
    AnomalyDecoder,
    ClassificationDecoder,
    ControlDecoder,
    Decoder,
    DetectionDecoder,
    ImagePreprocess,
    Input,
    RawDecoder,
    RegressionDecoder,
    SsdDecoder,
    Task,
)

DECODERS: dict[Task, tuple[type, ...]] = {
    "classification": (ClassificationDecoder,),
    "regression": (RegressionDecoder,),
    "detection": (DetectionDecoder, SsdDecoder),
    "control": (ControlDecoder,),
    "anomaly": (AnomalyDecoder,),
    "raw": (RawDecoder,),
}
"""What reads the first output of a task."""

BOX = 4
"""Numbers of a box; in a candidate they come first."""

END, ROW = 6, 7
"""Numbers of an object that is told once: box, score and index; image, index, score and box."""

CANDIDATES = 3
"""Dimensions of an output of candidates: batch, numbers and candidates, or batch, candidates and numbers."""

SETS = (("boxes", "classes", "scores", "count"), ("boxes", "scores"), ("rows",))
"""What the outputs of an SSD detector may be, each set in any order."""

Shape = tuple[int, ...]
Fault = tuple[str, str]
"""What is wrong, as said of an output, and the cure."""


def has_objectness(decoder: DetectionDecoder) -> bool:
    """Return whether a number behind the box says how likely there is anything."""
    return decoder.objectness is True


def numbers_axis(decoder: DetectionDecoder, shape: Shape) -> int:
    """Return the axis, 1 or 2, along which the numbers of one candidate lie; 0 if that cannot be told."""
    if len(shape) != CANDIDATES or shape[0] != 1:
        return 0
    if decoder.layout == "end":
        return 2 if shape[2] == END else 0
    fits = [axis for axis in (1, 2) if shape[axis] == _numbers(decoder)]
    return fits[0] if len(fits) == 1 else 0


def background(decoder: SsdDecoder) -> int:
    """Return how many indices stand before the first label."""
    return int(decoder.background)


def faults(decoder: Decoder, shapes: Sequence[Shape], given: Input) -> Iterator[Fault]:
    """Yield what contradicts `decoder`, which stands at the first of the outputs.

    Args:
        decoder: how the outputs are read.
        shapes: of all outputs, each with its batch dimension.
        given: the logical input.
    """
    most = len(decoder.outputs) if isinstance(decoder, SsdDecoder) else 1
    if isinstance(decoder, RawDecoder):
        return
    if len(shapes) != most:
        yield (
            f"is the first of {len(shapes)} outputs, and its decoder reads {most}",
            "Give those that it reads",
        )
        return
    if isinstance(decoder, DetectionDecoder | SsdDecoder) and not isinstance(
        given.preprocess, ImagePreprocess
    ):
        yield "has boxes, but the input is no image", "Detect on images"
    yield from _FAULTS[type(decoder)](decoder, shapes, given)


def _classification(decoder: ClassificationDecoder, shapes: Sequence[Shape], given: Input) -> Iterator[Fault]:
    del given
    if len(decoder.labels) != math.prod(shapes[0][1:]):
        yield f"has {len(decoder.labels)} labels for a shape of {shapes[0]}", "Name every score"


def _yolo(decoder: DetectionDecoder, shapes: Sequence[Shape], given: Input) -> Iterator[Fault]:
    del given
    shape, labels = shapes[0], len(decoder.labels)
    end = decoder.layout == "end"
    if end and has_objectness(decoder):
        yield "has the layout 'end', whose scores need no objectness", "Leave objectness out"
    if numbers_axis(decoder, shape):
        return
    numbers = END if end else _numbers(decoder)
    if not end and shape == (1, numbers, numbers):
        yield (
            f"has as many candidates as numbers in each: {shape}",
            "Convert the model for another size of image",
        )
    elif end:
        yield (
            f"has {labels} labels for a shape of {shape}",
            f"Objects of the layout 'end' are (1, n, {END})",
        )
    else:
        yield (
            f"has {labels} labels for a shape of {shape}",
            f"Candidates have {numbers - labels} + labels numbers: (1, {numbers}, n) or (1, n, {numbers})",
        )


def _ssd(decoder: SsdDecoder, shapes: Sequence[Shape], given: Input) -> Iterator[Fault]:
    del given
    if tuple(sorted(decoder.outputs)) not in {tuple(sorted(one)) for one in SETS}:
        sets = "; ".join(", ".join(one) for one in SETS)
        yield f"is read from {', '.join(decoder.outputs)}", f"An SSD detector has one of: {sets}"
        return
    if decoder.outputs == ("rows",) and decoder.box != "xyxy":
        yield "has rows, whose boxes are left, top, right and bottom", "Say box = 'xyxy'"
    found = dict(zip(decoder.outputs, shapes, strict=True))
    count = (*found["rows"], 1, 1, 1)[2] if "rows" in found else (*found["boxes"], 1, 1)[1]
    scores = len(decoder.labels) + background(decoder)
    wanted: dict[str, Shape] = {
        "boxes": (1, count, BOX),
        "classes": (1, count),
        "scores": (1, count) if "classes" in found else (1, count, scores),
        "count": (1,),
        "rows": (1, 1, count, ROW),
    }
    for role, shape in found.items():
        if shape != wanted[role]:
            yield f"has {role} of the shape {shape} beside {count} boxes", f"Here they are {wanted[role]}"


def _regression(decoder: RegressionDecoder, shapes: Sequence[Shape], given: Input) -> Iterator[Fault]:
    del given
    yield from _names(decoder.names, shapes[0])
    yield from _entries({"mean": decoder.mean, "std": decoder.std}, len(decoder.names))


def _control(decoder: ControlDecoder, shapes: Sequence[Shape], given: Input) -> Iterator[Fault]:
    del given
    yield from _names(decoder.names, shapes[0])
    if decoder.space == "discrete" and (decoder.squash != "none" or decoder.scaled):
        yield "has discrete actions, which are neither squashed nor scaled", "Leave squash and scaled out"
    yield from _entries({"low": decoder.low, "high": decoder.high}, len(decoder.names))
    low, high = spread(decoder.low, len(decoder.names)), spread(decoder.high, len(decoder.names))
    for name, least, largest in zip(decoder.names, low, high, strict=False):
        if not least < largest:
            yield f"has '{name[:64]}' from {least:g} to {largest:g}", "low is less than high"
            return


def _anomaly(decoder: AnomalyDecoder, shapes: Sequence[Shape], given: Input) -> Iterator[Fault]:
    if not math.isfinite(decoder.threshold):
        yield f"has a threshold of {decoder.threshold}", "A threshold is a finite number"
    if decoder.method == "score" and math.prod(shapes[0][1:]) != 1:
        yield f"has a shape of {shapes[0]}", "A score is one number"
    if decoder.method == "reconstruction" and math.prod(shapes[0]) != math.prod(given.shape):
        yield (
            f"has a shape of {shapes[0]} for an input of {given.shape}",
            "A reconstruction has as many numbers as the input",
        )


_FAULTS: dict[type, Callable[[Any, Sequence[Shape], Input], Iterator[Fault]]] = {
    ClassificationDecoder: _classification,
    DetectionDecoder: _yolo,
    SsdDecoder: _ssd,
    RegressionDecoder: _regression,
    ControlDecoder: _control,
    AnomalyDecoder: _anomaly,
}


def spread(numbers: Sequence[float], count: int) -> tuple[float, ...]:
    """Return one number for each of `count`, where one may be given for all."""
    return tuple(numbers) if len(numbers) != 1 else tuple(numbers) * count


def _numbers(decoder: DetectionDecoder) -> int:
    """Return how many numbers a candidate has that is not suppressed yet."""
    return BOX + has_objectness(decoder) + len(decoder.labels)


def _names(names: tuple[str, ...], shape: Shape) -> Iterator[Fault]:
    if len(names) != math.prod(shape[1:]):
        yield f"has {len(names)} names for a shape of {shape}", "Name every number"
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        yield f"has two of the name '{twice[0][:64]}'", "Give each number a name of its own"


def _entries(numbers: dict[str, tuple[float, ...]], count: int) -> Iterator[Fault]:
    for what, given in numbers.items():
        if len(given) not in {1, count}:
            yield f"has {len(given)} entries in {what} for {count} names", "Give one for each, or one for all"
        if not all(map(math.isfinite, given)):
            yield f"has an infinite number in {what}", "Give finite numbers"
