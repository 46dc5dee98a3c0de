"""The table `output` of a model file: what the user says of its outputs, and what their shapes leave open.

Shapes tell most layouts of detectors apart. Where two fit, the user is asked; what was inferred is said.
"""

import math
from pathlib import Path
from typing import Any

from msgspec import Struct

from outrider_bundle.errors import DataError, UsageError
from outrider_converter import detectors
from outrider_converter.modelfile import ModelFile
from outrider_converter.naming import NO_LABELS, SCORES, check_names, read_names
from outrider_runtime.session import Array

OPTIONS: dict[str, tuple[str, ...]] = {
    "classification": ("labels",),
    "detection": ("labels", "layout", "box", "background", "min_score", "iou"),
    "regression": ("names",),
    "control": ("names", "space"),
    "anomaly": ("threshold", "method"),
}
"""Options of each task."""

NEEDED = {
    "detection": (
        "labels",
        "which objects it finds. Add --labels FILE, one name a line, without a background",
    ),
    "regression": (
        "names",
        "what its numbers are called. Add --names ONE,TWO, or a file with one name a line",
    ),
    "control": (
        "names",
        "what its actions are called. Add --names LEFT,RIGHT, or a file with one name a line",
    ),
    "anomaly": ("threshold", "from which score on an input is an anomaly. Add --threshold SCORE"),
}
"""What nobody can know of a task, and how to say it."""


class Said(Struct, frozen=True, kw_only=True):
    """The part of the command line that is about outputs; None where an option was left out."""

    task: str | None = None
    labels: str | None = None
    names: str | None = None
    layout: str | None = None
    box: str | None = None
    background: bool | None = None
    min_score: float | None = None
    iou: float | None = None
    space: str | None = None
    threshold: float | None = None
    method: str | None = None


class Head(Struct, frozen=True, kw_only=True):
    """The table `output` of a recipe, and what was inferred of it, a sentence each."""

    table: dict[str, Any]
    inferred: tuple[str, ...] = ()


def check(said: Said) -> None:
    """Refuse options of another task.

    Raises:
        UsageError: there is no such task, or options are of another.
    """
    task = said.task or "classification"
    if task not in OPTIONS:
        raise UsageError(f"There is no task '{task}'", f"Say --task with one of: {', '.join(OPTIONS)}")
    all_of = dict.fromkeys(name for names in OPTIONS.values() for name in names)
    strange = [name for name in all_of if getattr(said, name) is not None and name not in OPTIONS[task]]
    if not strange:
        return
    owners = [name for name, options in OPTIONS.items() if {*strange} <= {*options}]
    shown = ", ".join("--" + name.replace("_", "-") for name in strange)
    cure = f"Say --task {owners[0]}, or leave them out" if owners else "Leave them out"
    raise UsageError(f"The task {task} does not take {shown}", cure)


def missing(said: Said) -> str | None:
    """Return what nobody has said of the outputs, if anything."""
    name, text = NEEDED.get(said.task or "", (None, ""))
    return text if name and getattr(said, name) in (None, NO_LABELS) else None


def head(said: Said, model: ModelFile, outputs: tuple[Array, ...], entry: tuple[int, ...]) -> Head:
    """Return the table of a task that is not classification.

    Args:
        said: the options; what `missing` asks for is there.
        model: the file.
        outputs: its answers to noise.
        entry: shape of its input.

    Raises:
        UsageError: options and shapes contradict one another, or two layouts fit.
        DataError: names and shapes do not fit, or a file of names cannot be read.
    """
    if any(array.shape[:1] != (1,) for array in outputs) and said.task != "detection":
        raise DataError(f"The outputs {shown(model, outputs)} are not a batch of 1", "Export it with a batch")
    if said.task == "detection":
        labels = read_names(Path(said.labels or ""))
        wish = detectors.Wish(
            box=said.box, background=said.background, min_score=said.min_score, iou=said.iou
        )
        found = detectors.detector(said.layout, labels, wish, detectors.seen(model, outputs))
        return Head(table=found.table, inferred=found.inferred)
    if len(outputs) != 1:
        raise UsageError(
            f"The task {said.task} reads one output, and the file has {shown(model, outputs)}",
            "Export the model with that output alone",
        )
    if said.task == "anomaly":
        return _anomaly(said, outputs[0].shape, entry, shown(model, outputs))
    return _named(said, outputs[0].shape, shown(model, outputs))


def shown(model: ModelFile, outputs: tuple[Array, ...]) -> str:
    """Return names and shapes for people."""
    pairs = zip(model.outputs, outputs, strict=True)
    return " and ".join(f"'{port.name}' {array.shape}" for port, array in pairs)


def _named(said: Said, shape: tuple[int, ...], what: str) -> Head:
    """Return the table of numbers or actions with names."""
    given = said.names or ""
    names = read_names(Path(given)) if Path(given).is_file() else check_names(_listed(given), "--names")
    if len(shape) != SCORES or shape[1] != len(names):
        raise DataError(
            f"There are {len(names)} names ({', '.join(names[:4])}), and the output is {what}",
            "Give one name a number, in the order of the output (1, N)",
        )
    if said.task == "regression":
        return Head(table={"kind": "regression", "names": list(names)})
    space = said.space or "discrete"
    text = "the actions are discrete: that of the largest number is done (else: --space continuous)"
    told = () if said.space else (text,)
    return Head(table={"kind": "control", "names": list(names), "space": space}, inferred=told)


def _listed(given: str) -> list[str]:
    return [name.strip() for name in given.split(",")]


def _anomaly(said: Said, shape: tuple[int, ...], entry: tuple[int, ...], what: str) -> Head:
    """Return the table of a score, or of a reconstruction if the output is like the input."""
    fits = {"score": math.prod(shape) == 1, "reconstruction": math.prod(shape) == math.prod(entry)}
    method = said.method
    if method is None:
        fitting = [name for name, fit in fits.items() if fit]
        if len(fitting) != 1:
            raise UsageError(
                f"The output {what} is neither one score nor of the input's size {entry}"
                if not fitting
                else f"The output {what} may be a score or a reconstruction",
                "Export the score, or say --method score or --method reconstruction",
            )
        method = fitting[0]
    elif not fits[method]:
        needed = "one number" if method == "score" else f"of the input's size {entry}"
        raise UsageError(f"--method {method} needs an output that is {needed}, this is {what}", "Correct it")
    told = () if said.method else (f"the output is a {method}, by its shape {shape}",)
    return Head(table={"kind": "anomaly", "threshold": said.threshold, "method": method}, inferred=told)
