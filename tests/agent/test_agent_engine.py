"""The inline engine: the seam's promises as far as one process can keep them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from outrider_agent.engine import inline as module
from outrider_agent.engine.inline import InlineEngine
from outrider_agent.engine.seam import Engine
from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import Tensor
from outrider_runtime.placing import Placed
from outrider_runtime.session import Array, Placement


class Doubling:
    """A session that doubles its input."""

    inputs = (Tensor(name="x", shape=(1, 3), dtype="float32"),)
    outputs = (Tensor(name="y", shape=(1, 3), dtype="float32"),)

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        self.before, self.closed, self.given = before, 0, list[Any]()

    def run(self, inputs: Sequence[Array], out: Sequence[Array] | None = None) -> Sequence[Array]:
        self.before()
        assert out is not None
        self.given.append((inputs[0].ctypes.data, out[0].ctypes.data))
        np.multiply(inputs[0], 2, out=out[0])
        return out

    def placement(self) -> Placement:
        return Placement(device="cpu", backend="doubling")

    def close(self) -> None:
        self.closed += 1


def engine_of(session: Doubling) -> InlineEngine:
    return InlineEngine(Placed(session=session, placement=session.placement()))


def test_what_is_written_into_the_slot_is_run_and_answered_by_number() -> None:
    session = Doubling()
    engine = engine_of(session)
    assert isinstance(engine, Engine)
    for seq, value in enumerate((3.0, 4.0)):
        engine.slot()[0][:] = value
        engine.submit(seq)
        answer = engine.collect(1.0)
        assert answer is not None
        assert (answer.seq, answer.late, answer.outputs[0].tolist()) == (seq, False, [[2 * value] * 3])
    assert session.given[0] == session.given[1]  # the same memory for every frame
    assert engine.placement.backend == "doubling"


def test_an_answer_is_collected_once() -> None:
    engine = engine_of(Doubling())
    assert engine.collect(1.0) is None
    engine.submit(0)
    assert engine.collect(1.0) is not None
    assert engine.collect(1.0) is None


def test_an_answer_after_the_deadline_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])

    def slow() -> None:
        now[0] += 0.2

    engine = engine_of(Doubling(slow))
    for deadline_s, late in ((0.1, True), (0.3, False)):
        engine.submit(0)
        answer = engine.collect(deadline_s)
        assert answer is not None
        assert answer.late is late


@pytest.mark.parametrize("error", [EngineError("gone"), RuntimeError("gone"), MemoryError("gone")])
def test_a_failing_session_is_an_engine_error_and_can_be_tried_again(error: Exception) -> None:
    fails = [True]

    def before() -> None:
        if fails.pop():
            raise error

    engine = engine_of(Doubling(before))
    engine.submit(0)
    with pytest.raises(EngineError, match="gone"):
        engine.collect(1.0)
    fails.append(False)
    engine.submit(1)
    answer = engine.collect(1.0)
    assert answer is not None
    assert answer.seq == 1


def test_closing_frees_the_session() -> None:
    session = Doubling()
    engine_of(session).close()
    assert session.closed == 1
