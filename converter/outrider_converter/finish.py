"""The end of a conversion: what the steps have made is verified, packaged and published, or nothing is."""

import hashlib
import shutil
import time
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from outrider_bundle.errors import BudgetError, OutriderError
from outrider_bundle.manifest import Manifest
from outrider_converter import package, report, targets
from outrider_converter.artifact import Artifact, Context
from outrider_converter.assess import Course, Findings, assess, compose
from outrider_converter.exports import Candidate
from outrider_converter.publish import publish
from outrider_converter.quantization import kept as ranges
from outrider_converter.records import LeftOut, Stage
from outrider_converter.report import BundleReport, Report
from outrider_converter.steps.quantize import calibration_indices
from outrider_converter.strip.candidate import strip
from outrider_converter.tasks import Metric
from outrider_converter.verify import FAITHFUL, Answers, export_error, verify


class Work(Struct, frozen=True, kw_only=True):
    """A conversion whose steps are done; `started` is of the monotonic clock."""

    context: Context
    artifact: Artifact
    stages: tuple[Stage, ...]
    recipe_text: str
    started: float


def finish(work: Work, out: Path, results: Path) -> Report:
    """Verify, package and publish what the steps have made.

    Args:
        work: it.
        out: folder of the results.
        results: an empty folder on the same disk; it becomes `out`.

    Raises:
        BudgetError: nothing is left to package; only the report was written.
    """
    context = work.context
    manifest = package.draft_of(context)
    candidates, broken = _strip(manifest, work.artifact, context)
    artifact = _predict(work.artifact, candidates, context)
    kept, over = verify(manifest, candidates, context)
    findings = assess(manifest, kept, context)
    left_out = (*artifact.left_out, *targets.unavailable(context.targets), *broken, *over)
    course = Course(
        recipe_text=work.recipe_text,
        artifact=artifact,
        stages=work.stages,
        left_out=left_out,
        seconds=time.monotonic() - work.started,
    )
    full = compose(context, findings, course)
    if kept:
        full = _bundle(work, manifest, findings, full, out, results)
    report.write(full, results)
    publish(results, out)
    if not kept:
        raise _nothing_left(left_out, out)
    return full


def _nothing_left(left_out: tuple[LeftOut, ...], out: Path) -> BudgetError:
    reasons = "; ".join(f"{one.id}: {one.reason}" for one in left_out) or "no step has exported anything"
    return BudgetError(
        f"No variant is left to package ({reasons})",
        f"See {out / 'report.html'}; train longer, widen the student, or raise budget.drop",
    )


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


def _predicted(answers: Answers, metric: Metric) -> object:
    """Return what a variant answered to each frame: classes, numbers, or the share of objects."""
    rows = {"r2": answers.values, "dice": answers.shares}.get(metric, answers.indices)
    listed: object = rows.tolist()
    return listed


def _check_export(error: float) -> None:
    if not error <= FAITHFUL:
        raise OutriderError(
            f"The exporter is at fault: its file differs from the network by {error:.2g}, relative"
        )


def _predict(artifact: Artifact, candidates: list[Candidate], context: Context) -> Artifact:
    """Note down what the targets' own compilers and memories are expected to refuse."""
    for candidate in candidates:
        for target in context.targets:
            if candidate.runtime not in target.runtimes:
                continue
            faults = targets.check_memory(target, candidate.files.values())
            if candidate.runtime == "tflite" and candidate.precision == "int8":
                faults += targets.check_operators(target, candidate.files["model"])
            artifact = artifact.decided("targets", *(f"{candidate.id}: {fault}" for fault in faults))
    return artifact


def _bundle(
    work: Work, manifest: Manifest, findings: Findings, full: Report, out: Path, results: Path
) -> Report:
    """Write bundle, predictions and ranges into `results`; return the report as it will lie in `out`."""
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
            recipe_digest=hashlib.sha256(work.recipe_text.encode()).hexdigest(),
            teacher_digest=context.reference.digest,
        ),
    )
    predictions = {name: _predicted(answers, context.data.metric) for name, answers in findings.test.items()}
    (results / "predictions.json").write_bytes(msgspec.json.encode(predictions))
    calibration = context.folder / ranges.FILE
    if calibration.exists():
        shutil.copy(calibration, results)
    bundle = BundleReport(
        path=str(out / path.name),
        bytes=path.stat().st_size,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        digest=digest,
    )
    return replace(full, bundle=bundle, seconds=round(time.monotonic() - work.started, 1))
