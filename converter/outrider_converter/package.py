"""From verified variants to a bundle with which a device proves, offline, that it computes the same."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from msgspec import UNSET, Struct
from msgspec.structs import replace

from outrider_bundle.bars import machine
from outrider_bundle.decoders import faults
from outrider_bundle.errors import DataError
from outrider_bundle.manifest import (
    Baseline,
    ClassificationDecoder,
    Decoder,
    Evidence,
    Golden,
    Lineage,
    Manifest,
    Output,
    RawDecoder,
    RegressionDecoder,
    Tensor,
    Variant,
    VariantEvidence,
)
from outrider_bundle.writer import write_bundle
from outrider_converter import tasks
from outrider_converter.artifact import Context
from outrider_converter.baseline import baseline, probabilities
from outrider_converter.dataset import PARTS, Dataset, Frames
from outrider_converter.exports import OUTPUT
from outrider_converter.golden import GOLDEN, golden
from outrider_converter.recipe import Recipe
from outrider_converter.report import Report
from outrider_converter.scale import Scale
from outrider_converter.teachers.files import gives_probabilities
from outrider_converter.tensors import logical_input
from outrider_converter.verify import Verified, open_model

PACKAGES = (
    "outrider",
    "torch",
    "torch-pruning",
    "onnx",
    "onnxruntime",
    "litert-torch",
    "ai-edge-quantizer",
    "ai-edge-litert",
    "openvino",
    "nncf",
    "keras",
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


def draft(
    recipe: Recipe, labels: tuple[str, ...], raw: tuple[Tensor, ...] = (), scale: Scale | None = None
) -> Manifest:
    """Return a manifest that tells inputs and outputs and has no variant yet.

    Args:
        recipe: what is converted.
        labels: the class names; without any, and without a table `output`, the outputs are raw.
        raw: the outputs of the teacher's own file, then needed.
        scale: of a teacher's numbers, if the student answers in another.

    Raises:
        DataError: the outputs are not what the recipe says.
    """
    given, outputs = logical_input(recipe), _outputs(recipe, labels, raw, scale)
    if outputs:
        for what, cure in faults(outputs[0].decoder, [one.shape for one in outputs], given):
            raise DataError(f"The output '{outputs[0].name}' {what}", cure)
    return Manifest(
        name=recipe.name,
        version=recipe.version,
        app=recipe.app,
        hardware=recipe.hardware,
        task=recipe.task if labels or recipe.output else "raw",
        inputs=(given,),
        outputs=outputs,
        variants=(),
        golden=Golden(blob=GOLDEN, shape=(1,), dtype="uint8", expected=()),
        blobs=(),
    )


def _outputs(
    recipe: Recipe, labels: tuple[str, ...], raw: tuple[Tensor, ...], scale: Scale | None
) -> tuple[Output, ...]:
    """Return the outputs: the network's one, or those of a teacher's own file, read by the first."""
    reading = recipe.output
    count = tasks.width(reading, labels)
    if count is None:
        first: Decoder = reading or RawDecoder()
        readers = (first, *(RawDecoder() for _ in raw[1:]))
        pairs = zip(raw, readers, strict=True)
        return tuple(Output(name=t.name, shape=t.shape, dtype=t.dtype, decoder=how) for t, how in pairs)
    decoder: Decoder
    if reading is None:
        # A student has logits; a teacher that is its own student has what it has.
        done = gives_probabilities(recipe)
        decoder = ClassificationDecoder(labels=labels, activation="none" if done else "softmax")
    else:
        decoder = scale.undone(reading) if scale and isinstance(reading, RegressionDecoder) else reading
    return (Output(name=OUTPUT, shape=(1, count), decoder=decoder),)


def draft_of(context: Context) -> Manifest:
    """Return the draft for the conversion that `context` belongs to."""
    reference = context.reference
    own = next(iter(reference.files.values()), None)
    return draft(context.recipe, context.data.labels, own.outputs if own else (), reference.scale)


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
    proof, golden_blobs = golden(manifest, data, what.ranked)
    blobs |= golden_blobs
    blobs["report"] = what.report_json
    variants = tuple(_variant(v, rank) for rank, v in enumerate(what.ranked))
    full = replace(
        manifest,
        variants=variants,
        golden=proof,
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


def _baseline(manifest: Manifest, frames: Frames, default: Verified) -> Baseline:
    tensor, entry, decoder = default.candidate.outputs[0], manifest.inputs[0], manifest.outputs[0].decoder
    if not isinstance(decoder, ClassificationDecoder):
        return baseline(frames, entry, None)
    model = open_model(manifest, default.candidate)
    try:
        raw = np.concatenate([model.outputs(frame)[0].copy().reshape(1, -1) for frame in frames])
    finally:
        model.close()
    scores = probabilities(raw, tensor, softmax=decoder.activation == "softmax")
    return baseline(frames, entry, scores)


def _evidence(report: Report, samples: int) -> Evidence:
    """Return the summary of the report that every device gets."""
    rows = tuple(
        VariantEvidence(
            variant=v.id,
            accuracy=round(v.accuracy, 5),
            low=round(v.low, 5),
            high=round(v.high, 5),
            agreement=round(v.agreement_with_teacher, 5),
            cosine=UNSET if v.cosine is None else round(v.cosine, 5),
            bytes=v.bytes,
            speedup=round(v.speedup_vs_teacher or 0.0, 3),
        )
        for v in report.variants
    )
    return Evidence(
        data=report.data.name,
        samples=samples,
        metric=report.metric,
        reference=round(report.teacher.accuracy, 5),
        budget=report.budget,
        variants=rows,
        machine=report.machine.cpu,
        report="report",
    )
