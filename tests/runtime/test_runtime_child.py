"""What the engine child and its agent say to one another."""

import os
import threading

import msgspec
import numpy as np
import pytest

from outrider_bundle.errors import EngineError, MissingExtraError, OutriderError, ProofError, UsageError
from outrider_bundle.manifest import Tensor
from outrider_runtime.child import polite, serve, wire
from outrider_runtime.placing import PlacementError

TENSORS = (Tensor(name="a", shape=(3, 5), dtype="uint8"), Tensor(name="b", shape=(2, 9), dtype="float64"))


@pytest.mark.parametrize(
    "error",
    [
        EngineError("It is broken", "Mend it"),
        PlacementError("It runs elsewhere"),
        MissingExtraError("It needs nonesuch", "onnx"),
        UsageError("There is none", "Installed: null"),
    ],
)
def test_an_error_of_ours_arrives_as_it_was(error: OutriderError) -> None:
    message = msgspec.json.decode(wire.encode(wire.failure(error)), type=wire.Failure)
    arrived = wire.raised(message)
    assert type(arrived) is type(error)
    assert (str(arrived), arrived.what, arrived.cure) == (str(error), error.what, error.cure)
    assert arrived.exit_code == error.exit_code


def test_any_other_error_arrives_as_one_of_the_engine() -> None:
    for error in (MemoryError(), ValueError("no such thing"), ProofError("It differs"), OutriderError("x")):
        arrived = wire.raised(wire.failure(error))
        assert type(arrived) is EngineError
        assert repr(error) in str(arrived) or str(error) in str(arrived)
    assert (
        wire.ANSWER.size + len(wire.encode(wire.failure(EngineError("x" * 10**6, "y" * 10**6))))
        < wire.MAX_BYTES
    )


def test_the_tensors_of_a_slot_lie_apart_and_aligned() -> None:
    memory = memoryview(bytearray(wire.size(TENSORS)))
    assert len(memory) == 2 * (64 + 192)
    for slot in range(wire.SLOTS):
        for tensor, array in zip(TENSORS, wire.arrays(memory, TENSORS, slot), strict=True):
            assert (array.shape, array.dtype.name) == (tensor.shape, tensor.dtype)
            array[...] = slot + 1
    base = np.frombuffer(memory, np.uint8)
    assert np.flatnonzero(base == 1).tolist() == list(range(15))
    assert np.flatnonzero(base == 2).tolist() == list(range(256, 256 + 15))


@pytest.mark.parametrize("message", [b"", b"{}", b"\xff", b'{"version": 99}'])
def test_what_it_does_not_understand_is_a_failure_that_tells_the_cure(message: bytes) -> None:
    fds = os.pipe()
    answer = serve.load(message, fds)
    assert isinstance(answer, bytes)
    arrived = wire.raised(msgspec.json.decode(answer, type=wire.Failure))
    assert "Install one version of outrider" in arrived.cure
    for fd in fds:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


def test_a_polite_call_is_idle_and_nothing_else_is() -> None:
    ready, end = threading.Event(), threading.Event()

    def call() -> int:
        pool = threading.Thread(target=lambda: (ready.set(), end.wait(10.0)), daemon=True)
        pool.start()
        ready.wait(10.0)
        assert os.sched_getscheduler(0) == os.SCHED_IDLE
        assert pool.native_id is not None
        assert os.sched_getscheduler(pool.native_id) == os.SCHED_IDLE
        return pool.native_id

    try:
        pool, stuck = polite.idly(call)
        assert os.sched_getscheduler(0) != os.SCHED_IDLE
        assert (os.sched_getscheduler(pool) == os.SCHED_IDLE) == bool(stuck)  # root may bring it back
    finally:
        end.set()


def test_a_polite_call_raises_what_it_raises() -> None:
    def call() -> None:
        raise EngineError("no")

    with pytest.raises(EngineError, match="no"):
        polite.idly(call)
