"""Golden vectors: samples, each variant's answers, and how far another machine's may be from them.

Another CPU rounds differently, and in a deep network that adds up: on EfficientNet-lite0 the logits of
int8 kernels were up to 5 steps from those of float arithmetic of the same file, where a small student
moved by 1. So the tolerance is measured, as twice what the file moves here between the two.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from msgspec import UNSET
from msgspec.structs import replace

from outrider_bundle.manifest import Expected, Golden, Manifest, Shape, StepTolerance, Tolerance
from outrider_converter import kernels
from outrider_converter.dataset import Dataset
from outrider_converter.exports import Candidate
from outrider_converter.tasks import action_names
from outrider_converter.verify import Verified, open_model
from outrider_runtime.pipeline import Model
from outrider_runtime.proof import expected_outputs, prove, tolerances
from outrider_runtime.session import Array

GOLDEN = "golden"
PER_CLASS, MOST_SAMPLES, RAW_SAMPLES = 2, 32, 4
CLEAR = 0.2
"""A golden sample's lead over the second class, so that another CPU's rounding does not turn the answer."""

SAFETY = 2.0
WIDEST = 10 / 3
"""By how much a tolerance may be widened: to 10 steps. A saturating kernel moves by tens."""


def golden(
    manifest: Manifest, data: Dataset, ranked: Sequence[Verified]
) -> tuple[Golden, dict[str, bytes | Path]]:
    """Return golden vectors and their blobs: samples, and each variant's answers to them."""
    samples = np.ascontiguousarray(data.validation.frames[choose(data, ranked)])
    dtype: Literal["uint8", "float32"] = "uint8" if samples.dtype == np.uint8 else "float32"
    samples = samples.astype(dtype)
    shape: Shape = samples.shape
    blobs: dict[str, bytes | Path] = {GOLDEN: samples.tobytes()}
    vectors = Golden(blob=GOLDEN, shape=shape, dtype=dtype, expected=())
    for verified in ranked:
        expected, answers = _expected(manifest, verified.candidate, samples)
        blobs[expected.blob] = answers
        vectors = replace(vectors, expected=(*vectors.expected, expected))
    return vectors, blobs


def choose(data: Dataset, ranked: Sequence[Verified]) -> list[int]:
    """Return validation frames on which all variants agree clearly, the first few of each class.

    If none is clear, the clearest. Without classes nobody knows what is clear: the first few frames.
    """
    if not data.labels:
        return list(range(min(RAW_SAMPLES, len(data.validation))))
    answers = np.stack([v.validation.indices for v in ranked])
    margins = np.stack([v.validation.margins for v in ranked]).min(0)
    margins = np.where((answers == answers[0]).all(0), margins, -1.0)
    chosen: list[int] = []
    for label in range(len(data.labels)):
        of_class = np.flatnonzero((margins > CLEAR) & (data.validation.labels == label))
        chosen += of_class[:PER_CLASS].tolist()
    return sorted(chosen[:MOST_SAMPLES] or np.argsort(-margins, kind="stable")[:PER_CLASS].tolist())


def _expected(manifest: Manifest, candidate: Candidate, samples: Array) -> tuple[Expected, bytes]:
    """Return what a variant must answer, and its answers."""
    actions = action_names(manifest.outputs[0].decoder)
    classes = manifest.task == "classification" or bool(actions)
    model = open_model(manifest, candidate)
    try:
        answers = expected_outputs(model, samples)
    finally:
        model.close()
    first, *more = tolerances(candidate.variant(), answers)
    expected = Expected(
        variant=candidate.id,
        blob=f"{GOLDEN}-{candidate.id}",
        tolerance=first,
        more=tuple(more) or UNSET,
        agreement=1.0 if classes else 0.0,
    )
    factor = _factor(manifest, candidate, expected, samples, answers)
    wider = [_wider(one, factor) for one in (first, *more)]
    return replace(expected, tolerance=wider[0], more=tuple(wider[1:]) or UNSET), answers


def _factor(
    manifest: Manifest, candidate: Candidate, expected: Expected, samples: Array, answers: bytes
) -> float:
    """Return by how much the usual tolerance is to be widened."""
    if candidate.runtime != "onnx" or candidate.precision not in ("int8", "mixed"):
        return 1.0
    if kernels.lacking(candidate):
        return WIDEST  # the kernels that will run it are not here to be compared with
    variant = candidate.variant()
    around = Golden(blob=GOLDEN, shape=samples.shape, dtype="uint8", expected=(expected,))
    stated = replace(manifest, golden=around, variants=(variant,))
    model = Model.open(manifest, variant, candidate.files, kernels.IN_FLOAT)
    try:
        moved = prove(stated, variant, model, samples, answers)
    finally:
        model.close()
    return min(max(1.0, SAFETY * moved.worst / moved.limit), WIDEST)


def _wider(tolerance: Tolerance, factor: float) -> Tolerance:
    if isinstance(tolerance, StepTolerance):
        return replace(tolerance, steps=round(tolerance.steps * factor, 2))
    return replace(tolerance, relative=round(tolerance.relative * factor, 6))
