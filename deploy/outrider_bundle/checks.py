"""What the types of a manifest cannot say: names that refer, sizes that fit, bytes that do not overlap.

All of it is decided from the header and the file's size, before a byte of payload is touched.
"""

import math
from collections.abc import Iterable

import msgspec

from outrider_bundle.blocks import aligned, digests
from outrider_bundle.decoders import DECODERS, faults
from outrider_bundle.errors import BundleError
from outrider_bundle.manifest import (
    Golden,
    ImagePreprocess,
    Input,
    Manifest,
    Output,
    RawDecoder,
    Tensor,
    Variant,
)

ITEMSIZE = {
    "bool": 1,
    "uint8": 1,
    "int8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
    "float16": 2,
    "float32": 4,
    "float64": 8,
}
"""Bytes of an element, by dtype."""

MAX_TENSOR_BYTES = 1 << 28
"""No single tensor of a model that runs at the edge is larger; a device allocates what is declared."""

MAX_EVIDENCE_BYTES = 4096
"""The manifest travels to every device; the whole report is a blob."""


def nbytes(shape: Iterable[int], dtype: str) -> int:
    """Return the bytes of a C-contiguous array."""
    return math.prod(shape) * ITEMSIZE[dtype]


def check_layout(manifest: Manifest, payload_bytes: int) -> None:
    """Check that the blobs fill `payload_bytes` in order, with nothing but alignment between them.

    Raises:
        BundleError: they overlap, leave a gap, are cut off, or something follows them.
    """
    _unique("blob", (blob.name for blob in manifest.blobs))
    end = 0
    for blob in manifest.blobs:
        if blob.length == 0:
            raise BundleError(f"Blob '{blob.name}' is empty")
        if blob.offset != aligned(end):
            raise BundleError(f"Blob '{blob.name}' begins at {blob.offset} and not at {aligned(end)}")
        digests(blob)
        end = blob.offset + blob.length
    if end != payload_bytes:
        what = "cut off" if payload_bytes < end else "followed by something else"
        raise BundleError(
            f"The payload is {what}: {payload_bytes} bytes where the header lists {end}",
            "Fetch or build the bundle again",
        )


def check_content(manifest: Manifest) -> None:
    """Check that the parts of `manifest` agree with one another.

    Raises:
        BundleError: a name leads nowhere or is there twice, or sizes do not fit.
    """
    _unique("variant", (variant.id for variant in manifest.variants))
    _unique("input", (one.name for one in manifest.inputs))
    _unique("output", (one.name for one in manifest.outputs))
    tensors: tuple[Input | Output, ...] = (*manifest.inputs, *manifest.outputs)
    for one in tensors:
        _check_size(f"'{one.name}'", one)
    _check_decoders(manifest)
    for variant in manifest.variants:
        _check_variant(manifest, variant)
    _check_golden(manifest, manifest.golden)
    _check_evidence(manifest)


def _check_decoders(manifest: Manifest) -> None:
    """Check that the first output is read as the task has it, and that nothing reads the others."""
    for at, output in enumerate(manifest.outputs):
        if not isinstance(output.decoder, RawDecoder if at else DECODERS[manifest.task]):
            task = manifest.task if at == 0 else "raw, as those behind the first must be"
            raise BundleError(f"Output '{output.name}' has a decoder that is not of the task {task}")
    _check_read(manifest, manifest.outputs, "")


def _check_read(manifest: Manifest, tensors: tuple[Output, ...] | tuple[Tensor, ...], whose: str) -> None:
    """Check that the shapes of `tensors` are what the decoder of the first output reads."""
    shapes = [tensor.shape for tensor in tensors]
    for what, cure in faults(manifest.outputs[0].decoder, shapes, manifest.inputs[0]):
        raise BundleError(f"Output '{tensors[0].name}'{whose} {what}", cure)


def _check_variant(manifest: Manifest, variant: Variant) -> None:
    _unique(f"role in variant '{variant.id}'", (file.role for file in variant.files))
    for file in variant.files:
        _need_blob(manifest, file.blob, f"Variant '{variant.id}'")
    _check_tensors(f"inputs of variant '{variant.id}'", variant.inputs, manifest.inputs)
    _check_tensors(f"outputs of variant '{variant.id}'", variant.outputs, manifest.outputs)
    _check_read(manifest, variant.outputs, f" of variant '{variant.id}'")


def _check_tensors(what: str, tensors: tuple[Tensor, ...], logical: tuple[Input | Output, ...]) -> None:
    if len(tensors) != len(logical):
        raise BundleError(f"There are {len(tensors)} {what}, but {len(logical)} in the manifest")
    for tensor, meant in zip(tensors, logical, strict=True):
        _check_size(f"'{tensor.name}' of the {what}", tensor)
        if math.prod(tensor.shape) != math.prod(meant.shape):
            raise BundleError(f"The {what} do not fit '{meant.name}': {tensor.shape} and {meant.shape}")


def _check_size(what: str, tensor: Tensor | Input | Output) -> None:
    if not tensor.shape:
        raise BundleError(f"Tensor {what} has no dimension", "The first one is the batch")
    if nbytes(tensor.shape, tensor.dtype) > MAX_TENSOR_BYTES:
        raise BundleError(
            f"Tensor {what} of {tensor.shape} is too large", f"At most {MAX_TENSOR_BYTES} bytes"
        )


def _check_golden(manifest: Manifest, golden: Golden) -> None:
    if not golden.shape:
        raise BundleError("The golden samples have no dimension", "The first one counts the samples")
    _need_bytes(manifest, golden.blob, nbytes(golden.shape, golden.dtype), "The golden samples")
    if isinstance(manifest.inputs[0].preprocess, ImagePreprocess):
        _check_frames(golden)
    variants = {variant.id: variant for variant in manifest.variants}
    _unique("golden variant", (expected.variant for expected in golden.expected))
    for expected in golden.expected:
        what = f"What variant '{expected.variant}' must answer"
        if expected.variant not in variants:
            raise BundleError(f"{what} is given, but there is no such variant")
        outputs = variants[expected.variant].outputs
        given = len(expected.tolerances(len(outputs)))
        if given != len(outputs):
            raise BundleError(f"{what} has {given} tolerances for {len(outputs)} outputs")
        answer = sum(nbytes(tensor.shape[1:], tensor.dtype) for tensor in outputs)
        _need_bytes(manifest, expected.blob, golden.shape[0] * answer, what)
    proved = {expected.variant for expected in golden.expected}
    for variant in manifest.variants:
        if variant.status == "ready" and variant.id not in proved:
            raise BundleError(f"Variant '{variant.id}' is ready, but has no golden answers to be proved on")


def _check_frames(golden: Golden) -> None:
    gray, color = 3, 4
    fits = len(golden.shape) == gray or (len(golden.shape) == color and golden.shape[-1] == color - 1)
    if golden.dtype != "uint8" or not fits:
        raise BundleError(
            f"The golden samples are {golden.dtype} of {golden.shape}, but frames are preprocessed",
            "Frames are uint8 of (n, h, w) or (n, h, w, 3)",
        )


def _check_evidence(manifest: Manifest) -> None:
    evidence = manifest.evidence
    if evidence is None:
        return
    length = len(msgspec.json.encode(evidence))
    if length > MAX_EVIDENCE_BYTES:
        raise BundleError(
            f"The evidence has {length} bytes", f"At most {MAX_EVIDENCE_BYTES}; the full report is a blob"
        )
    if evidence.report is not None:
        _need_blob(manifest, evidence.report, "The evidence")


def _need_blob(manifest: Manifest, name: str, who: str) -> int:
    for blob in manifest.blobs:
        if blob.name == name:
            return blob.length
    raise BundleError(f"{who} refers to the blob '{name}', which is not in the bundle")


def _need_bytes(manifest: Manifest, name: str, length: int, what: str) -> None:
    actual = _need_blob(manifest, name, what)
    if actual != length:
        raise BundleError(f"{what}: blob '{name}' has {actual} bytes and not {length}")


def _unique(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise BundleError(f"There are two of the {what} '{name[:64]}'")
        seen.add(name)
