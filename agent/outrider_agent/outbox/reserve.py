"""Room on the disk, taken before it is needed, so that events can be stored when others have filled it."""

import contextlib
import logging
import os
import time
from pathlib import Path

LOOK_S = 60.0
"""How often it is tried to take it again."""
SPARE = 4
"""Taken only where so many times its size is free."""

log = logging.getLogger(__name__)


class Reserve:
    """A file of `size` bytes that is removed when the disk is full.

    Args:
        path: of the file.
        size: in bytes.
    """

    def __init__(self, path: Path, size: int) -> None:
        """Take nothing yet."""
        self._path, self._size = path, size
        self._looked_s = float("-inf")

    @property
    def due(self) -> bool:
        """Whether it is time to look after it."""
        return time.monotonic() - self._looked_s >= LOOK_S

    @property
    def plenty(self) -> bool:
        """Whether the disk has room enough to take some before it is needed."""
        try:
            disk = os.statvfs(self._path.parent)
        except OSError:
            return False
        return disk.f_bavail * disk.f_frsize >= SPARE * self._size

    @property
    def held(self) -> bool:
        """Whether the room is still ours."""
        return self._path.exists()

    def take(self) -> bool:
        """Take the room if the disk has plenty; True if it is ours now. No fault if it cannot be taken."""
        self._looked_s = time.monotonic()
        try:
            if self._path.exists() and self._path.stat().st_size == self._size:
                return True
            if self.plenty:
                self._allocate()
                return True
        except OSError as error:
            log.info("No room can be reserved at %s: %s", self._path, error.strerror)
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
        return False

    def give_up(self) -> bool:
        """Give the room back to the disk; False if that was done before."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True

    def _allocate(self) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self._size)
        finally:
            os.close(descriptor)
