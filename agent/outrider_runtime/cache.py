"""What a runtime makes of a model when it loads it, kept so that the next start need not make it again.

    FOLDER/KEY/*       an entry: the files of the runtime
    FOLDER/KEY/sums    their sizes and CRC-32, against a disk that fails or a cut while they were written

An entry appears in one piece, so that any number of processes may share a folder. A cache is never why a
model does not load: what is damaged is made again, and what cannot be kept is a line in the log. It is as
trusted as the folder is: golden vectors are run over what comes out of it as over any other file.
"""

import hashlib
import logging
import os
import re
import secrets
import shutil
import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import time

from outrider_runtime import cpu
from outrider_runtime.checked import first_line

KEEP = 16
"""Entries of a folder; the one that was used longest ago goes first."""

SUMS = "sums"
ENTRY = re.compile(r"[0-9a-f]{64}")
DRAFT = "draft-"
STALE_S = 3600.0
"""A draft of this age was left by a process that died."""

CHUNK = 1 << 20

log = logging.getLogger(__name__)


class Cache:
    """A folder of entries.

    Args:
        folder: made when it is needed; others may keep other things in it.
        keep: how many entries stay.
    """

    def __init__(self, folder: Path, keep: int = KEEP) -> None:
        """Remember both."""
        self._folder, self._keep = folder.absolute(), keep

    def entry(
        self, facts: Sequence[str], files: Mapping[str, Path], make: Callable[[Path], object]
    ) -> Path | None:
        """Return the folder that holds what `make` makes, made now if it is not there or is damaged.

        Args:
            facts: all that the result depends on beside the files and the processor: versions, options.
            files: role to path; their content counts.
            make: writes files into the folder it is given.

        Returns:
            an entry, or None where nothing can be kept; then the log says why.
        """
        try:
            path = self._folder / _key(facts, files)
            if not self._sound(path):
                self._make(path, make)
                self._trim()
        except Exception as error:  # noqa: BLE001 - whatever it is, the model can be loaded without
            log.warning("Nothing is cached in %s: %s", self._folder, first_line(error))
            return None
        with suppress(OSError):  # a disk that is read-only keeps what it has
            os.utime(path)
        return path

    def drop(self, path: Path, why: object) -> None:
        """Remove an entry that is of no use, and log `why`."""
        log.warning("%s is removed from the cache: %s", path, why)
        _remove(path)

    def _sound(self, path: Path) -> bool:
        if not path.is_dir():
            return False
        try:
            kept = (path / SUMS).read_bytes()
            if kept == _sums(path):
                return True
            self.drop(path, "it is damaged")
        except OSError as error:
            self.drop(path, error)
        return False

    def _make(self, path: Path, make: Callable[[Path], object]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=DRAFT, dir=self._folder))
        try:
            make(draft)
            (draft / SUMS).write_bytes(_sums(draft))
            draft.rename(path)
        except OSError:
            if not (path / SUMS).is_file():  # else another process was faster, and its entry is as good
                raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _trim(self) -> None:
        used_s: dict[Path, float] = {}
        for path in self._folder.iterdir():
            with suppress(FileNotFoundError):  # another process has renamed or removed it meanwhile
                used_s[path] = path.stat().st_mtime
        entries = sorted(
            (path for path in used_s if ENTRY.fullmatch(path.name)), key=lambda path: used_s[path]
        )
        for path in entries[: -self._keep]:
            _remove(path)
        for path, since_s in used_s.items():
            if path.name.startswith(DRAFT) and time() - since_s > STALE_S:
                shutil.rmtree(path, ignore_errors=True)


def _key(facts: Sequence[str], files: Mapping[str, Path]) -> str:
    processor = cpu.identity()
    if not processor:
        raise OSError("The kernel does not say which processor this is")
    digest = hashlib.sha256()
    for text in (processor, *facts):
        digest.update(hashlib.sha256(text.encode()).digest())
    for role, path in sorted(files.items()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").digest()
        digest.update(hashlib.sha256(f"{role} {path.name}".encode()).digest() + content)
    return digest.hexdigest()


def _sums(path: Path) -> bytes:
    """Return a line for each file of an entry."""
    files = sorted(file for file in path.iterdir() if file.name != SUMS)
    return "".join(f"{_crc(file):08x} {file.stat().st_size} {file.name}\n" for file in files).encode()


def _crc(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            crc = zlib.crc32(chunk, crc)
    return crc


def _remove(path: Path) -> None:
    """Remove an entry at once: nobody finds half of it."""
    doomed = path.with_name(DRAFT + secrets.token_hex(8))
    with suppress(OSError):
        path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
