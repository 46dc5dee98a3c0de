"""From verified variants to a bundle with which a device proves, offline, that it computes the same."""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from outrider_bundle.bars import machine
from outrider_bundle.manifest import (
    Baseline,
    ClassificationDecoder,
    Evidence,
    Expected,
    Golden,
    Lineage,
    Manifest,
    Output,
    Shape,
    Variant,
    VariantEvidence,
)
from outrider_bundle.writer import write_bundle
from outrider_converter.baseline import baseline, probabilities
from outrider_converter.dataset import PARTS, Dataset, Frames
from outrider_converter.formats.onnx import OUTPUT
from outrider_converter.recipe import Recipe
from outrider_converter.report import Report
from outrider_converter.tensors import logical_input
from outrider_converter.verify import Verified, open_model
from outrider_runtime.proof import expected_outputs, tolerance

GOLDEN = "golden"
PER_CLASS, MOST_SAMPLES = 2, 32
CLEAR = 0.2
"""A golden sample's lead over the second class, so that another CPU's rounding does not turn the answer."""

PACKAGES = (
    "outrider",
    "torch",
    "torch-pruning",
    "onnx",
    "onnxruntime",
    "litert-torch",
    "ai-edge-quantizer",
    "ai-edge-litert",
    "numpy",
)


class Contents(Struct, frozen=True, kw_only=True):
    """What goes into a bundle besides the recipe: ranked variants, the report, digests."""

    ranked: tuple[Verified, ...]
    report: Report
    report_json: bytes
    recipe_digest: str
    teacher_digest: str


def versions() -> dict[str, str]:
    """Return the installed version of everything that shapes the result."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def draft(recipe: Recipe, labels: tuple[str, ...]) -> Manifest:
    """Return a manifest that tells inputs and outputs and has no variant yet."""
    scores = Output(
        name=OUTPUT,
        shape=(1, len(labels)),
        decoder=ClassificationDecoder(labels=labels, activation="softmax"),
    )
    return Manifest(
        name=recipe.name,
        version=recipe.version,
        app=recipe.app,
        hardware=recipe.hardware,
        task=recipe.task,
        inputs=(logical_input(recipe),),
        outputs=(scores,),
        variants=(),
        golden=Golden(blob=GOLDEN, shape=(1,), dtype="uint8", expected=()),
        blobs=(),
    )


def package(
    path: Path, manifest: Manifest, recipe: Recipe, data: Dataset, calibration: Frames, what: Contents
) -> str:
    """Write the bundle and return its header's digest.

    Args:
        path: of the new file.
        manifest: the draft.
        recipe: what was converted.
        data: golden samples are taken from its validation part.
        calibration: the frames that int8 was calibrated on; the baseline is computed on them.
        what: all the rest; the first of its variants is the default.
    """
    blobs: dict[str, bytes | Path] = {}
    for verified in what.ranked:
        blobs |= {file.name: file for file in verified.candidate.files.values()}
    golden, golden_blobs = _golden(manifest, data, what.ranked)
    blobs |= golden_blobs
    blobs["report"] = what.report_json
    variants = tuple(_variant(v, rank) for rank, v in enumerate(what.ranked))
    full = replace(
        manifest,
        variants=variants,
        golden=golden,
        baseline=_baseline(manifest, calibration, what.ranked[0]),
        evidence=_evidence(what.report, len(data.test)),
        lineage=Lineage(
            recipe=what.recipe_digest,
            seed=recipe.seed,
            data={part: getattr(data, part).digest() for part in PARTS},
            teacher=what.teacher_digest,
            versions=versions(),
            cpu=machine().isa,
        ),
    )
    return write_bundle(path, full, blobs)


def _variant(verified: Verified, rank: int) -> Variant:
    return verified.candidate.variant(rank)


def _golden(
    manifest: Manifest, data: Dataset, ranked: Sequence[Verified]
) -> tuple[Golden, dict[str, bytes | Path]]:
    """Return golden vectors and their blobs: samples, and each variant's answers to them."""
    chosen = choose_golden(data, ranked)
    samples = np.ascontiguousarray(data.validation.frames[chosen])
    dtype: Literal["uint8", "float32"] = "uint8" if samples.dtype == np.uint8 else "float32"
    samples = samples.astype(dtype)
    blobs: dict[str, bytes | Path] = {GOLDEN: samples.tobytes()}
    expected = []
    for verified in ranked:
        candidate = verified.candidate
        model = open_model(manifest, candidate)
        try:
            answers = expected_outputs(model, samples)
        finally:
            model.close()
        name = f"{GOLDEN}-{candidate.id}"
        blobs[name] = answers
        expected.append(
            Expected(variant=candidate.id, blob=name, tolerance=tolerance(candidate.variant(), answers))
        )
    shape: Shape = samples.shape
    return Golden(blob=GOLDEN, shape=shape, dtype=dtype, expected=tuple(expected)), blobs


def choose_golden(data: Dataset, ranked: Sequence[Verified]) -> list[int]:
    """Return validation frames on which all variants agree clearly, the first few of each class."""
    answers = np.stack([v.validation.indices for v in ranked])
    clear = (answers == answers[0]).all(0) & (np.stack([v.validation.margins for v in ranked]).min(0) > CLEAR)
    chosen: list[int] = []
    for label in range(len(data.labels)):
        of_class = np.flatnonzero(clear & (data.validation.labels == label))
        chosen += of_class[:PER_CLASS].tolist()
    return sorted(chosen[:MOST_SAMPLES]) or list(range(min(PER_CLASS, len(data.validation))))


def _baseline(manifest: Manifest, frames: Frames, default: Verified) -> Baseline:
    tensor, entry = default.candidate.outputs[0], manifest.inputs[0]
    model = open_model(manifest, default.candidate)
    try:
        raw = np.concatenate([model.outputs(frame)[0].copy().reshape(1, -1) for frame in frames])
    finally:
        model.close()
    softmax = manifest.outputs[0].decoder.activation == "softmax"
    return baseline(frames, entry, probabilities(raw, tensor, softmax=softmax))


def _evidence(report: Report, samples: int) -> Evidence:
    """Return the summary of the report that every device gets."""
    rows = tuple(
        VariantEvidence(
            variant=v.id,
            accuracy=round(v.accuracy, 5),
            low=round(v.low, 5),
            high=round(v.high, 5),
            agreement=round(v.agreement_with_teacher, 5),
            bytes=v.bytes,
            speedup=round(v.speedup_vs_teacher or 0.0, 3),
        )
        for v in report.variants
    )
    return Evidence(
        data=report.data.name,
        samples=samples,
        metric="accuracy",
        reference=round(report.teacher.accuracy, 5),
        budget=report.budget,
        variants=rows,
        machine=report.machine.cpu,
        report="report",
    )
