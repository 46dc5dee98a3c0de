"""Each variant is judged through the runtime package, by the same code that runs it on a device.

The validation split decides what is kept; the test split is looked at once, to report.
"""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from torch import nn

from outrider_bundle.errors import OutriderError
from outrider_bundle.manifest import Manifest
from outrider_converter import measure
from outrider_converter.accuracy import Indices
from outrider_converter.artifact import Candidate, Context
from outrider_converter.dataset import Frames, Split
from outrider_converter.progress import Reporter, Task
from outrider_converter.records import LeftOut
from outrider_runtime.pipeline import Model

STRIDE = 100
"""Frames between two moves of the bar."""


PROBES = 32
"""Frames on which an exported float file is compared with the torch network."""

FAITHFUL = 1e-3
"""Largest relative difference that rounding may explain."""


class Answers(Struct, frozen=True, kw_only=True):
    """The most likely class of each frame `(n,)` and its lead over the second `(n,)`."""

    indices: Indices
    margins: NDArray[np.float64]


class Verified(Struct, frozen=True, kw_only=True):
    """A variant within the budget; `drop` is in points under the teacher on the validation split."""

    candidate: Candidate
    drop: float
    validation: Answers


def open_model(manifest: Manifest, candidate: Candidate) -> Model:
    """Open a candidate as a device would, on one thread."""
    return Model.open(manifest, candidate.variant(), candidate.files, {"threads": 1})


def answer(manifest: Manifest, candidate: Candidate, frames: Frames, task: Task) -> Answers:
    """Run a candidate over all frames.

    Raises:
        EngineError: the runtime does not load or run it.
    """
    model = open_model(manifest, candidate)
    indices = np.empty(len(frames), np.int64)
    margins = np.empty(len(frames))
    try:
        for row, frame in enumerate(frames):
            seen = model.perceive(frame)
            indices[row], margins[row] = seen.index, seen.margin
            if row % STRIDE == STRIDE - 1:
                task.advance(STRIDE)
        task.advance(len(frames) % STRIDE)
    finally:
        model.close()
    return Answers(indices=indices, margins=margins)


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
    wanted = measure.logits(model, split.prepared[:PROBES], context.views.normalize).numpy()
    opened = open_model(manifest, candidate)
    try:
        given = np.stack([opened.outputs(frame)[0][0].copy() for frame in split.frames[:PROBES]])
    finally:
        opened.close()
    gaps = np.linalg.norm(given - wanted, axis=1) / np.maximum(np.linalg.norm(wanted, axis=1), 1e-6)
    return float(gaps.max())


def verify(
    manifest: Manifest,
    candidates: Sequence[Candidate],
    split: Split,
    reference: float,
    budget: float,
    reporter: Reporter,
) -> tuple[tuple[Verified, ...], tuple[LeftOut, ...]]:
    """Judge candidates on `split`.

    Args:
        manifest: tells inputs and outputs.
        candidates: what to judge.
        split: the validation data.
        reference: the teacher's accuracy on it.
        budget: largest drop in points.
        reporter: shows progress.

    Returns:
        What keeps the budget, and what does not with the reason.
    """
    kept, left_out = [], []
    for candidate in candidates:
        task = reporter.start(f"verify {candidate.id}", len(split))
        try:
            answers = answer(manifest, candidate, split.frames, task)
        except OutriderError as error:
            left_out.append(LeftOut(id=candidate.id, reason=str(error)))
            continue
        accuracy = float((answers.indices == split.labels).mean())
        drop = 100 * (reference - accuracy)
        if drop <= budget:
            kept.append(Verified(candidate=candidate, drop=drop, validation=answers))
        else:
            reason = f"{drop:.2f} points under the teacher on the validation split, the budget is {budget:g}"
            left_out.append(LeftOut(id=candidate.id, reason=reason))
    return tuple(kept), tuple(left_out)
