"""A small ext4 disk in a file, which can be filled and whose plug can be pulled. Needs root.

The plug is ext4's own shutdown, without flushing its journal: from then on nothing is written, what was in
memory is lost, and the next mount replays the journal as after a power cut. The file below stands for a
medium that keeps what it was given. Mounts are in a namespace of the process that calls `alone`, so none
survives it.
"""

import ctypes
import fcntl
import os
import shutil
import struct
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

CLONE_NEWNS = 0x20000
"""See unshare(2)."""

FS_IOC_SHUTDOWN, NOLOGFLUSH = 0x8004587D, 2
"""See include/uapi/linux/fs.h: `EXT4_IOC_SHUTDOWN` and its flag."""

PROGRAMS = ("mkfs.ext4", "mount", "umount")
BLOCK, TURN_S = 1 << 20, 0.002
SBIN = "/usr/sbin:/sbin"


def missing() -> str:
    """Return why there can be no such disk here; empty if there is no reason known."""
    if os.geteuid() != 0:
        return "it needs root"
    path = os.pathsep.join((os.environ.get("PATH", ""), SBIN))
    lacking = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if not Path("/dev/loop-control").exists():
        lacking.append("loop devices")
    return f"not here: {', '.join(lacking)}" if lacking else ""


def alone() -> None:
    """Give this process mounts of its own.

    Raises:
        OSError: it may not.
    """
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    _run("mount", "--make-rprivate", "/")


class Disk:
    """The disk, mounted at `folder/disk` in the block.

    Args:
        folder: private to it.
        size: of the disk, in bytes.
    """

    def __init__(self, folder: Path, size: int) -> None:
        """Make the file and the file system on it."""
        self._image, self.path = folder / "disk.img", folder / "disk"
        self.path.mkdir(parents=True)
        with self._image.open("wb") as file:
            file.truncate(size)
        # No blocks are set aside for root, which the agent is here: a full disk is full for it as well.
        _run("mkfs.ext4", "-q", "-m", "0", str(self._image))

    def __enter__(self) -> Self:
        """Mount it."""
        self._mount()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Unmount it."""
        _run("umount", str(self.path))

    @property
    def free(self) -> int:
        """How many bytes can still be written."""
        told = os.statvfs(self.path)
        return told.f_bavail * told.f_frsize

    def cut(self) -> None:
        """Pull the plug: nothing written from now on is kept, nor what is in memory only."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, FS_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
        finally:
            os.close(descriptor)

    def again(self) -> None:
        """Mount it as after a cut; nobody may have a file open on it."""
        _run("umount", str(self.path))
        self._mount()

    def _mount(self) -> None:
        _run("mount", "-o", "loop", str(self._image), str(self.path))


class Neighbour:
    """Another program that fills the disk to the last byte, and takes any room that comes free as well.

    Args:
        disk: that both use.
    """

    def __init__(self, disk: Disk) -> None:
        """Write nothing yet."""
        self._disk, self._ended = disk, threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="neighbour", daemon=True)

    def __enter__(self) -> Self:
        """Fill the disk; from then on it is full until the block ends."""
        self._write()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write no more; what was written stays."""
        self._ended.set()
        self._thread.join()

    def _go_on(self) -> None:
        while not self._ended.wait(TURN_S):
            if self._disk.free:
                self._write()

    def _write(self) -> None:
        path = self._disk.path / "somebody-elses"
        with path.open("ab", buffering=0) as file:
            for block in (BLOCK, 4096, 1):
                _write_all(file.fileno(), bytes(block))


def _write_all(descriptor: int, block: bytes) -> None:
    """Write `block` again and again until there is no room for it; the room is really taken then."""
    with suppress(OSError):  # ENOSPC
        while os.write(descriptor, block):
            pass
    with suppress(OSError):
        os.fsync(descriptor)


def _run(*command: str) -> None:
    path = os.pathsep.join((os.environ.get("PATH", ""), SBIN))
    program = shutil.which(command[0], path=path) or command[0]
    subprocess.run([program, *command[1:]], check=True)
