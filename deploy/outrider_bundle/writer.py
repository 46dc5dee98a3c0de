"""Writing a bundle: lay the blobs out, describe them, write all of it or nothing."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from outrider_bundle import atomic, blocks
from outrider_bundle.blocks import BLOCK, aligned
from outrider_bundle.checks import check_layout
from outrider_bundle.container import Bundle, encode_manifest, join_header
from outrider_bundle.errors import BundleError
from outrider_bundle.manifest import Blob, Manifest


def layout(blobs: Mapping[str, bytes | Path]) -> tuple[Blob, ...]:
    """Return the manifest's entries for `blobs`, in their order: offsets, lengths and digests.

    Raises:
        BundleError: a file cannot be read.
    """
    entries: list[Blob] = []
    end = 0
    for name, content in blobs.items():
        entry = blocks.describe(name, aligned(end), _pieces(name, content))
        end = entry.offset + entry.length
        entries.append(entry)
    return tuple(entries)


def write_bundle(path: str | Path, manifest: Manifest, blobs: Mapping[str, bytes | Path]) -> str:
    """Write `blobs` and `manifest`, whose own `blobs` are replaced by their `layout`, as the bundle `path`.

    What was written is read again and verified before it gets its name; a bundle already there is replaced.

    Returns:
        The bundle's digest.

    Raises:
        BundleError: manifest and blobs do not make a sound bundle.
        OutriderError: the file cannot be written; nothing is left behind.
    """
    path = Path(path)
    entries = layout(blobs)
    manifest = msgspec.structs.replace(manifest, blobs=entries)
    header = join_header(encode_manifest(manifest))
    check_layout(manifest, entries[-1].offset + entries[-1].length)
    part = atomic.begin(path)
    try:
        atomic.write_part(part, _file(header, entries, blobs))
        with Bundle.open(part) as written:
            written.verify()
            digest = written.digest
        atomic.commit(part, path)
    except OSError as error:
        raise atomic.unwritable(path, error) from error
    finally:
        atomic.discard(part)
    return digest


def _file(
    header: bytes, entries: Iterable[Blob], blobs: Mapping[str, bytes | Path]
) -> Iterator[bytes | memoryview]:
    yield header
    payload = aligned(len(header))
    at = len(header)
    for entry in entries:
        yield bytes(payload + entry.offset - at)
        yield from _pieces(entry.name, blobs[entry.name])
        at = payload + entry.offset + entry.length


def _pieces(name: str, content: bytes | Path) -> Iterator[bytes | memoryview]:
    if not isinstance(content, Path):
        yield from blocks.cut(content)
        return
    if content.exists() and not content.is_file():
        raise BundleError(f"Blob '{name}' cannot be read from {content}: it is not a file")
    try:
        with content.open("rb") as file:
            while piece := file.read(BLOCK):
                yield piece
    except OSError as error:
        raise BundleError(f"Blob '{name}' cannot be read from {content}: {error.strerror}") from error
