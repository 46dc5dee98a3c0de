"""Blocks: each blob is signed and transferred in pieces of 16 KiB, the last one short."""

import base64
import binascii
import hashlib
from collections.abc import Iterable

from outrider_bundle.errors import BundleError
from outrider_bundle.manifest import Blob

BLOCK = 16_384
"""Bytes of a block."""

ALIGN = 64
"""Blobs begin at multiples of this, so that a tensor in a mapped file is aligned."""

DIGEST = 32
"""Bytes of a SHA-256."""

Buffer = bytes | bytearray | memoryview


def aligned(position: int) -> int:
    """Return the first multiple of `ALIGN` that is not below `position`."""
    return -(-position // ALIGN) * ALIGN


def digests(blob: Blob) -> tuple[bytes, ...]:
    """Return the digests of the blocks of `blob`.

    Raises:
        BundleError: the list is no base64 in its one canonical form, or has not one digest a block.
    """
    try:
        raw = base64.b64decode(blob.blocks, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BundleError(f"The block list of blob '{blob.name}' is not base64: {error}") from error
    if len(raw) != -(-blob.length // BLOCK) * DIGEST or base64.b64encode(raw).decode() != blob.blocks:
        raise BundleError(f"The block list of blob '{blob.name}' does not fit its {blob.length} bytes")
    return tuple(raw[at : at + DIGEST] for at in range(0, len(raw), DIGEST))


def describe(name: str, offset: int, pieces: Iterable[Buffer]) -> Blob:
    """Return the entry of the blob whose bytes are `pieces`, each of `BLOCK` bytes but the last."""
    whole = hashlib.sha256()
    length = 0
    blocks = bytearray()
    for piece in pieces:
        whole.update(piece)
        blocks += hashlib.sha256(piece).digest()
        length += len(piece)
    text = base64.b64encode(bytes(blocks)).decode()
    return Blob(name=name, offset=offset, length=length, sha256=whole.hexdigest(), blocks=text)


def check(blob: Blob, pieces: Iterable[Buffer]) -> None:
    """Compare the bytes of `blob`, cut into blocks, with its digests.

    Raises:
        BundleError: a block or the whole differs; names the first.
    """
    whole = hashlib.sha256()
    expected = digests(blob)
    length = at = 0
    for at, piece in enumerate(pieces, start=1):
        whole.update(piece)
        length += len(piece)
        if at > len(expected) or hashlib.sha256(piece).digest() != expected[at - 1]:
            start = (at - 1) * BLOCK
            raise BundleError(
                f"Blob '{blob.name}' is damaged in its bytes {start} to {start + len(piece) - 1}",
                "Fetch or build the bundle again",
            )
    if length != blob.length or at != len(expected) or whole.hexdigest() != blob.sha256:
        raise BundleError(
            f"Blob '{blob.name}' is not what the header promises", "Fetch or build the bundle again"
        )


def cut(data: Buffer) -> Iterable[memoryview]:
    """Cut `data` into blocks without a copy."""
    view = memoryview(data).cast("B")
    return (view[at : at + BLOCK] for at in range(0, len(view), BLOCK))
