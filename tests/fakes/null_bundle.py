"""A bundle that really runs, without a library: the null runtime over 8x8 gray images.

Its answer is one-hot at the sum of the image's pixels modulo the number of labels, so that a test
knows what must be decided on each image.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
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
    Quantization,
    RelativeTolerance,
    Tensor,
    Variant,
)
from outrider_bundle.writer import write_bundle
from outrider_runtime.pipeline import Model
from outrider_runtime.proof import expected_outputs
from outrider_runtime.session import Array

LABELS = ("bag", "boot", "coat")
SAMPLES = np.random.default_rng(7).integers(0, 256, (6, 8, 8), np.uint8)
OPTIONS: dict[str, Any] = {
    "input": "1,1,8,8",
    "input_dtype": "uint8",
    "output": f"1,{len(LABELS)}",
    "output_dtype": "float32",
}


def label_of(image: Array) -> str:
    """Return what the bundle sees in an 8x8 image."""
    return LABELS[int(image.sum()) % len(LABELS)]


def variant(name: str, rank: int, runtime: str = "null") -> Variant:
    """Return a variant that passes pixels on as they are."""
    same = Quantization(scale=1.0 / 255.0)
    return Variant(
        id=name,
        runtime=runtime,
        precision="float32",
        rank=rank,
        files=(File(role="model", blob="model"),),
        inputs=(Tensor(name="input", shape=(1, 1, 8, 8), dtype="uint8", layout="NCHW", quantization=same),),
        outputs=(Tensor(name="output", shape=(1, len(LABELS)), dtype="float32"),),
        options=OPTIONS,
    )


def manifest(variants: Sequence[Variant]) -> Manifest:
    """Return the manifest without blobs."""
    return Manifest(
        name="sorter",
        version="1.2.0",
        app="sorting",
        hardware=("bench",),
        task="classification",
        inputs=(
            Input(name="image", shape=(1, 1, 8, 8), layout="NCHW", preprocess=ImagePreprocess(color="gray")),
        ),
        outputs=(
            Output(
                name="scores",
                shape=(1, len(LABELS)),
                decoder=ClassificationDecoder(labels=LABELS, activation="none"),
            ),
        ),
        variants=tuple(variants),
        golden=Golden(
            blob="golden",
            shape=SAMPLES.shape,
            dtype="uint8",
            expected=tuple(
                Expected(
                    variant=one.id,
                    blob=f"expected-{one.id}",
                    tolerance=RelativeTolerance(relative=1e-3),
                )
                for one in variants
            ),
        ),
        blobs=(),
    )


def write(path: Path, variants: Sequence[Variant] = (), wrong: Sequence[str] = (), **changes: object) -> str:
    """Write the bundle and return its digest.

    Args:
        path: of the file.
        variants: `null-a` and `null-b` if left out.
        wrong: variants whose golden answers are not what they compute.
        changes: to fields of the manifest.
    """
    chosen = tuple(variants) or (variant("null-a", 0), variant("null-b", 1))
    written = replace(manifest(chosen), **changes)
    model_file = path.with_suffix(".model")
    model_file.write_bytes(b"nothing to see here")
    answers = expected_outputs(Model.open(written, variant("any", 0), {"model": model_file}), SAMPLES)
    flipped = np.frombuffer(answers, np.float32).reshape(-1, len(LABELS))[:, ::-1].tobytes()
    blobs = {"golden": SAMPLES.tobytes(), "model": model_file.read_bytes()}
    for one in chosen:
        blobs[f"expected-{one.id}"] = flipped if one.id in wrong else answers
    return write_bundle(path, written, blobs)


def write_images(folder: Path, count: int, seed: int = 1) -> dict[str, str]:
    """Write 8x8 png files and return what must be seen in each, by frame id."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 8, 8), np.uint8)
    for number, image in enumerate(pixels):
        cv2.imwrite(str(folder / f"{number:05d}.png"), image)
    return {f"{number:05d}": label_of(image) for number, image in enumerate(pixels)}
