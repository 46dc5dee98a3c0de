"""What was announced before, so that it can be taken back: one small file in the state directory."""

import contextlib
import logging
from pathlib import Path

import msgspec
from msgspec import Struct

from outrider_agent.discovery.options import MEMORY
from outrider_bundle import atomic
from outrider_bundle.errors import OutriderError

log = logging.getLogger(__name__)


class Announced(Struct, frozen=True, kw_only=True):
    """By topic of a discovery message, the platform of each entity by its key."""

    topics: dict[str, dict[str, str]] = {}


class Memory:
    """The file; it is written only when something has changed, and a fault of the disk is no fault of ours.

    Args:
        folder: the state directory.
    """

    def __init__(self, folder: Path) -> None:
        """Read what is there."""
        self._path = folder / MEMORY
        self._now = self._read()

    @property
    def topics(self) -> dict[str, dict[str, str]]:
        """What Home Assistant may still know of."""
        return self._now.topics

    def keep(self, topics: dict[str, dict[str, str]]) -> None:
        """Remember `topics` and nothing else."""
        announced = Announced(topics=topics)
        if announced == self._now:
            return
        self._now = announced
        try:
            if topics:
                atomic.write_file(self._path, [msgspec.json.encode(announced), b"\n"])
            else:
                self._path.unlink(missing_ok=True)
        except (OutriderError, OSError) as error:
            log.warning("What Home Assistant was told is not remembered: %s", error)

    def _read(self) -> Announced:
        with contextlib.suppress(FileNotFoundError):
            try:
                return msgspec.json.decode(self._path.read_bytes(), type=Announced)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                log.warning(
                    "%s is not what was written there; entities may be left over: %s", self._path, error
                )
            except FileNotFoundError:
                raise
            except OSError as error:
                log.warning("%s cannot be read; entities may be left over: %s", self._path, error)
        return Announced()
