"""The memory of an engine child: who may write what, and that nobody can resize it."""

import fcntl
import mmap
import os

import pytest

from outrider_agent.engine import memory
from outrider_bundle.manifest import Tensor

TENSORS = (Tensor(name="x", shape=(3, 5), dtype="uint8"), Tensor(name="y", shape=(7,), dtype="float64"))


def test_frames_can_only_be_read_by_who_gets_the_descriptor() -> None:
    frames = memory.frames(TENSORS)
    seals = fcntl.fcntl(frames.fd, fcntl.F_GET_SEALS)
    frames.slots[1][1][:] = 5.0
    with mmap.mmap(frames.fd, 0, prot=mmap.PROT_READ) as theirs:
        assert theirs[-64:-56] != bytes(8)
    if seals & memory.F_SEAL_FUTURE_WRITE:
        with pytest.raises(PermissionError):
            mmap.mmap(frames.fd, 0)
        with pytest.raises(PermissionError):
            os.pwrite(frames.fd, b"x", 0)
    for length in (0, 1 << 20):
        with pytest.raises(PermissionError):
            os.ftruncate(frames.fd, length)
    os.close(frames.fd)


def test_outputs_are_read_only_here_and_tensors_lie_apart() -> None:
    outputs = memory.outputs(TENSORS)
    starts = [array.ctypes.data for slot in outputs.slots for array in slot]
    assert all(not start % 64 for start in starts)
    assert len(set(starts)) == 4
    with pytest.raises(ValueError, match="read-only"):
        outputs.slots[0][0][0] = 1
    with pytest.raises(PermissionError):
        os.ftruncate(outputs.fd, 0)
    os.close(outputs.fd)
