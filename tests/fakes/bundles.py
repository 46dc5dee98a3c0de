"""A small sound bundle, and means to make it unsound."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from outrider_bundle.blocks import aligned
from outrider_bundle.container import MAGIC, encode_manifest, join_header
from outrider_bundle.manifest import (
    ClassificationDecoder,
    Expected,
    File,
    Golden,
    ImagePreprocess,
    Input,
    Manifest,
    Output,
    RelativeTolerance,
    StepTolerance,
    Tensor,
    Variant,
)
from outrider_bundle.writer import layout, write_bundle

LABELS = ("bag", "boot", "coat")
SAMPLES = 2

BLOBS: dict[str, bytes] = {
    "golden": bytes(range(SAMPLES * 16)),
    "int8-graph": b"graph" * 9,
    "int8-weights": bytes(n * 7 % 251 for n in range(40_000)),
    "int8-expected": bytes(SAMPLES * 3),
    "float-model": bytes(n * 11 % 241 for n in range(16_384)),
    "float-expected": bytes(SAMPLES * 3 * 4),
}
"""One blob of several blocks, one of exactly one, and some that end off the alignment."""


def variant(name: str, rank: int, dtype: str, files: Mapping[str, str]) -> Variant:
    """Return a variant of the tiny classifier."""
    kind: Any = dtype
    return Variant(
        id=name,
        runtime="null",
        precision="int8" if dtype == "int8" else "float32",
        rank=rank,
        files=tuple(File(role=role, blob=blob) for role, blob in files.items()),
        inputs=(Tensor(name="x", shape=(1, 1, 4, 4), dtype=kind, layout="NCHW"),),
        outputs=(Tensor(name="y", shape=(1, 3), dtype=kind),),
    )


def tiny_manifest() -> Manifest:
    """Return a manifest without blobs for a classifier of 4x4 gray images."""
    return Manifest(
        name="tiny",
        version="1.0.0",
        app="sorting",
        hardware=("bench",),
        task="classification",
        inputs=(
            Input(name="image", shape=(1, 1, 4, 4), layout="NCHW", preprocess=ImagePreprocess(color="gray")),
        ),
        outputs=(Output(name="scores", shape=(1, 3), decoder=ClassificationDecoder(labels=LABELS)),),
        variants=(
            variant("null-int8", 0, "int8", {"graph": "int8-graph", "weights": "int8-weights"}),
            variant("null-float32", 1, "float32", {"model": "float-model"}),
        ),
        golden=Golden(
            blob="golden",
            shape=(SAMPLES, 4, 4),
            dtype="uint8",
            expected=(
                Expected(
                    variant="null-int8", blob="int8-expected", tolerance=StepTolerance(step=1.0, steps=1.0)
                ),
                Expected(
                    variant="null-float32",
                    blob="float-expected",
                    tolerance=RelativeTolerance(relative=1e-4),
                ),
            ),
        ),
        blobs=(),
    )


def described_manifest() -> Manifest:
    """Return the manifest as it stands in the tiny bundle."""
    return msgspec.structs.replace(tiny_manifest(), blobs=layout(BLOBS))


def write_tiny(path: Path) -> str:
    """Write the tiny bundle and return its digest."""
    return write_bundle(path, tiny_manifest(), BLOBS)


def assemble(manifest: bytes, blobs: Mapping[str, bytes] = BLOBS) -> bytes:
    """Return the bytes of a bundle with any manifest and these blobs, by the letter of the format."""
    data = bytearray(MAGIC + len(manifest).to_bytes(4, "little") + manifest)
    data += bytes(aligned(len(data)) - len(data))
    base = len(data)
    for content in blobs.values():
        data += bytes(aligned(len(data) - base) - (len(data) - base)) + content
    return bytes(data)


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    """Return the bytes of the tiny bundle after `change` edited its manifest, canonical all the same."""
    data = msgspec.json.decode(encode_manifest(described_manifest()))
    change(data)
    return assemble(msgspec.json.encode(data, order="sorted"))


def header_bytes() -> bytes:
    """Return the header of the tiny bundle."""
    return join_header(encode_manifest(described_manifest()))
