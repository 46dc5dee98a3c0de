"""How often the agent crashed in a row, counted before anything is loaded that may crash it again.

A start writes that it has begun. Only an end in good order or some time of good work takes that back, so
whatever ends the process otherwise counts: a fault, SIGKILL, the watchdog, the kernel out of memory.
"""

import hashlib
import logging
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from outrider_agent.config import Config
from outrider_bundle import atomic
from outrider_bundle.errors import OutriderError

NAME = "starts.json"

log = logging.getLogger(__name__)


class Starts(Struct, frozen=True, kw_only=True):
    """What is on the disk.

    Args:
        schema: of this file.
        count: starts in a row that have not ended well so far.
        ran: fingerprint of what they ran.
    """

    schema: int = 1
    count: int = 0
    ran: str = ""


class Crashes:
    """The count of one agent, whose state directory is held by this process.

    Args:
        folder: the state directory.
        most: after so many crashes in a row it is too much; 0 for never.
    """

    def __init__(self, folder: Path, most: int) -> None:
        """Read what earlier starts have left."""
        self._path, self._most = folder / NAME, most
        self._starts = _read(self._path)
        self._before = self._starts

    @property
    def reason(self) -> str:
        """Why no loop should run now; empty if it should."""
        if not self._most or self._starts.count < self._most:
            return ""
        return f"{self._starts.count} starts in a row ended in a crash"

    def see(self, ran: str) -> None:
        """Begin anew if what is to run is not what has crashed."""
        if ran != self._starts.ran:
            self._starts = Starts(ran=ran)

    def begin(self) -> None:
        """Count a start; it is on the disk when this returns."""
        self._before = self._starts
        self._write(replace(self._starts, count=self._starts.count + 1))

    def excuse(self) -> None:
        """Take the start back: it ended with a fault, but in good order."""
        self._write(self._before)

    def forget(self) -> None:
        """Begin anew: the agent works, or somebody says so."""
        self._before = replace(self._before, count=0)  # a later fault in good order brings none of them back
        if self._starts.count:
            self._write(replace(self._starts, count=0))

    def _write(self, starts: Starts) -> None:
        """Write the count; a disk that refuses it is no reason to run less."""
        if starts == _read(self._path):
            self._starts = starts
            return
        try:
            atomic.write_file(self._path, [msgspec.json.encode(starts), b"\n"])
        except OutriderError as error:
            log.warning("Crashes cannot be counted: %s", error)
        self._starts = starts


def fingerprint(config: Config, path: Path | None) -> str:
    """Return what changes when the configuration file or one of its bundles does."""
    digest = hashlib.sha256(path.read_bytes() if path is not None and path.is_file() else b"")
    bundles: list[Path] = []
    for table in (pipeline.table for pipeline in config.pipelines):
        bundles += [table.bundle, *(one.bundle for one in table.cascade)]
    for bundle in bundles:
        try:
            status = bundle.stat()
        except OSError:
            continue
        digest.update(f"{bundle} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _read(path: Path) -> Starts:
    """Return what is there; a file that cannot be read counts as none, for a loop is worth more."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Starts)
    except FileNotFoundError:
        return Starts()
    except (OSError, msgspec.DecodeError) as error:
        log.warning("%s is not what an agent writes, and counts as no crash: %s", path, error)
        return Starts()
