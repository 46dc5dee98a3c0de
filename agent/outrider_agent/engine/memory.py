"""Memory that the agent shares with one engine child: without a name, gone with the last of the two.

It is sealed (memfd_create(2), fcntl(2)): neither side can change its size, which would end the other by
SIGBUS, and the child can map frames only to read them.
"""

import fcntl
import mmap
import os
from collections.abc import Sequence

from msgspec import Struct

from outrider_bundle.manifest import Tensor
from outrider_runtime.child import wire
from outrider_runtime.session import Array

SIZE = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
F_SEAL_FUTURE_WRITE = 16
"""Missing in Python's own list; Linux has it from 5.1 on."""


class Memory(Struct, frozen=True, kw_only=True):
    """Arrays by slot, and the descriptor that the child maps; the arrays keep their memory alive."""

    fd: int
    slots: tuple[tuple[Array, ...], ...]


def frames(tensors: Sequence[Tensor]) -> Memory:
    """Return memory that is written here and read by whoever gets its descriptor."""
    fd, length = _made("outrider-frames", wire.size(tensors))
    shared = mmap.mmap(fd, length)  # before the seal: it forbids such maps from here on
    try:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SIZE | F_SEAL_FUTURE_WRITE)
    except OSError:  # an older kernel: the child is trusted not to write
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SIZE)
    return _memory(fd, shared, tensors)


def outputs(tensors: Sequence[Tensor]) -> Memory:
    """Return memory that is read here and written by whoever gets its descriptor."""
    fd, length = _made("outrider-outputs", wire.size(tensors))
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SIZE)
    return _memory(fd, mmap.mmap(fd, length, prot=mmap.PROT_READ), tensors)


def words() -> int:
    """Return the descriptor of an empty file for what a child says; a driver may say much while it loads."""
    return os.memfd_create("outrider-words", os.MFD_CLOEXEC)


def _made(name: str, length: int) -> tuple[int, int]:
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, length)
    return fd, length


def _memory(fd: int, shared: mmap.mmap, tensors: Sequence[Tensor]) -> Memory:
    view = memoryview(shared)
    return Memory(fd=fd, slots=tuple(wire.arrays(view, tensors, slot) for slot in range(wire.SLOTS)))
