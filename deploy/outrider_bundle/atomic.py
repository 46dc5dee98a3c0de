"""Files that are there whole or not at all, also after a power cut."""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from outrider_bundle.errors import OutriderError


def write_file(path: Path, pieces: Iterable[bytes | bytearray | memoryview], mode: int = 0o644) -> None:
    """Write `pieces` as the file `path`, replacing what was there, or leave everything as it was.

    The bytes are on the disk before the name is, and the name is before this returns.

    Raises:
        OutriderError: it cannot be written; nothing is left behind.
    """
    part = begin(path)
    try:
        write_part(part, pieces, mode)
        commit(part, path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        discard(part)


def begin(path: Path) -> Path:
    """Return a name beside `path` under which its bytes can be collected."""
    return path.with_name(f".{path.name[:64]}.{secrets.token_hex(6)}.part")


def write_part(part: Path, pieces: Iterable[bytes | bytearray | memoryview], mode: int = 0o644) -> None:
    """Write the new file `part` and wait for the disk."""
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def commit(part: Path, path: Path) -> None:
    """Give `part` its name and wait until the folder knows it."""
    part.replace(path)
    sync_folder(path.parent)


def discard(part: Path) -> None:
    """Remove `part` if it is still there."""
    with contextlib.suppress(OSError):
        part.unlink()


def sync_folder(folder: Path) -> None:
    """Wait until the names in `folder` are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create `folder` and what lacks above it, each known to its parent on the disk."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def unwritable(path: Path, error: OSError) -> OutriderError:
    """Return our error for one of the system's while writing `path`."""
    cures = {
        errno.ENOSPC: "Free some space; nothing was left behind",
        errno.EDQUOT: "Free some of your quota; nothing was left behind",
        errno.ENOENT: f"Create the folder {path.parent} first",
        errno.EACCES: "Choose a folder that you may write to",
        errno.EROFS: "Choose a folder that you may write to",
    }
    return OutriderError(
        f"{path} cannot be written: {error.strerror or error}", cures.get(error.errno or 0, "")
    )
