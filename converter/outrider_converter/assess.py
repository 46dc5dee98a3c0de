"""The last look: speed ranks the variants, the test split is read once, the report is composed."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from msgspec import Struct

from outrider_bundle.bars import machine
from outrider_bundle.manifest import Manifest
from outrider_converter import fidelity, kernels, latency
from outrider_converter.accuracy import Accuracy, accuracy_of, agreement, by_class
from outrider_converter.artifact import Artifact, Context
from outrider_converter.exports import Candidate
from outrider_converter.latency import Latency
from outrider_converter.measure import Cost
from outrider_converter.package import versions
from outrider_converter.progress import Reporter
from outrider_converter.records import LeftOut, Stage
from outrider_converter.reference import Reference
from outrider_converter.report import DataReport, Report, TargetReport, TeacherReport, VariantReport
from outrider_converter.verify import Answers, Verified, answer
from outrider_runtime.loading import load_variant


class Findings(Struct, frozen=True, kw_only=True):
    """Variants by measured time, the fastest first; the times; what they answered to the test split."""

    ranked: tuple[Verified, ...]
    times: dict[str, Latency]
    test: dict[str, Answers]


class Course(Struct, frozen=True, kw_only=True):
    """How a conversion went.

    Args:
        recipe_text: the recipe as it was written.
        artifact: what the steps have made.
        stages: of the float network.
        left_out: variants that are not in the bundle.
        seconds: how long it took.
    """

    recipe_text: str
    artifact: Artifact
    stages: tuple[Stage, ...]
    left_out: tuple[LeftOut, ...]
    seconds: float


def assess(manifest: Manifest, kept: Sequence[Verified], context: Context) -> Findings:
    """Time the variants beside the teacher's own files and read the test split once."""
    frames, reporter = context.data.test.frames, context.reporter
    times = _times([v.candidate for v in kept], context.reference, reporter) if kept else {}
    ranked = rank(kept, times)
    test = {}
    for verified in ranked:
        name = verified.candidate.id
        task = reporter.start(f"report {name}", len(frames))
        wanted = fidelity.teacher_outputs(manifest, context, "test")
        test[name] = answer(manifest, verified.candidate, frames, wanted, task)
    return Findings(ranked=ranked, times=times, test=test)


def rank(kept: Sequence[Verified], times: Mapping[str, Latency]) -> tuple[Verified, ...]:
    """Return the variants in fallback order.

    The faster here comes first. What requires an instruction set that this CPU lacks runs elsewhere, so
    its time here says nothing: it comes right before the variant of its runtime that needs less.
    """

    def order(one: Verified) -> tuple[float, bool]:
        native = not kernels.lacking(one.candidate)
        if native:
            return times[one.candidate.id].p50_ms, native
        alike = [
            times[v.candidate.id].p50_ms
            for v in kept
            if v.candidate.runtime == one.candidate.runtime
            and v.candidate.precision == one.candidate.precision
            and not kernels.lacking(v.candidate)
        ]
        return min(alike, default=times[one.candidate.id].p50_ms), native

    return tuple(sorted(kept, key=order))


def _times(candidates: Sequence[Candidate], reference: Reference, reporter: Reporter) -> dict[str, Latency]:
    runtimes = {c.runtime for c in candidates}
    teachers = [t for runtime, t in reference.files.items() if runtime in runtimes]
    with ExitStack() as stack:
        sessions = {}
        for candidate in (*candidates, *teachers):
            session = load_variant(candidate.variant(), candidate.files, {"threads": 1})
            stack.callback(session.close)
            sessions[candidate.id] = session
        return latency.measure(sessions, reporter.start("measure latency", latency.ROUNDS))


def compose(context: Context, findings: Findings, course: Course) -> Report:
    """Return the report, still without a bundle."""
    recipe, data, artifact = context.recipe, context.data, course.artifact
    cost = Cost(params=course.stages[-1].params, macs=course.stages[-1].macs)
    return Report(
        name=recipe.name,
        version=recipe.version,
        seed=recipe.seed,
        budget=recipe.budget.drop,
        budget_cosine=recipe.budget.cosine,
        metric=data.metric,
        targets=tuple(
            TargetReport(name=t.name, title=t.title, figures=t.figures, note=t.note) for t in context.targets
        ),
        data=DataReport(
            name=data.name,
            labels=data.labels,
            train=len(data.train),
            validation=len(data.validation),
            test=len(data.test),
        ),
        teacher=_teacher(context, findings.times),
        stages=course.stages,
        decisions=artifact.decisions,
        pruning=artifact.pruning,
        saturation=artifact.saturation,
        variants=tuple(
            _variant(verified, place, context, findings, cost)
            for place, verified in enumerate(findings.ranked)
        ),
        left_out=course.left_out,
        bundle=None,
        machine=machine(),
        versions=versions(),
        seconds=round(course.seconds, 1),
        recipe=course.recipe_text,
    )


def _teacher(context: Context, times: Mapping[str, Latency]) -> TeacherReport:
    data, reference = context.data, context.reference
    test = validation = Accuracy(value=1.0, low=1.0, high=1.0)  # where it is itself the measure
    if data.metric == "accuracy":
        test = accuracy_of(reference.test, data.test.labels)
        validation = accuracy_of(reference.validation, data.validation.labels)
    # The order of the recipe's formats: ONNX where there is one.
    size = next((candidate.bytes for candidate in reference.files.values()), 4 * reference.cost.params)
    return TeacherReport(
        accuracy=test.value,
        low=test.low,
        high=test.high,
        validation=validation.value,
        validation_low=validation.low,
        validation_high=validation.high,
        bytes=size,
        params=reference.cost.params,
        macs=reference.cost.macs,
        classes=by_class(reference.test, data.test.labels, len(data.labels)),
        latency={runtime: times[c.id] for runtime, c in reference.files.items() if c.id in times},
    )


def _variant(
    verified: Verified, place: int, context: Context, findings: Findings, cost: Cost
) -> VariantReport:
    data, reference, candidate = context.data, context.reference, verified.candidate
    answers = findings.test[candidate.id]
    classes = data.metric in ("accuracy", "agreement")
    test = answers.rate(data.metric, data.test.labels)
    teacher = accuracy_of(reference.test, data.test.labels).value if classes else 1.0
    validation = verified.validation.rate(data.metric, data.validation.labels)
    time = findings.times[candidate.id]
    rival = reference.files.get(candidate.runtime)
    comparable = not kernels.lacking(candidate)  # a time on kernels that are not the target's says nothing
    return VariantReport(
        id=candidate.id,
        runtime=candidate.runtime,
        precision=candidate.precision,
        rank=place,
        accuracy=test.value,
        low=test.low,
        high=test.high,
        validation=validation.value,
        validation_low=validation.low,
        validation_high=validation.high,
        drop=0.0 if data.metric == "cosine" else 100 * (teacher - test.value),
        bytes=candidate.bytes,
        files={path.name: path.stat().st_size for path in candidate.files.values()},
        params=cost.params,
        macs=cost.macs,
        latency=time,
        speedup_vs_teacher=latency.speedup(findings.times[rival.id], time) if comparable and rival else None,
        agreement_with_teacher=agreement(answers.indices, reference.test) if classes else test.value,
        classes=by_class(answers.indices, data.test.labels, len(data.labels)),
        cosine=answers.cosine,
        kernel=kernels.describe(candidate),
        isa=candidate.isa,
        float_layers=candidate.float_layers,
    )
