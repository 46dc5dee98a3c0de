"""A model file without training: the recipe that quantizes, verifies and packages it as it is.

What a file does not say of itself is asked for: preprocessing and labels. What it does say is taken
from it: shapes, and whether its last node is a softmax.
"""

import os
import re
import tomllib
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct, to_builtins

from outrider_bundle import settings
from outrider_bundle.errors import DataError, UsageError
from outrider_converter import heads, modelfile, preprocessing, tomltext
from outrider_converter.heads import Head, Said
from outrider_converter.modelfile import ModelFile
from outrider_converter.naming import SCORES, class_names, labelled
from outrider_converter.preprocessing import Told
from outrider_converter.recipe import Recipe, contradictions
from outrider_converter.targets import Target, built_in, load_targets

DROP, UNLABELLED_DROP, COSINE = 2.0, 100.0, 0.99
"""Defaults of the budget; without labels the cosine alone decides."""

TASKS = {"regression": DROP, "control": DROP, "anomaly": DROP, "detection": 5.0}
"""Tasks that are judged by the float model itself, and points that may be lost: of R2, of agreement on the
action, of R2 of the score, of Dice's share of objects."""

HELD_OUT = 0.25
"""Share of the samples to decide with, and the same again to report on; the rest calibrates."""

MADE_OF = {"onnx": ("onnx", "openvino"), "tflite": ("tflite",)}
"""Formats that a file can become without a network of torch."""


class Request(Struct, frozen=True, kw_only=True):
    """The command line of the direct form; None where an option was left out.

    Args:
        model: the file.
        calibration: a folder of images, or an `.npz` file.
        targets: names of targets.
        labels: a file with one name a line, or `none` for raw outputs.
        task: what the outputs are for; classification, or raw outputs, if left out.
        names: of numbers or actions, divided by commas, or a file with one a line.
        layout: of a detector's outputs; see `detectors.LAYOUTS`.
        box: order of a box's edges in SSD detectors.
        background: whether label 0 of an SSD detector is the background.
        min_score: what is below is no object.
        iou: of two boxes that overlap more the better one is kept.
        space: of actions.
        threshold: from which score on an input is an anomaly.
        method: how an anomaly is seen.
        preprocess: a file that `preprocessing` reads.
        drop: points that may be lost.
        cosine: smallest median cosine to the float model.
        samples: how many calibrate.
        name: of the bundle; the file's if left out.
        version: of the bundle.
        app: the bundle's name if left out.
        hardware: of the targets if left out.
    """

    model: Path
    calibration: Path | None = None
    targets: tuple[str, ...] = ()
    labels: str | None = None
    task: str | None = None
    names: str | None = None
    layout: str | None = None
    box: Literal["yxyx", "xyxy"] | None = None
    background: bool | None = None
    min_score: float | None = None
    iou: float | None = None
    space: Literal["discrete", "continuous"] | None = None
    threshold: float | None = None
    method: Literal["score", "reconstruction"] | None = None
    preprocess: Path | None = None
    drop: float | None = None
    cosine: float | None = None
    samples: int | None = None
    name: str | None = None
    version: str = "0.1.0"
    app: str | None = None
    hardware: tuple[str, ...] = ()


class Direct(Struct, frozen=True, kw_only=True):
    """A recipe, the same as text, the folder that its paths count from, and what was inferred of the file."""

    recipe: Recipe
    text: str
    folder: Path
    inferred: tuple[str, ...] = ()


def direct(request: Request) -> Direct:
    """Return the recipe for a model file.

    Raises:
        UsageError: something is left out that nobody can know, or options contradict one another.
        DataError: model, labels and calibration data do not fit one another.
    """
    said = _said(request)
    heads.check(said)
    model = modelfile.read(request.model)
    missing = _missing(request, model)
    if missing:
        raise UsageError("\n\n".join([f"{model.path} cannot be converted yet. Nobody has said:", *missing]))
    targets = load_targets(request.targets, Path.cwd())
    formats = _formats(model, targets)
    calibration = _calibration(request.calibration or Path())
    told = preprocessing.read(request.preprocess or Path(), model)
    outputs = modelfile.answers(model, told.file_shape)
    head = heads.head(said, model, outputs, told.file_shape) if request.task in TASKS else None
    classes = class_names(request.labels, model, tuple(tuple(a.shape) for a in outputs)) if not head else ()
    actions = head is not None and _discrete(head)
    known = labelled(calibration, ("any",) if head else classes)
    if known and head:
        raise DataError(
            f"{calibration} holds classes, and the task {request.task} is judged by the float model",
            "Give the samples without classes: all in one folder, or no array y",
        )
    folder = request.model.resolve().parent
    table = {
        **_head(request, model, targets, folder),
        "steps": [*(f"export_{name}" for name in formats), "quantize"],
        "teacher": _teacher(
            model, told, probabilities=bool(classes or actions) and modelfile.are_probabilities(outputs[0])
        ),
        "data": _data(calibration, folder, classes),
        "input": _input(model, told),
        "student": {"family": "as-is"},
        "budget": _budget(request, known=known),
        "quantize": {"method": "auto", **({} if request.samples is None else {"samples": request.samples})},
        "export": {"formats": formats},
    }
    if head:
        table = {**table, "task": request.task, "output": head.table}
    inferred = head.inferred if head else ()
    notes = "".join(f"# Inferred: {one}\n" for one in inferred)
    text = "# Made by: outrider convert MODEL --calibration DIR\n" + notes + tomltext.dumps(table)
    return Direct(recipe=_parse(text), text=text, folder=folder, inferred=inferred)


def _said(request: Request) -> Said:
    return Said(**{name: getattr(request, name) for name in Said.__struct_fields__})


def _discrete(head: Head) -> bool:
    return bool(head.table["kind"] == "control" and head.table["space"] == "discrete")


def _budget(request: Request, *, known: bool) -> dict[str, float]:
    """Return the table of the budget: of tasks without labels the drop alone decides."""
    if request.task in TASKS:
        table = {"drop": float(_given(request.drop, TASKS[request.task]))}
        return table if request.cosine is None else {**table, "cosine": request.cosine}
    return {
        "drop": float(_given(request.drop, DROP if known else UNLABELLED_DROP)),
        "cosine": float(_given(request.cosine, COSINE)),
    }


def _parse(text: str) -> Recipe:
    """Return the recipe that `text` is, by the same checks as one of the user's own."""
    recipe, faults = settings.convert(tomllib.loads(text), Recipe, "")
    faults = [*faults, *(contradictions(recipe) if recipe is not None and not faults else [])]
    if recipe is None or faults:
        raise UsageError(settings.summary("The command line", faults), "Correct the option of that name")
    return recipe


def _missing(request: Request, model: ModelFile) -> list[str]:
    """Return what is left out that nobody can know, each with what to add."""
    entry, output = model.inputs[0], model.outputs[0]
    missing = []
    if not request.targets:
        names = ", ".join(target.name for target in built_in())
        missing.append(f"which device to convert for. Add --target NAME with one of: {names}")
    if request.calibration is None:
        missing.append(
            "what the model will see. Add --calibration DIR, a folder of images, best some hundreds from the "
            "real camera, or --calibration FILE.npz with an array x"
        )
    unsaid = heads.missing(_said(request))
    if unsaid:
        missing.append(unsaid)
    if request.task in TASKS:
        pass
    elif request.labels is None and len(model.outputs) == 1 and len(output.shape) == SCORES:
        many = "the" if output.shape[1] is None else f"{output.shape[1]}"
        missing.append(
            f"what the numbers of the output {output} are. Add --labels FILE with {many} class names, one a "
            "line, or --labels none for raw outputs, on which an agent cannot act"
        )
    if request.preprocess is None:
        missing.append(
            f"how frames become the input {entry}; a guess would spoil every number. Fill in the file below, "
            "save it as preprocess.toml and add --preprocess preprocess.toml"
        )
        missing.append(preprocessing.template(entry))
    return missing


def _formats(model: ModelFile, targets: tuple[Target, ...]) -> list[str]:
    """Return the formats that the file can be had in and that the targets want, in their order.

    Raises:
        DataError: a target wants none of them.
    """
    possible = MADE_OF[model.runtime]
    for target in targets:
        if not {*possible} & {*target.runtimes}:
            raise DataError(
                f"The target {target.name} runs {', '.join(target.runtimes)}, "
                f"and {model.path.name} can become {', '.join(possible)}",
                "Give the model in another format, choose another target, or convert by a recipe",
            )
    wanted = dict.fromkeys(name for target in targets for name in target.runtimes)
    return [name for name in wanted if name in possible]


def _calibration(path: Path) -> Path:
    if path.is_dir() or (path.is_file() and path.suffix == ".npz"):
        return path
    what = "is neither a folder nor an .npz file" if path.exists() else "is not there"
    raise UsageError(f"{path} {what}, to calibrate on", "Name a folder of images, or an .npz file")


def _head(request: Request, model: ModelFile, targets: tuple[Target, ...], folder: Path) -> dict[str, Any]:
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", model.path.stem).strip("-")[:64] or "model"
    name = _given(request.name, plain)
    hardware = request.hardware or tuple(dict.fromkeys(target.hardware for target in targets))
    return {
        "name": name,
        "version": request.version,
        "app": _given(request.app, name),
        "hardware": list(hardware),
        "targets": [_beside(name, folder) if name.endswith(".toml") else name for name in request.targets],
    }


def _teacher(model: ModelFile, told: Told, *, probabilities: bool) -> dict[str, Any]:
    table: dict[str, Any] = {"file": model.path.name}
    if probabilities:
        table["output"] = "probabilities"
    if told.file_layout is not None:
        table["layout"] = told.file_layout
    return table


def _data(calibration: Path, folder: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the table of the data; its path is relative, so that the recipe is the same elsewhere."""
    place = _beside(calibration, folder)
    return {
        "npz" if calibration.is_file() else "folder": place,
        **({"classes": list(names)} if names else {}),
        "name": calibration.resolve().stem,
        "validation": HELD_OUT,
        "test": HELD_OUT,
    }


def _beside(path: str | Path, folder: Path) -> str:
    return os.path.relpath(Path(path).resolve(), folder)


def _input(model: ModelFile, told: Told) -> dict[str, Any]:
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", model.inputs[0].name).strip("_")[:64] or "input"
    preprocess = to_builtins(told.preprocess)
    return {"name": plain, "shape": list(told.shape), "layout": told.layout, "preprocess": preprocess}


def _given(value: Any, default: Any) -> Any:  # noqa: ANN401 - of whatever kind the option is
    return default if value is None else value
