"""A whole conversion: teacher, data and budget in; a verified bundle and its report out, or nothing."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from torch import nn

from outrider_bundle import plugins
from outrider_bundle.errors import DataError, UsageError
from outrider_converter import measure, seeding, tasks
from outrider_converter.accuracy import Accuracy, accuracy_of
from outrider_converter.artifact import Artifact, Context
from outrider_converter.checkpoint import open_checkpoints
from outrider_converter.dataset import PARTS, Dataset, load_dataset
from outrider_converter.equivalence import Probe
from outrider_converter.finish import Work, finish
from outrider_converter.loading import describe
from outrider_converter.package import versions
from outrider_converter.progress import Reporter
from outrider_converter.publish import scratch, sweep
from outrider_converter.quantization import kept
from outrider_converter.recipe import Recipe, read_recipe
from outrider_converter.records import Stage
from outrider_converter.reference import answered, load_teacher, measure_teacher
from outrider_converter.report import Report
from outrider_converter.students import build_student
from outrider_converter.targets import formats, load_targets
from outrider_converter.views import Views


def convert(recipe_path: Path, out: Path, reporter: Reporter) -> Report:
    """Convert by the recipe in a file; what it names is looked up beside it. See `convert_recipe`.

    Raises:
        UsageError: the recipe is wrong.
    """
    recipe = read_recipe(recipe_path)
    text = recipe_path.read_text(encoding="utf-8")
    return convert_recipe(recipe, text, recipe_path.resolve().parent, out, reporter)


def convert_recipe(recipe: Recipe, text: str, folder: Path, out: Path, reporter: Reporter) -> Report:
    """Convert by `recipe` and put bundle, report and predictions into `out`.

    Args:
        recipe: what to do.
        text: the same as TOML; it travels in the report, and its digest in the bundle.
        folder: where the recipe's modules and files lie.
        out: folder of the results, made if it is not there.
        reporter: shows progress.

    Returns:
        The report that was written.

    Raises:
        UsageError: the recipe names what is not there.
        DataError: teacher, student or data do not fit it.
        BudgetError: no variant keeps the budget; only the report was written.
    """
    started = time.monotonic()
    recipe = _anchored(recipe, folder)
    steps = [(name, _step(name), _params(name, recipe)) for name in recipe.steps]
    targets = load_targets(recipe.targets, folder)
    formats(recipe, targets)  # targets without any exporter are a fault now, not after hours
    data = load_dataset(recipe, folder)
    classes = tasks.width(recipe.output, data.labels)
    teacher = load_teacher(recipe, classes, folder)
    with seeding.seeded(recipe.seed, "student"):
        student = build_student(recipe, classes, folder, teacher)
    key = _key(recipe, text, data, (teacher, student))
    with scratch(out) as place, open_checkpoints(out, key, _say(reporter)) as checkpoints:
        sweep(out, place)
        work_folder = _new(place / "work")
        reference = measure_teacher(teacher, recipe, data, work_folder, reporter, targets)
        data = answered(data, reference)
        context = Context(
            recipe=recipe,
            data=data,
            teacher=teacher,
            reference=reference,
            targets=targets,
            views=Views(recipe, data, teacher, reporter, checkpoints, reference.scale),
            checkpoints=checkpoints,
            folder=work_folder,
            reporter=reporter,
        )
        artifact, stages = _run(Artifact(model=student), steps, context)
        work = Work(context=context, artifact=artifact, stages=stages, recipe_text=text, started=started)
        return finish(work, out, _new(place / "results"))


def _anchored(recipe: Recipe, folder: Path) -> Recipe:
    """Return the recipe with the folder of an earlier conversion looked up beside it, as all else is.

    Raises:
        DataError: there is no calibration; said now, not after hours.
    """
    if recipe.quantize.previous is None:
        return recipe
    previous = str(folder / recipe.quantize.previous)
    kept.load(previous)
    return replace(recipe, quantize=replace(recipe.quantize, previous=previous))


def _key(recipe: Recipe, text: str, data: Dataset, models: tuple[nn.Module, nn.Module]) -> str:
    """Return what decides whether a killed conversion can be continued by this one.

    Weights do not tell what a network computes with them, so its answers to noise count too.
    """
    digests = [getattr(data, part).digest() for part in PARTS]
    probe = Probe(recipe.input.shape)
    for model in models:
        try:
            answers = probe.ask(model)
        except Exception as error:
            raise DataError(
                f"The network fails on a batch of 2: {describe(error)}", "Run it by itself to see where"
            ) from error
        digests += [measure.digest(model), *(str(answer.tolist()) for answer in answers)]
    return hashlib.sha256("\n".join([text, *digests, *versions().values()]).encode()).hexdigest()


def _say(reporter: Reporter) -> Callable[[str], object]:
    """Return what shows a line among the bars."""
    return lambda text: reporter.start(text, 0)


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _step(name: str) -> Any:  # noqa: ANN401 - a plug-in has no type before it is called
    step = plugins.load("outrider.steps", name)
    if not callable(step):
        raise UsageError(f"The step '{name}' is not callable", "Name a function in its entry point")
    return step


def _params(name: str, recipe: Recipe) -> object:
    """Return the recipe's table of a step."""
    tables = {
        "search": recipe.search,
        "distill": recipe.distill,
        "prune": recipe.prune,
        "quantize": recipe.quantize,
        "export_onnx": recipe.export,
        "export_tflite": recipe.export,
        "export_openvino": recipe.export,
    }
    return tables[name] if name in tables else recipe.options.get(name, {})


def _run(artifact: Artifact, steps: list[Any], context: Context) -> tuple[Artifact, tuple[Stage, ...]]:
    """Run all steps; measure the float network whenever it has changed."""
    stages: list[Stage] = []
    model, accuracy, cost = None, Accuracy(value=0.0, low=0.0, high=1.0), measure.Cost(params=0, macs=0)
    for name, step, params in steps:
        start = time.monotonic()
        artifact = step(artifact, params, context)
        seconds = time.monotonic() - start
        if artifact.model is not model:
            model, accuracy = artifact.model, _accuracy(artifact, context)
            cost = measure.cost(model, context.recipe.input.shape)
        stages.append(
            Stage(
                name=name,
                seconds=round(seconds, 2),
                params=cost.params,
                macs=cost.macs,
                accuracy=accuracy.value,
                low=accuracy.low,
                high=accuracy.high,
                note=artifact.note,
            )
        )
        artifact = replace(artifact, note="")
    return artifact, tuple(stages)


def _accuracy(artifact: Artifact, context: Context) -> Accuracy:
    """Return the network's accuracy on the validation split; 1 for a teacher that is the yardstick itself."""
    data = context.data
    if artifact.model is not context.teacher:
        return context.views.rate(artifact.model)
    if data.metric not in ("accuracy", "agreement"):
        return Accuracy(value=1.0, low=1.0, high=1.0)
    return accuracy_of(context.reference.validation, data.validation.labels)
