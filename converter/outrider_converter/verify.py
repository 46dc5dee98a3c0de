"""Each variant is judged through the runtime package, by the same code that runs it on a device.

The validation split decides what is kept; the test split is looked at once, to report.
"""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from torch import nn

from outrider_bundle.errors import EngineError, OutriderError
from outrider_bundle.manifest import Manifest
from outrider_converter import fidelity, kernels
from outrider_converter.accuracy import Accuracy, Indices, accuracy_of
from outrider_converter.artifact import Context
from outrider_converter.dataset import Frames
from outrider_converter.exports import Candidate
from outrider_converter.fidelity import Outputs
from outrider_converter.progress import Task
from outrider_converter.rating import mean_of, r2
from outrider_converter.reading import Reader
from outrider_converter.recipe import BudgetOptions
from outrider_converter.records import LeftOut
from outrider_converter.tasks import Metric
from outrider_converter.teachers.files import gives_probabilities
from outrider_runtime.decoders import dequantize
from outrider_runtime.pipeline import Model

OTHER = "of disagreement with the teacher"
POINTS = {
    "accuracy": "under the teacher",
    "r2": "of R2 to the teacher lost",
    "dice": "of Dice to the teacher lost",
}
"""What a drop is of, by metric."""

EMPTY: NDArray[np.float64] = np.empty(0)

STRIDE = 100
"""Frames between two moves of the bar."""

PROBES = 32
"""Frames on which an exported float file is compared with the torch network."""

FAITHFUL = 1e-3
"""Largest relative difference that rounding may explain."""


class Answers(Struct, frozen=True, kw_only=True):
    """What a variant has answered to n frames.

    Args:
        indices: most likely class of each frame, int64 `(n,)`; zeros where there are no classes.
        margins: its lead over the second, float64 `(n,)`; zeros where there are no classes.
        cosines: of each output and frame to the teacher's, float64 `(outputs, n)`.
        values: numbers, float64 `(n, k)`, and the teacher's; empty where there are none.
        wanted: see `values`.
        shares: of objects, how much those of a frame agree with the teacher's, float64 `(n,)`; the same.
    """

    indices: Indices
    margins: NDArray[np.float64]
    cosines: NDArray[np.float64]
    values: NDArray[np.float64] = EMPTY
    wanted: NDArray[np.float64] = EMPTY
    shares: NDArray[np.float64] = EMPTY

    @property
    def cosine(self) -> float:
        """The median over the frames; of several outputs, that of the worst."""
        return fidelity.worst(self.cosines).value

    def rate(self, metric: Metric, labels: Indices) -> Accuracy:
        """Return how well that is by `metric`; `labels` are the right classes, where there are some."""
        if metric == "cosine":
            middle = fidelity.worst(self.cosines)
            value, low, high = (max(0.0, one) for one in (middle.value, middle.low, middle.high))
            return Accuracy(value=value, low=low, high=high)
        if metric == "r2":
            return r2(self.values, self.wanted)
        return mean_of(self.shares) if metric == "dice" else accuracy_of(self.indices, labels)


class Verdict(Struct, frozen=True, kw_only=True):
    """How a candidate did on the validation split.

    Args:
        answers: all of them.
        drop: points under the teacher; without labels points of disagreement, 0 for raw outputs; of numbers
            and objects points that R2 and Dice's share are under 1.
        cosine: median cosine to the teacher.
        reason: why it does not keep the budget; empty if it does.
    """

    answers: Answers
    drop: float
    cosine: float
    reason: str


class Verified(Struct, frozen=True, kw_only=True):
    """A variant within the budget; `drop` and `cosine` are those of the validation split."""

    candidate: Candidate
    drop: float
    cosine: float
    validation: Answers


def open_model(manifest: Manifest, candidate: Candidate) -> Model:
    """Open a candidate as a device would, on one thread; see `kernels.options`."""
    return Model.open(manifest, candidate.variant(), candidate.files, kernels.options(candidate))


def answer(manifest: Manifest, candidate: Candidate, frames: Frames, wanted: Outputs, task: Task) -> Answers:
    """Run a candidate over all frames.

    Args:
        manifest: tells inputs and outputs.
        candidate: what to run.
        frames: n of them.
        wanted: the teacher's answers to the same.
        task: is told of the progress.

    Raises:
        EngineError: the runtime does not load or run it, or it answers NaN.
    """
    model = open_model(manifest, candidate)
    raw, reader = manifest.task == "raw", Reader(manifest, wanted)
    cosines = np.empty((len(wanted), len(frames)))
    try:
        for row, frame in enumerate(frames):
            given = model.outputs(frame)
            cosines[:, row] = _cosines(candidate, given, [one[row] for one in wanted])
            if not raw:
                reader.take(row, frame, model.ports.decode(given))
            if row % STRIDE == STRIDE - 1:
                task.advance(STRIDE)
        task.advance(len(frames) % STRIDE)
    finally:
        model.close()
    if not np.isfinite(cosines).all():
        raise EngineError("The model answered NaN or infinity", "Look at the ranges it was quantized with")
    read = reader.read
    values = np.array(read.values, np.float64) if read.values else np.empty((0, 2, 0))
    return Answers(
        indices=read.indices,
        margins=read.margins,
        cosines=cosines,
        values=values[:, 0],
        wanted=values[:, 1],
        shares=np.array(read.shares, np.float64),
    )


def _cosines(candidate: Candidate, given: Sequence[Frames], wanted: Sequence[Frames]) -> list[float]:
    rows = zip(given, candidate.outputs, wanted, strict=True)
    return [fidelity.cosine(dequantize(mine, tensor), theirs) for mine, tensor, theirs in rows]


def export_error(manifest: Manifest, candidate: Candidate, model: nn.Module, context: Context) -> float:
    """Return how far a float file is from the network it was made of.

    Args:
        manifest: tells inputs and outputs.
        candidate: the file, through its runtime.
        model: the torch network.
        context: its validation frames are the samples.

    Returns:
        The largest L2 norm of an output's difference over that of torch's output; rounding gives 1e-6.

    Raises:
        EngineError: the runtime does not load or run it.
    """
    split = context.data.validation
    answers = fidelity.outputs(model, split.prepared[:PROBES], context.views.normalize)
    softmax = gives_probabilities(context.recipe)
    wanted = fidelity.as_stated(manifest, answers, probabilities=softmax)
    worst = 0.0
    opened = open_model(manifest, candidate)
    try:
        for row, frame in enumerate(split.frames[:PROBES]):
            pairs = zip(opened.outputs(frame), wanted, strict=True)
            worst = max([worst, *(_relative(given, one[row]) for given, one in pairs)])
    finally:
        opened.close()
    return worst


def _relative(given: Frames, wanted: Frames) -> float:
    """Return the norm of the difference over that of what is wanted; infinite if there is no number."""
    gap = float(np.linalg.norm(given.reshape(-1).astype(np.float64) - wanted.reshape(-1)))
    ratio = gap / max(float(np.linalg.norm(wanted)), 1e-6)
    return ratio if np.isfinite(ratio) else np.inf


def judge(manifest: Manifest, candidate: Candidate, context: Context) -> Verdict:
    """Judge a candidate by the recipe's budget, on the validation split.

    Raises:
        EngineError: the runtime does not load or run it.
    """
    data, split = context.data, context.data.validation
    task = context.reporter.start(f"verify {candidate.id}", len(split))
    wanted = fidelity.teacher_outputs(manifest, context, "validation")
    answers = answer(manifest, candidate, split.frames, wanted, task)
    drop = 0.0
    if data.metric in ("accuracy", "agreement"):
        right = context.reference.validation == split.labels, answers.indices == split.labels
        drop = 100 * float(right[0].mean() - right[1].mean())
    elif data.metric != "cosine":
        drop = 100 * (1 - answers.rate(data.metric, split.labels).value)
    reason = _reason(context.recipe.budget, data.metric, drop, answers.cosine)
    return Verdict(answers=answers, drop=drop, cosine=answers.cosine, reason=reason)


def _reason(budget: BudgetOptions, metric: str, drop: float, cosine: float) -> str:
    """Return why a variant does not keep `budget`, or nothing."""
    reasons = []
    if drop > budget.drop:
        reasons.append(f"{drop:.2f} points {POINTS.get(metric, OTHER)}, the budget is {budget.drop:g}")
    if budget.cosine is not None and cosine < budget.cosine:
        reasons.append(f"median cosine to the teacher {cosine:.4f}, the budget is {budget.cosine:g}")
    return f"on the validation split {' and '.join(reasons)}" if reasons else ""


def verify(
    manifest: Manifest, candidates: Sequence[Candidate], context: Context
) -> tuple[tuple[Verified, ...], tuple[LeftOut, ...]]:
    """Judge candidates one by one.

    Returns:
        What keeps the budget, and what does not with the reason.
    """
    kept, left_out = [], []
    for candidate in candidates:
        try:
            verdict = judge(manifest, candidate, context)
        except OutriderError as error:
            left_out.append(LeftOut(id=candidate.id, reason=str(error)))
            continue
        if verdict.reason:
            left_out.append(LeftOut(id=candidate.id, reason=verdict.reason))
            continue
        kept.append(
            Verified(
                candidate=candidate, drop=verdict.drop, cosine=verdict.cosine, validation=verdict.answers
            )
        )
    return tuple(kept), tuple(left_out)
