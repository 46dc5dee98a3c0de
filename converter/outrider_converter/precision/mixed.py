"""Mixed precision: the most sensitive layers go back to float, one by one, until the budget holds."""

from collections.abc import Callable

from msgspec import Struct

from outrider_converter.exports import Export
from outrider_converter.precision.gauge import Gauge
from outrider_converter.precision.sensitivity import Make, Sensitivity, short
from outrider_converter.progress import Task
from outrider_converter.verify import Verdict

HELPS = 0.98
"""A revert is kept if it leaves at most this share of the error; less is noise."""

PATIENCE = 3
"""Layers tried for each that may go back."""

Judge = Callable[[Export], Verdict]


class Mixed(Struct, frozen=True, kw_only=True):
    """A file in which some layers are float, the verdict on it, and why each is: a sentence a layer."""

    export: Export
    verdict: Verdict
    reasons: tuple[str, ...]


def revert(
    make: Make, ranking: tuple[Sensitivity, ...], gauge: Gauge, judge: Judge, most: int, task: Task
) -> Mixed | None:
    """Take layers back to float until the budget holds or `most` have gone back.

    An activation stays int8 as long as one of its neighbours is. A layer that alone does not help is
    therefore tried again together with the next ones.

    Args:
        make: makes a file with given layers in float.
        ranking: of a scan.
        gauge: measures errors against the float file.
        judge: holds a file against the budget.
        most: layers that may go back.
        task: advanced for each layer tried.

    Returns:
        The best file, whose verdict may still be negative; None if no revert helps.

    Raises:
        OutriderError: a file cannot be made or run.
    """
    before = gauge.deviation(make(())).relative
    left: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    best: Mixed | None = None
    for row in ranking[: PATIENCE * most]:
        task.advance()
        found = _helpful(make, gauge, left, ((row.layer,), (*waiting, row.layer)), before, most)
        if found is None:
            waiting = (*waiting, row.layer)[-most:]
            continue
        added, after = found
        left, waiting = (*left, *added), ()
        export = make(left)
        verdict = judge(export)
        reason = (
            f"{' and '.join(map(short, added))} back to float: relative error of the outputs {before:.3g} to "
            f"{after:.3g}, then {verdict.drop:.2f} points under the teacher"
        )
        best = Mixed(export=export, verdict=verdict, reasons=(*(best.reasons if best else ()), reason))
        before = after
        if not verdict.reason or len(left) == most:
            break
    if best is not None:
        make(left)  # a later trial may have been written over it
    return best


def _helpful(
    make: Make,
    gauge: Gauge,
    left: tuple[str, ...],
    choices: tuple[tuple[str, ...], ...],
    before: float,
    most: int,
) -> tuple[tuple[str, ...], float] | None:
    """Return the first of `choices` that lowers the error, and the error then."""
    for added in dict.fromkeys(choices):
        if len(left) + len(added) <= most:
            after = gauge.deviation(make((*left, *added))).relative
            if after <= HELPS * before:
                return added, after
    return None
