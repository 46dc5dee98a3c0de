"""The container (`.orb`): one flat file that is read by mapping it.

    0     magic, 8 bytes
    8     length of the manifest, u32 little endian
    12    the manifest: canonical JSON, at most 256 KiB
    ..    zeros up to the next multiple of 64: here the payload begins
    ..    blobs, each at a multiple of 64 of the payload, zeros between them, nothing behind the last

The header, magic to manifest, is what is signed; its SHA-256 names the bundle. Everything it
declares is checked against limits and the file's size before anything of that size is allocated.
"""

import hashlib
import mmap
import os
import stat
import struct
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from outrider_bundle import blocks
from outrider_bundle.blocks import ALIGN, BLOCK, aligned
from outrider_bundle.checks import check_content, check_layout
from outrider_bundle.errors import BundleError
from outrider_bundle.manifest import Blob, Manifest

__all__ = [
    "ALIGN",
    "BLOCK",
    "MAGIC",
    "MAX_MANIFEST_BYTES",
    "Bundle",
    "decode_manifest",
    "encode_manifest",
    "join_header",
    "split_header",
]

MAGIC = b"\x89ORB\r\n\x1a\n"
"""Like PNG's: no text begins so, and a transfer that treats the file as text breaks it."""

MAX_MANIFEST_BYTES = 262_144
"""The header alone is fetched and held in memory by the smallest device."""

_PREFIX = struct.Struct("<8sI")
_AGAIN = "Fetch or build the bundle again"


def decode_manifest(raw: bytes) -> Manifest:
    """Return the manifest that `raw` holds, its names and sizes checked.

    Raises:
        BundleError: too long, not JSON, not of this schema, out of limits, contradictory or not canonical.
    """
    if len(raw) > MAX_MANIFEST_BYTES:
        raise BundleError(f"A manifest of {len(raw)} bytes is too long", f"At most {MAX_MANIFEST_BYTES}")
    try:
        manifest = msgspec.json.decode(raw, type=Manifest)
        canonical = msgspec.json.encode(manifest, order="sorted")
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise BundleError(f"The manifest is not one of schema 1: {error}") from error
    if canonical != raw:
        # Two readers must never see two manifests in one signed text: keys are there once and in order.
        raise BundleError("The manifest is not in canonical form", "Let `outrider convert` write it")
    check_content(manifest)
    return manifest


def encode_manifest(manifest: Manifest) -> bytes:
    """Return `manifest` as canonical JSON that `decode_manifest` accepts.

    Raises:
        BundleError: it would be refused.
    """
    try:
        raw = msgspec.json.encode(manifest, order="sorted")
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BundleError(f"The manifest cannot be written: {error}") from error
    if len(raw) > MAX_MANIFEST_BYTES:
        listed = sum(len(blob.blocks) for blob in manifest.blobs)
        raise BundleError(
            f"The manifest would have {len(raw)} bytes, {listed} of them block lists; "
            f"it has at most {MAX_MANIFEST_BYTES}",
            "Package fewer variants: about 90 MB of blobs fit one bundle",
        )
    decode_manifest(raw)
    return raw


def join_header(manifest: bytes) -> bytes:
    """Put the magic and the length before an encoded manifest."""
    return _PREFIX.pack(MAGIC, len(manifest)) + manifest


def split_header(header: bytes) -> Manifest:
    """Return the manifest of a whole header, as `join_header` made it.

    Raises:
        BundleError: it is none.
    """
    length = _manifest_length(header)
    if len(header) != _PREFIX.size + length:
        raise BundleError(f"The header has {len(header)} bytes and not {_PREFIX.size + length}", _AGAIN)
    return decode_manifest(header[_PREFIX.size :])


def _manifest_length(start: bytes) -> int:
    if len(start) < _PREFIX.size or start[: len(MAGIC)] != MAGIC:
        raise BundleError("This is not a bundle: it does not begin like one")
    length = int(_PREFIX.unpack_from(start)[1])
    if not 0 < length <= MAX_MANIFEST_BYTES:
        raise BundleError(f"The header declares a manifest of {length} bytes; at most {MAX_MANIFEST_BYTES}")
    return length


class Bundle:
    """An open bundle. Its header is checked; its blobs are not, before `verify`."""

    def __init__(self, path: Path, header: bytes, manifest: Manifest, mapped: mmap.mmap) -> None:
        """Hold what `open` has checked."""
        self.path = path
        self.header = header
        self.manifest = manifest
        self.digest = hashlib.sha256(header).hexdigest()
        self._map = mapped
        self._view = memoryview(mapped)
        self._blobs = {blob.name: blob for blob in manifest.blobs}
        self._payload = aligned(len(header))

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Map the bundle at `path` after all checks that need no hash of a blob.

        Raises:
            BundleError: it cannot be read or is not a sound bundle.
        """
        path = Path(path)
        try:
            # O_NONBLOCK: opening a FIFO must not wait for its other end.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise BundleError(f"There is no bundle {path}", "Correct the path") from error
        except (OSError, ValueError) as error:
            raise BundleError(f"{path} cannot be opened: {_reason(error)}") from error
        try:
            header, manifest = _read(descriptor)
            return cls(path, header, manifest, mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
        except BundleError as error:
            raise BundleError(f"{path}: {error.what}", error.cure) from error
        except (OSError, ValueError) as error:
            raise BundleError(f"{path} cannot be read: {_reason(error)}") from error
        finally:
            os.close(descriptor)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        """Close."""
        self.close()

    def blob(self, name: str) -> memoryview:
        """Return the bytes of a blob, read-only and without a copy; unchecked, see `verify`.

        Raises:
            BundleError: there is none of this name.
        """
        blob = self.entry(name)
        start = self._payload + blob.offset
        return self._view[start : start + blob.length]

    def entry(self, name: str) -> Blob:
        """Return the manifest's entry for the blob `name`.

        Raises:
            BundleError: there is none of this name.
        """
        if name not in self._blobs:
            raise BundleError(f"{self.path} holds no blob '{name}'", f"It holds: {', '.join(self._blobs)}")
        return self._blobs[name]

    def verify(self) -> None:
        """Compare all blobs with the digests in the header.

        Raises:
            BundleError: a blob is damaged; names the first and where.
        """
        for blob in self.manifest.blobs:
            try:
                blocks.check(blob, blocks.cut(self.blob(blob.name)))
            except BundleError as error:
                raise BundleError(f"{self.path}: {error.what}", error.cure) from error

    def close(self) -> None:
        """Unmap the file, or leave that to the last holder of a blob; idempotent."""
        try:
            self._view.release()
            self._map.close()
        except BufferError:
            return


def _read(descriptor: int) -> tuple[bytes, Manifest]:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise BundleError("This is not a bundle: it is not a file")
    length = _manifest_length(os.pread(descriptor, _PREFIX.size, 0))
    end = _PREFIX.size + length
    if status.st_size < end:
        raise BundleError(f"The file ends inside its header, after {status.st_size} bytes", _AGAIN)
    header = os.pread(descriptor, end, 0)
    manifest = split_header(header)
    payload = aligned(end)
    check_layout(manifest, status.st_size - payload)
    _check_padding(descriptor, end, payload)
    for blob, after in zip(manifest.blobs, manifest.blobs[1:], strict=False):
        _check_padding(descriptor, payload + blob.offset + blob.length, payload + after.offset)
    return header, manifest


def _check_padding(descriptor: int, start: int, end: int) -> None:
    if os.pread(descriptor, end - start, start) != bytes(end - start):
        raise BundleError(f"The padding at {start} is not zero", _AGAIN)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or str(error)
