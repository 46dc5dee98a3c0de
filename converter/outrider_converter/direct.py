"""A model file without training: the recipe that quantizes, verifies and packages it as it is.

What a file does not say of itself is asked for: preprocessing and labels. What it does say is taken
from it: shapes, and whether its last node is a softmax.
"""

import os
import re
import tomllib
from pathlib import Path
from typing import Any

from msgspec import Struct, to_builtins

from outrider_bundle import settings
from outrider_bundle.errors import DataError, UsageError
from outrider_converter import modelfile, preprocessing, tomltext
from outrider_converter.modelfile import ModelFile
from outrider_converter.naming import SCORES, class_names, labelled
from outrider_converter.preprocessing import Told
from outrider_converter.recipe import Recipe, contradictions
from outrider_converter.targets import Target, built_in, load_targets

DROP, UNLABELLED_DROP, COSINE = 2.0, 100.0, 0.99
"""Defaults of the budget; without labels the cosine alone decides."""

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
    preprocess: Path | None = None
    drop: float | None = None
    cosine: float | None = None
    samples: int | None = None
    name: str | None = None
    version: str = "0.1.0"
    app: str | None = None
    hardware: tuple[str, ...] = ()


class Direct(Struct, frozen=True, kw_only=True):
    """A recipe, the same as text, and the folder that its paths count from."""

    recipe: Recipe
    text: str
    folder: Path


def direct(request: Request) -> Direct:
    """Return the recipe for a model file.

    Raises:
        UsageError: something is left out that nobody can know, or options contradict one another.
        DataError: model, labels and calibration data do not fit one another.
    """
    model = modelfile.read(request.model)
    missing = _missing(request, model)
    if missing:
        raise UsageError("\n\n".join([f"{model.path} cannot be converted yet. Nobody has said:", *missing]))
    targets = load_targets(request.targets, Path.cwd())
    formats = _formats(model, targets)
    calibration = _calibration(request.calibration or Path())
    told = preprocessing.read(request.preprocess or Path(), model)
    outputs = modelfile.answers(model, told.file_shape)
    names = class_names(request.labels, model, tuple(tuple(array.shape) for array in outputs))
    known = labelled(calibration, names)
    folder = request.model.resolve().parent
    table = {
        **_head(request, model, targets, folder),
        "steps": [*(f"export_{name}" for name in formats), "quantize"],
        "teacher": _teacher(
            model, told, probabilities=bool(names) and modelfile.are_probabilities(outputs[0])
        ),
        "data": _data(calibration, folder, names),
        "input": _input(model, told),
        "student": {"family": "as-is"},
        "budget": {
            "drop": float(_given(request.drop, DROP if known else UNLABELLED_DROP)),
            "cosine": float(_given(request.cosine, COSINE)),
        },
        "quantize": {"method": "auto", **({} if request.samples is None else {"samples": request.samples})},
        "export": {"formats": formats},
    }
    text = "# Made by: outrider convert MODEL --calibration DIR\n" + tomltext.dumps(table)
    return Direct(recipe=_parse(text), text=text, folder=folder)


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
    if request.labels is None and len(model.outputs) == 1 and len(output.shape) == SCORES:
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
