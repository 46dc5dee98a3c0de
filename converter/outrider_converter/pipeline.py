"""A whole conversion: teacher, data and budget in; a verified bundle and its report out, or nothing."""

import hashlib
import time
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from outrider_bundle import plugins
from outrider_bundle.errors import BudgetError, OutriderError, UsageError
from outrider_bundle.manifest import Manifest
from outrider_converter import measure, package, report, seeding
from outrider_converter.artifact import Artifact, Candidate, Context
from outrider_converter.assess import Course, Findings, assess, compose
from outrider_converter.dataset import load_dataset
from outrider_converter.progress import Reporter
from outrider_converter.publish import publish, scratch
from outrider_converter.recipe import Recipe, read_recipe
from outrider_converter.records import LeftOut, Stage
from outrider_converter.reference import Reference, load_teacher, measure_teacher
from outrider_converter.report import BundleReport, Report
from outrider_converter.steps.quantize import calibration_indices
from outrider_converter.strip.candidate import strip
from outrider_converter.students import build_student
from outrider_converter.verify import FAITHFUL, export_error, verify
from outrider_converter.views import Views


class _Work(Struct, frozen=True, kw_only=True):
    """What the parts of a conversion share."""

    context: Context
    reference: Reference
    recipe_path: Path
    started: float


def convert(recipe_path: Path, out: Path, reporter: Reporter) -> Report:
    """Convert by the recipe and put bundle, report and predictions into `out`.

    Args:
        recipe_path: TOML; what it names is looked up beside it.
        out: folder of the results, made if it is not there.
        reporter: shows progress.

    Returns:
        The report that was written.

    Raises:
        UsageError: the recipe is wrong.
        DataError: teacher, student or data do not fit it.
        BudgetError: no variant keeps the budget; only the report was written.
    """
    started = time.monotonic()
    recipe = read_recipe(recipe_path)
    steps = [(name, _step(name), _params(name, recipe)) for name in recipe.steps]
    folder = recipe_path.resolve().parent
    data = load_dataset(recipe, folder)
    teacher = load_teacher(recipe, len(data.labels), folder)
    with seeding.seeded(recipe.seed, "student"):
        student = build_student(recipe, len(data.labels), folder)
    with scratch(out) as scratch_folder:
        context = Context(
            recipe=recipe,
            data=data,
            teacher=teacher,
            views=Views(recipe, data, teacher, reporter),
            folder=_new(scratch_folder / "work"),
            reporter=reporter,
        )
        reference = measure_teacher(teacher, recipe, data, context.folder, reporter)
        work = _Work(context=context, reference=reference, recipe_path=recipe_path, started=started)
        artifact, stages = _run(Artifact(model=student), steps, context)
        return _finish(work, artifact, stages, out, _new(scratch_folder / "results"))


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
        "distill": recipe.distill,
        "prune": recipe.prune,
        "quantize": recipe.quantize,
        "export_onnx": recipe.export,
        "export_tflite": recipe.export,
    }
    return tables[name] if name in tables else recipe.options.get(name, {})


def _run(artifact: Artifact, steps: list[Any], context: Context) -> tuple[Artifact, tuple[Stage, ...]]:
    """Run all steps; measure the float network whenever it has changed."""
    validation, shape = context.data.validation, context.recipe.input.shape
    stages: list[Stage] = []
    accuracy = 0.0
    model = None
    for name, step, params in steps:
        start = time.monotonic()
        artifact = step(artifact, params, context)
        seconds = time.monotonic() - start
        if artifact.model is not model:
            model = artifact.model
            answers = measure.logits(model, validation.prepared, context.views.normalize)
            accuracy = measure.accuracy(answers, validation.labels)
        cost = measure.cost(artifact.model, shape)
        stages.append(
            Stage(
                name=name,
                seconds=round(seconds, 2),
                params=cost.params,
                macs=cost.macs,
                accuracy=accuracy,
                note=artifact.note,
            )
        )
        artifact = replace(artifact, note="")
    return artifact, tuple(stages)


def _finish(work: _Work, artifact: Artifact, stages: tuple[Stage, ...], out: Path, results: Path) -> Report:
    """Verify, package and publish what the steps have made.

    Raises:
        BudgetError: nothing is left to package.
    """
    context, recipe, data = work.context, work.context.recipe, work.context.data
    manifest = package.draft(recipe, data.labels)
    candidates, broken = _strip(manifest, artifact, context)
    teacher_accuracy = float((work.reference.validation == data.validation.labels).mean())
    kept, over = verify(
        manifest, candidates, data.validation, teacher_accuracy, recipe.budget.drop, context.reporter
    )
    findings = assess(manifest, kept, work.reference, data, context.reporter)
    left_out = (*artifact.left_out, *broken, *over)
    course = Course(
        recipe_text=work.recipe_path.read_text(encoding="utf-8"),
        stages=stages,
        left_out=left_out,
        seconds=time.monotonic() - work.started,
    )
    full = compose(recipe, data, work.reference, findings, course)
    if kept:
        full = _bundle(work, manifest, findings, full, out, results)
        predictions = {name: answers.tolist() for name, answers in findings.test.items()}
        (results / "predictions.json").write_bytes(msgspec.json.encode(predictions))
    report.write(full, results)
    publish(results, out)
    if not kept:
        reasons = "; ".join(f"{one.id}: {one.reason}" for one in left_out) or "no step has exported anything"
        raise BudgetError(
            f"No variant is left to package ({reasons})",
            f"See {out / 'report.html'}; train longer, widen the student, or raise budget.drop",
        )
    return full


def _strip(
    manifest: Manifest, artifact: Artifact, context: Context
) -> tuple[list[Candidate], tuple[LeftOut, ...]]:
    """Return the files as they may be packaged, and those that are broken."""
    candidates, broken = [], []
    for export in artifact.exports:
        try:
            candidate = strip(export, context.recipe, context.folder)
            if export.precision == "float32":
                _check_export(export_error(manifest, candidate, artifact.model, context))
            candidates.append(candidate)
        except OutriderError as error:
            broken.append(LeftOut(id=export.id, reason=str(error)))
    return candidates, tuple(broken)


def _check_export(error: float) -> None:
    if not error <= FAITHFUL:
        raise OutriderError(
            f"The exporter is at fault: its file differs from the network by {error:.2g}, relative"
        )


def _bundle(
    work: _Work, manifest: Manifest, findings: Findings, full: Report, out: Path, results: Path
) -> Report:
    """Write the bundle into `results` and return the report with it, as it will lie in `out`."""
    context, recipe = work.context, work.context.recipe
    indices = calibration_indices(context, recipe.quantize.samples)
    path = results / f"{recipe.name}.orb"
    digest = package.package(
        path,
        manifest,
        recipe,
        context.data,
        context.data.train.frames[indices],
        package.Contents(
            ranked=findings.ranked,
            report=full,
            report_json=report.encode(full),
            recipe_digest=hashlib.sha256(work.recipe_path.read_bytes()).hexdigest(),
            teacher_digest=work.reference.digest,
        ),
    )
    bundle = BundleReport(
        path=str(out / path.name),
        bytes=path.stat().st_size,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        digest=digest,
    )
    return replace(full, bundle=bundle, seconds=round(time.monotonic() - work.started, 1))
