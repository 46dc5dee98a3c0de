"""One int8 variant: a method for the ranges, weights that do not saturate, and float layers if it must be."""

from collections.abc import Collection

from msgspec import Struct
from msgspec.structs import replace

from outrider_bundle.manifest import Manifest
from outrider_converter import verify
from outrider_converter.artifact import Context
from outrider_converter.exports import Export
from outrider_converter.precision.gauge import Gauge
from outrider_converter.precision.makers import Maker, OnnxMaker
from outrider_converter.precision.mixed import PATIENCE, Mixed, revert
from outrider_converter.precision.sensitivity import Sensitivity, scan, short
from outrider_converter.quantization import saturation
from outrider_converter.recipe import QuantizeOptions
from outrider_converter.records import Saturated
from outrider_converter.strip.candidate import strip
from outrider_converter.targets import Plan, Scheme
from outrider_converter.verify import Verdict

SHOWN = 5
"""Most sensitive layers that a report names."""


class Source(Struct, frozen=True, kw_only=True):
    """A float file and all that int8 files of it are made and measured with.

    Args:
        export: the float file.
        maker: makes int8 files of it.
        gauge: measures them against it.
        manifest: tells inputs and outputs.
        options: the recipe's table.
        context: of the step.
    """

    export: Export
    maker: Maker
    gauge: Gauge
    manifest: Manifest
    options: QuantizeOptions
    context: Context

    def write(self, plan: Plan, scheme: Scheme, method: str, exclude: Collection[str] = ()) -> Export:
        """Write the variant's file with the layers `exclude` in float.

        Raises:
            DataError: the quantizer fails.
        """
        path = self.context.folder / f"{plan.id}{self.export.path.suffix}"
        self.maker.write(path, scheme, method, exclude)
        return Export(
            id=plan.id,
            runtime=self.export.runtime,
            precision="mixed" if exclude else "int8",
            path=path,
            isa=plan.isa,
            float_layers=tuple(map(short, exclude)),
        )

    def judge(self, export: Export) -> Verdict:
        """Hold a file against the budget, on the validation split.

        Raises:
            EngineError: its runtime does not load or run it.
        """
        candidate = strip(export, self.context.recipe, self.context.folder)
        return verify.judge(self.manifest, candidate, self.context)


class Made(Struct, frozen=True, kw_only=True):
    """An int8 variant, the verdict on it, its method, and what was decided on the way."""

    export: Export
    verdict: Verdict
    method: str
    decisions: tuple[str, ...] = ()
    saturation: tuple[Saturated, ...] = ()


def make(source: Source, plan: Plan) -> Made:
    """Make the variant `plan` of `source`: the best there is, if none keeps the budget.

    Raises:
        OutriderError: no file can be made, or its runtime does not run it.
    """
    method, decisions = choose_method(source, plan)
    scheme, rows, more = unsaturated(source, plan, method)
    export = source.write(plan, scheme, method)
    made = Made(
        export=export,
        verdict=source.judge(export),
        method=method,
        decisions=(*decisions, *more),
        saturation=rows,
    )
    if made.verdict.reason and source.options.max_reverts:
        return _mix(source, plan, scheme, made)
    return made


EXACT = frozenset({"avx512_vnni", "avx_vnni", "asimd", "asimddp", "i8mm"})
"""Instruction sets whose int8 kernels add up in 32 bits."""


def choose_method(source: Source, plan: Plan) -> tuple[str, tuple[str, ...]]:
    """Return how ranges are found: the recipe's method, or of all the one with the smallest error."""
    asked, known = source.options.method, source.maker.methods
    if asked in known:
        return asked, ()
    if asked != "auto":
        return known[0], (f"{plan.id}: {source.export.runtime} has no ranges by {asked}, {known[0]} taken",)
    if len(known) == 1:
        return known[0], ()
    if source.maker.favoured in known:
        return source.maker.favoured, (f"{plan.id}: ranges by {source.maker.favoured}, as before",)
    errors = {
        method: source.gauge.deviation(source.write(plan, plan.scheme, method)).relative for method in known
    }
    best = min(known, key=lambda method: errors[method])
    tried = ", ".join(f"{method} {error:.3g}" for method, error in errors.items())
    return best, (f"{plan.id}: ranges by {best}; relative error of the outputs to float: {tried}",)


def unsaturated(
    source: Source, plan: Plan, method: str
) -> tuple[Scheme, tuple[Saturated, ...], tuple[str, ...]]:
    """Return the plan's scheme, or a safe one if the plan is for any CPU and its file saturates on some."""
    maker = source.maker
    if not isinstance(maker, OnnxMaker) or EXACT & {*plan.isa}:
        return plan.scheme, (), ()
    found = saturation.detect(source.write(plan, plan.scheme, method).path, maker.samples, maker.entry)
    rows = tuple(
        Saturated(id=plan.id, layer=one.layer, share=one.share, note=found.note) for one in found.layers
    )
    if not found.flagged:
        return plan.scheme, (), ()
    if plan.scheme.reduce_range:
        return plan.scheme, rows, (f"{plan.id}: {found.note}",)
    text = (
        f"{plan.id}: {found.note}; made again with weights that cannot overflow, because the variant is for "
        "CPUs without VNNI as well"
    )
    return replace(plan.scheme, weights="pair-safe"), rows, (text,)


def _mix(source: Source, plan: Plan, scheme: Scheme, made: Made) -> Made:
    """Take layers back to float, unless the target or the float file itself forbid it."""
    if _whole(source):
        return _decided(made, f"{plan.id}: no layer may be float on this target")
    if source.judge(source.export).reason:
        return _decided(made, f"{plan.id}: the float file is over the budget as well, no layer is to blame")

    def attempt(exclude: tuple[str, ...]) -> Export:
        return source.write(plan, scheme, made.method, exclude)

    layers, most = source.maker.layers(), source.options.max_reverts
    reporter = source.context.reporter
    task = reporter.start(f"sensitivity, {plan.id}", len(layers))
    ranking = scan(attempt, layers, source.gauge, task)
    made = _decided(made, f"{plan.id}: {_ranked(ranking)}")
    task = reporter.start(f"mixed precision, {plan.id}", min(len(ranking), PATIENCE * most))
    mixed = revert(attempt, ranking, source.gauge, source.judge, most, task)
    if mixed is None:
        source.write(plan, scheme, made.method)
        return _decided(made, f"{plan.id}: no layer's return to float lowers the error of the outputs")
    return _take(made, mixed, plan)


def _whole(source: Source) -> bool:
    """Return whether a target with constraints on operators takes no float ones."""
    runtime = source.export.runtime
    return any(t.operators is not None for t in source.context.targets if runtime in t.runtimes)


def _ranked(ranking: tuple[Sensitivity, ...]) -> str:
    rows = ", ".join(f"{short(row.layer)} {row.error:.3g}" for row in ranking[:SHOWN])
    return f"most sensitive layers, relative error of the outputs if one alone is int8: {rows}"


def _take(made: Made, mixed: Mixed, plan: Plan) -> Made:
    """Return the mixed file in place of the whole int8 one."""
    kept = "" if not mixed.verdict.reason else "; still " + mixed.verdict.reason
    reasons = [f"{plan.id}: {reason}" for reason in mixed.reasons]
    reasons[-1] += kept
    made = replace(made, export=mixed.export, verdict=mixed.verdict)
    return _decided(made, *reasons)


def _decided(made: Made, *texts: str) -> Made:
    return replace(made, decisions=(*made.decisions, *texts))
