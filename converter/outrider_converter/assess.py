"""The last look: speed ranks the variants, the test split is read once, the report is composed."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from msgspec import Struct

from outrider_bundle.bars import machine
from outrider_bundle.manifest import Manifest
from outrider_converter import latency
from outrider_converter.accuracy import Indices, accuracy_of, agreement, by_class
from outrider_converter.artifact import Candidate
from outrider_converter.dataset import Dataset
from outrider_converter.latency import Latency
from outrider_converter.measure import Cost
from outrider_converter.package import versions
from outrider_converter.progress import Reporter
from outrider_converter.recipe import Recipe
from outrider_converter.records import LeftOut, Stage
from outrider_converter.reference import Reference
from outrider_converter.report import DataReport, Report, TeacherReport, VariantReport
from outrider_converter.verify import Verified, answer
from outrider_runtime.loading import load_variant


class Findings(Struct, frozen=True, kw_only=True):
    """Variants by measured time, the fastest first; the times; their answers to the test split."""

    ranked: tuple[Verified, ...]
    times: dict[str, Latency]
    test: dict[str, Indices]


def assess(
    manifest: Manifest, kept: Sequence[Verified], reference: Reference, data: Dataset, reporter: Reporter
) -> Findings:
    """Time the variants beside the teacher's own files and read the test split once."""
    times = _times([v.candidate for v in kept], reference, reporter) if kept else {}
    ranked = tuple(sorted(kept, key=lambda v: times[v.candidate.id].p50_ms))
    test = {}
    for verified in ranked:
        task = reporter.start(f"report {verified.candidate.id}", len(data.test))
        test[verified.candidate.id] = answer(manifest, verified.candidate, data.test.frames, task).indices
    return Findings(ranked=ranked, times=times, test=test)


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


class Course(Struct, frozen=True, kw_only=True):
    """How a conversion went: its recipe as written, its stages, what had to be left out, and its duration."""

    recipe_text: str
    stages: tuple[Stage, ...]
    left_out: tuple[LeftOut, ...]
    seconds: float


def compose(recipe: Recipe, data: Dataset, teacher: Reference, findings: Findings, course: Course) -> Report:
    """Return the report, still without a bundle."""
    cost = Cost(params=course.stages[-1].params, macs=course.stages[-1].macs)
    return Report(
        name=recipe.name,
        version=recipe.version,
        seed=recipe.seed,
        budget=recipe.budget.drop,
        data=DataReport(
            name=data.name,
            labels=data.labels,
            train=len(data.train),
            validation=len(data.validation),
            test=len(data.test),
        ),
        teacher=_teacher(data, teacher, findings.times),
        stages=course.stages,
        variants=tuple(
            _variant(verified, rank, data, teacher, findings, cost)
            for rank, verified in enumerate(findings.ranked)
        ),
        left_out=course.left_out,
        bundle=None,
        machine=machine(),
        versions=versions(),
        seconds=round(course.seconds, 1),
        recipe=course.recipe_text,
    )


def _teacher(data: Dataset, reference: Reference, times: Mapping[str, Latency]) -> TeacherReport:
    test = accuracy_of(reference.test, data.test.labels)
    # The order of the recipe's formats: ONNX where there is one.
    size = next((candidate.bytes for candidate in reference.files.values()), 4 * reference.cost.params)
    return TeacherReport(
        accuracy=test.value,
        low=test.low,
        high=test.high,
        validation=accuracy_of(reference.validation, data.validation.labels).value,
        bytes=size,
        params=reference.cost.params,
        macs=reference.cost.macs,
        classes=by_class(reference.test, data.test.labels, len(data.labels)),
        latency={runtime: times[c.id] for runtime, c in reference.files.items() if c.id in times},
    )


def _variant(
    verified: Verified, rank: int, data: Dataset, reference: Reference, findings: Findings, cost: Cost
) -> VariantReport:
    candidate, answers = verified.candidate, findings.test[verified.candidate.id]
    test = accuracy_of(answers, data.test.labels)
    teacher = accuracy_of(reference.test, data.test.labels).value
    time = findings.times[candidate.id]
    rival = reference.files.get(candidate.runtime)
    return VariantReport(
        id=candidate.id,
        runtime=candidate.runtime,
        precision=candidate.precision,
        rank=rank,
        accuracy=test.value,
        low=test.low,
        high=test.high,
        validation=accuracy_of(verified.validation.indices, data.validation.labels).value,
        drop=100 * (teacher - test.value),
        bytes=candidate.bytes,
        files={path.name: path.stat().st_size for path in candidate.files.values()},
        params=cost.params,
        macs=cost.macs,
        latency=time,
        speedup_vs_teacher=latency.speedup(findings.times[rival.id], time) if rival else None,
        agreement_with_teacher=agreement(answers, reference.test),
        classes=by_class(answers, data.test.labels, len(data.labels)),
    )
