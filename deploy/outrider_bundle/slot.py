"""Slots: the part of a bundle that a device keeps, one file per blob.

A slot is a folder called like the bundle's digest. It holds the header and the blobs of some of the
variants with what proves them; a runtime maps its model by path. Its trust is the header's digest
in its name and the digests in the header, so it is verified again whenever it is opened.
"""

import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from outrider_bundle import atomic, blocks
from outrider_bundle.blocks import BLOCK
from outrider_bundle.container import MAX_MANIFEST_BYTES, Bundle, split_header
from outrider_bundle.errors import BundleError
from outrider_bundle.manifest import Blob, Manifest, Variant

HEADER = "header.orb"
"""A blob's name has no dot: this one is free."""

_AGAIN = "Unpack the bundle again"


def unpack(bundle: Bundle, variants: Sequence[str], folder: Path) -> Path:
    """Put the blobs of `variants` and their golden vectors into a slot below `folder`; return its path.

    Every block is verified on its way. A slot that is there is verified, and what it lacks or what
    is damaged is written again; a cut at any point leaves the old state or the new one.

    Raises:
        BundleError: there is no such variant, or the bundle is damaged.
        OutriderError: the folder cannot be written to.
    """
    names = wanted(bundle.manifest, variants)
    slot = folder / bundle.digest
    try:
        atomic.make_folder(folder)
        with _alone(folder):
            if slot.is_dir() and not slot.is_symlink():
                _fill(slot, bundle, names)
            else:
                _create(slot, bundle, names)
    except OSError as error:
        raise atomic.unwritable(slot, error) from error
    return slot


def wanted(manifest: Manifest, variants: Sequence[str]) -> tuple[str, ...]:
    """Return the blobs that `variants` need to run and to be proved, in the manifest's order.

    Raises:
        BundleError: there is no such variant.
    """
    chosen = {name: _variant(manifest, name) for name in variants}
    names = {file.blob for variant in chosen.values() for file in variant.files}
    names |= {expected.blob for expected in manifest.golden.expected if expected.variant in chosen}
    names.add(manifest.golden.blob)
    return tuple(blob.name for blob in manifest.blobs if blob.name in names)


class Slot:
    """A verified slot."""

    def __init__(self, path: Path, manifest: Manifest, present: frozenset[str]) -> None:
        """Hold what `open` has verified; `present` names the blobs that are there."""
        self.path = path
        self.manifest = manifest
        self.digest = path.name
        self.present = present

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Verify the slot at `path`: its header against its name, its blobs against the header.

        Raises:
            BundleError: it cannot be read, or something in it is damaged.
        """
        path = Path(path).resolve()
        header = _read(path / HEADER, 12 + MAX_MANIFEST_BYTES)
        if hashlib.sha256(header).hexdigest() != path.name:
            raise BundleError(f"The header in the slot {path} is not that of its name", _AGAIN)
        manifest = split_header(header)
        present = {blob.name for blob in manifest.blobs if (path / blob.name).exists()}
        for blob in manifest.blobs:
            if blob.name in present:
                _check(path, blob)
        return cls(path, manifest, frozenset(present))

    @classmethod
    def unpacked(cls, bundle: Bundle, variants: Sequence[str], folder: str | Path) -> Self:
        """Return the slot of `variants` of `bundle` below `folder`, unpacked and verified once; see `unpack`.

        Raises:
            BundleError: there is no such variant, or the bundle is damaged.
            OutriderError: the folder cannot be written to.
        """
        path = unpack(bundle, variants, Path(folder)).resolve()
        present = {blob.name for blob in bundle.manifest.blobs if (path / blob.name).exists()}
        return cls(path, bundle.manifest, frozenset(present))

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The variants whose files are all here, in fallback order."""
        return tuple(
            variant
            for variant in self.manifest.ranked()
            if all(file.blob in self.present for file in variant.files)
        )

    def files(self, variant_id: str) -> dict[str, Path]:
        """Return role to path of the files of a variant.

        Raises:
            BundleError: the variant or one of its files is not in this slot.
        """
        files = _variant(self.manifest, variant_id).files
        lacking = sorted(file.blob for file in files if file.blob not in self.present)
        if lacking:
            raise BundleError(f"The slot {self.path} lacks {', '.join(lacking)} of '{variant_id}'", _AGAIN)
        return {file.role: self.path / file.blob for file in files}

    def read(self, blob: str) -> bytes:
        """Return the bytes of a blob, verified once more.

        Raises:
            BundleError: it is not in this slot, or was damaged since.
        """
        if blob not in self.present:
            raise BundleError(f"The slot {self.path} lacks the blob '{blob}'", _AGAIN)
        entry = next(one for one in self.manifest.blobs if one.name == blob)
        data = _read(self.path / blob, entry.length)
        blocks.check(entry, blocks.cut(data))
        return data


def _variant(manifest: Manifest, name: str) -> Variant:
    try:
        return manifest.variant(name)
    except KeyError as error:
        known = ", ".join(variant.id for variant in manifest.variants)
        raise BundleError(f"The bundle has no variant '{name}'", f"It has: {known}") from error


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep two processes from unpacking into one folder at once."""
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _create(slot: Path, bundle: Bundle, names: Sequence[str]) -> None:
    """Fill a folder of another name and rename it when all of it is on the disk."""
    part = slot.with_name(f".{slot.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir()
        for name in names:
            atomic.write_part(part / name, _verified(bundle, name))
        atomic.write_part(part / HEADER, [bundle.header])
        atomic.sync_folder(part)
        atomic.commit(part, slot)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _fill(slot: Path, bundle: Bundle, names: Sequence[str]) -> None:
    """Write what a slot lacks or has damaged; each file is replaced as a whole."""
    for leftover in slot.glob(".*.part"):
        leftover.unlink(missing_ok=True)
    for name in names:
        if not _sound(slot, bundle.entry(name)):
            atomic.write_file(slot / name, _verified(bundle, name))
    for blob in bundle.manifest.blobs:
        if blob.name not in names and (slot / blob.name).exists() and not _sound(slot, blob):
            (slot / blob.name).unlink()
    if not _has_header(slot, bundle.header):
        atomic.write_file(slot / HEADER, [bundle.header])


def _verified(bundle: Bundle, name: str) -> Iterator[memoryview]:
    """Yield the blocks of a blob, each one after its digest was compared."""
    blob = bundle.entry(name)
    for digest, piece in zip(blocks.digests(blob), blocks.cut(bundle.blob(name)), strict=True):
        if hashlib.sha256(piece).digest() != digest:
            raise BundleError(f"{bundle.path}: blob '{name}' is damaged", "Fetch or build the bundle again")
        yield piece


def _sound(slot: Path, blob: Blob) -> bool:
    try:
        _check(slot, blob)
    except BundleError:
        return False
    return True


def _has_header(slot: Path, header: bytes) -> bool:
    try:
        return _read(slot / HEADER, len(header)) == header
    except BundleError:
        return False


def _check(slot: Path, blob: Blob) -> None:
    try:
        with _opened(slot / blob.name) as descriptor:
            blocks.check(blob, iter(lambda: os.read(descriptor, BLOCK), b""))
    except BundleError as error:
        raise BundleError(f"The slot {slot}: {error.what}", _AGAIN) from error


def _read(path: Path, max_bytes: int) -> bytes:
    with _opened(path) as descriptor, os.fdopen(os.dup(descriptor), "rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise BundleError(f"{path} is longer than its header says", _AGAIN)
    return data


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Open a regular file; a link, a FIFO or a device in a slot is not one of ours."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise BundleError(f"{path} is not a file", _AGAIN)
            yield descriptor
        finally:
            os.close(descriptor)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror or error}", _AGAIN) from error
