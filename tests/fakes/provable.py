"""A bundle whose variants really compute: the tiny models, with the golden answers that they gave."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from outrider_bundle.manifest import (
    ClassificationDecoder,
    Expected,
    File,
    Golden,
    ImagePreprocess,
    Input,
    Manifest,
    Output,
    Precision,
    Variant,
)
from outrider_bundle.writer import write_bundle
from outrider_runtime.loading import runtime
from outrider_runtime.pipeline import Model
from outrider_runtime.proof import expected_outputs, tolerance
from tests.fakes.models import null_files, onnx_files, tflite_files

SAMPLES = np.random.default_rng(7).integers(0, 256, (6, 8, 8), np.uint8)
DRAFT = Manifest(
    name="tiny",
    version="1.0.0",
    app="sorter",
    hardware=("any",),
    task="classification",
    inputs=(
        Input(name="image", shape=(1, 1, 8, 8), layout="NCHW", preprocess=ImagePreprocess(color="gray")),
    ),
    outputs=(Output(name="scores", shape=(1, 3), decoder=ClassificationDecoder(labels=("a", "b", "c"))),),
    variants=(),
    golden=Golden(blob="golden", shape=SAMPLES.shape, dtype="uint8", expected=()),
    blobs=(),
)


def describe(
    name: str, kind: str, precision: Precision, rank: int, folder: Path
) -> tuple[Variant, Mapping[str, Path]]:
    """Return the variant of runtime `kind` as its own session describes it, and its files."""
    files, options = {"onnx": onnx_files, "tflite": tflite_files, "null": null_files}[kind](folder)
    session = runtime(kind).load(files, options)
    layout = "NHWC" if kind == "tflite" else "NCHW"
    variant = Variant(
        id=name,
        runtime=kind,
        precision=precision,
        rank=rank,
        files=tuple(File(role=role, blob=f"{name}-{role}") for role in files),
        inputs=tuple(replace(tensor, layout=layout) for tensor in session.inputs),
        outputs=session.outputs,
        options=options,
    )
    session.close()
    # An ONNX graph names its weights: they keep that name.
    if kind == "onnx":
        named = tuple(File(role=role, blob=path.name) for role, path in files.items())
        variant = replace(variant, files=named)
    return variant, files


def write_provable(path: Path, spoiled: tuple[str, ...] = ()) -> Manifest:
    """Write a bundle of onnx, tflite and null, in this order; `spoiled` ones get wrong golden answers."""
    folder = path.parent / "models"
    folder.mkdir(exist_ok=True)
    blobs: dict[str, bytes | Path] = {"golden": SAMPLES.tobytes()}
    variants, expected = [], []
    kinds: list[tuple[str, str, Precision]] = [
        ("onnx-float32", "onnx", "float32"),
        ("tflite-int8", "tflite", "int8"),
        ("null-float32", "null", "float32"),
    ]
    for rank, (name, kind, precision) in enumerate(kinds):
        variant, files = describe(name, kind, precision, rank, folder)
        model = Model.open(DRAFT, variant, files)
        answers = expected_outputs(model, SAMPLES)
        model.close()
        limit = tolerance(variant, answers)
        if name in spoiled:
            dtype = variant.outputs[0].dtype
            wrong = np.frombuffer(answers, dtype).reshape(len(SAMPLES), -1)
            answers = np.ascontiguousarray(np.roll(wrong, 1, 1)).tobytes()
        blobs |= {file.blob: files[file.role] for file in variant.files}
        blobs[f"{name}-golden"] = answers
        variants.append(variant)
        expected.append(Expected(variant=name, blob=f"{name}-golden", tolerance=limit))
    manifest = replace(
        DRAFT, variants=tuple(variants), golden=replace(DRAFT.golden, expected=tuple(expected))
    )
    write_bundle(path, manifest, blobs)
    return manifest
