"""`outrider convert`: a recipe, or a model file as it is, to a bundle."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import typer
from msgspec import Struct
from rich.console import Console

from outrider_bundle.dispatch import run_app
from outrider_bundle.errors import UsageError
from outrider_converter import arguments as args
from outrider_converter.progress import Reporter, bars

if TYPE_CHECKING:
    from outrider_converter.direct import Request
    from outrider_converter.report import Report

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

FORMS = "Name a RECIPE.toml, or a MODEL.onnx or MODEL.tflite to convert without training"
MODELS = (".onnx", ".tflite")
NEED_RECIPE = (".pt", ".pt2", ".pth", ".keras", ".h5")
NOT_REPRODUCED = 1
"""Exit code where a bundle made again is not the same."""

EPILOG = """[bold]Examples[/]

outrider convert examples/fashion/recipe.toml --out build/fashion

outrider convert recipe.toml --out build/model --json > report.json

outrider convert model.onnx --calibration images --target rpi5 --preprocess preprocess.toml --labels names.txt

outrider convert model.tflite --calibration images --target rpi5 --preprocess preprocess.toml --labels none

outrider convert yolo.onnx --task detection --labels coco.txt --calibration images --target rpi5 \
--preprocess preprocess.toml

outrider convert policy.onnx --task control --names left,right --calibration states.npz --target rpi5 \
--preprocess preprocess.toml

outrider convert model.onnx --calibration images --target rpi5    [dim](asks for what it has to know)[/]

outrider convert --list-targets --json

outrider convert --reproduce build/fashion/fashion.orb examples/fashion --out build/again
"""

Form = Literal["recipe", "direct", "list", "reproduce"]


class Shown(Struct, frozen=True, kw_only=True):
    """Where results go, and how they are printed."""

    out: Path | None
    as_json: bool


@app.command(epilog=EPILOG)
def convert(  # noqa: PLR0913 - each is an option of the command line
    source: args.Source = None,
    out: args.Out = None,
    *,
    as_json: args.Json = False,
    list_targets: args.ListTargets = False,
    reproduce: args.Reproduce = None,
    target: args.Target = None,
    calibration: args.Calibration = None,
    preprocess: args.Preprocess = None,
    labels: args.Labels = None,
    task: args.Task = None,
    layout: args.Layout = None,
    box: args.Box = None,
    background: args.Background = None,
    min_score: args.MinScore = None,
    iou: args.Iou = None,
    names: args.Names = None,
    space: args.Space = None,
    threshold: args.Threshold = None,
    method: args.Method = None,
    drop: args.Drop = None,
    cosine: args.Cosine = None,
    samples: args.Samples = None,
    name: args.Name = None,
    version: args.Version = None,
    app: args.App = None,
    hardware: args.Hardware = None,
) -> int:
    """Convert a model under one accuracy budget into a bundle: by a recipe, or a file without training.

    RECIPE.toml: distil, prune, quantize, verify, package. MODEL.onnx or MODEL.tflite: quantize, verify,
    package. Writes NAME.orb, report.json, report.html and predictions.json.

    Variants that miss the budget on validation data are left out, with the reason.
    If none is left, no bundle is written and the exit code is 30.
    """
    given = {
        "targets": target,
        "calibration": calibration,
        "preprocess": preprocess,
        "labels": labels,
        "task": task,
        "layout": layout,
        "box": box,
        "background": background,
        "min_score": min_score,
        "iou": iou,
        "names": names,
        "space": space,
        "threshold": threshold,
        "method": method,
        "drop": drop,
        "cosine": cosine,
        "samples": samples,
        "name": name,
        "version": version,
        "app": app,
        "hardware": hardware,
    }
    given = {key: value for key, value in given.items() if value not in (None, [])}
    shown = Shown(out=out, as_json=as_json)
    form = _form(source, list_targets=list_targets, reproduce=reproduce)
    _check_options(form, given)
    if form == "list":
        return _list(shown)
    if form == "reproduce" and reproduce is not None:
        return _reproduce(reproduce, source or Path(), shown)
    path = source or Path()
    return _direct(path, given, shown) if form == "direct" else _recipe(path, shown)


def _form(source: Path | None, *, list_targets: bool, reproduce: Path | None) -> Form:
    """Return which form of the command is meant.

    Raises:
        UsageError: none, or two at once.
    """
    if list_targets:
        if source is not None or reproduce is not None:
            raise UsageError("--list-targets converts nothing", "Call it without a model")
        return "list"
    if reproduce is not None:
        if source is not None and not source.is_dir():
            raise UsageError(f"{source} is not a folder", "Beside --reproduce, name the recipe's folder")
        return "reproduce"
    if source is None:
        raise UsageError("There is nothing to convert", FORMS)
    if source.suffix in NEED_RECIPE:
        raise UsageError(
            f"A {source.suffix} model is converted by a recipe", f"Name it there as teacher.file. {FORMS}"
        )
    if source.suffix not in (".toml", *MODELS):
        raise UsageError(f"{source} is neither a recipe nor a model", FORMS)
    return "direct" if source.suffix in MODELS else "recipe"


def _check_options(form: Form, given: dict[str, Any]) -> None:
    """Refuse options that are of another form."""
    if form != "direct" and given:
        names = ", ".join("--target" if key == "targets" else f"--{key.replace('_', '-')}" for key in given)
        cure = "Write it into the recipe" if form == "recipe" else "Leave it out"
        raise UsageError(f"Options for a model file only: {names}", cure)


def _recipe(path: Path, shown: Shown) -> int:
    if shown.out is None:
        raise UsageError("There is no folder for the results", "Add --out DIR")
    # torch takes seconds to import: a faulty command line must not wait for it.
    from outrider_converter import pipeline  # noqa: PLC0415

    with _progress() as reporter:
        report = pipeline.convert(path, shown.out, reporter)
    _print(report, shown.out, as_json=shown.as_json)
    return 0


def _direct(path: Path, given: dict[str, Any], shown: Shown) -> int:
    from outrider_converter.direct import direct  # noqa: PLC0415 - see _recipe

    made = direct(_request(path, given))
    for one in made.inferred:
        sys.stderr.write(f"inferred: {one}\n")
    out = shown.out or Path("build") / made.recipe.name
    from outrider_converter import pipeline  # noqa: PLC0415

    with _progress() as reporter:
        report = pipeline.convert_recipe(made.recipe, made.text, made.folder, out, reporter)
    _print(report, out, as_json=shown.as_json)
    return 0


def _request(path: Path, given: dict[str, Any]) -> "Request":
    from outrider_converter.direct import Request  # noqa: PLC0415 - see _recipe

    try:
        return msgspec.convert({"model": path, **given}, Request)
    except msgspec.ValidationError as error:
        raise UsageError(f"An option is wrong: {error}", "See outrider convert --help") from error


def _reproduce(bundle: Path, folder: Path, shown: Shown) -> int:
    if shown.out is None:
        raise UsageError("There is no folder for the results", "Add --out DIR")
    from outrider_converter import console, reproduce  # noqa: PLC0415 - see _recipe

    with _progress() as reporter:
        comparison = reproduce.reproduce(bundle, folder, shown.out, reporter)
    if shown.as_json:
        _write_json(comparison)
    else:
        console.show_comparison(comparison, _stdout())
    return 0 if comparison.same else NOT_REPRODUCED


def _list(shown: Shown) -> int:
    from outrider_converter import console  # noqa: PLC0415 - see _recipe
    from outrider_converter.targets import built_in  # noqa: PLC0415

    if shown.out is not None:
        raise UsageError("--list-targets writes nothing", "Leave --out out")
    if shown.as_json:
        _write_json(built_in())
    else:
        console.show_targets(built_in(), _stdout())
    return 0


def _print(report: "Report", out: Path, *, as_json: bool) -> None:
    from outrider_converter import console  # noqa: PLC0415 - see _recipe
    from outrider_converter.report import encode  # noqa: PLC0415

    if as_json:
        sys.stdout.write(encode(report).decode())
    else:
        console.show(report, out, _stdout())


def _write_json(value: object) -> None:
    text = msgspec.json.format(msgspec.json.encode(value), indent=1)
    sys.stdout.write(text.decode() + "\n")


def _stdout() -> Console:
    return Console(width=None if sys.stdout.isatty() else 100)


@contextmanager
def _progress() -> Iterator[Reporter]:
    """Show bars on a stream of their own: the process's standard error is redirected to quiet other tools."""
    with os.fdopen(os.dup(sys.stderr.fileno()), "w") as stream, bars(Console(file=stream)) as reporter:
        yield reporter


def main(argv: list[str]) -> int:
    """Run the command.

    Raises:
        OutriderError: see `outrider_converter.pipeline.convert`.
    """
    return run_app(app, argv, "outrider convert")
