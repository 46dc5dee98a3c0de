"""A candidate in the shadow, under control: when it answers, and what."""

from collections.abc import Sequence
from typing import cast

import numpy as np

from outrider_agent.engine.mount import Mounted
from outrider_agent.engine.seam import Answer
from outrider_runtime.session import Array
from tests.fakes.engines import Bench, CopyLens


class PolledEngine:
    """Answers when it is told to; it counts what a real one would have to wait for."""

    def __init__(self) -> None:
        """Have one input of 1x4x4 and three outputs."""
        self._inputs = (np.zeros((1, 4, 4), np.uint8),)
        self._next: Answer | None = None
        self._fault: Exception | None = None
        self.open: list[int] = []
        self.waits = 0

    def slot(self) -> Sequence[Array]:
        """Return the input; a second run beside an open one waits, as it does in a child after the third."""
        self._raise()
        self.waits += bool(self.open)
        return self._inputs

    def submit(self, seq: int) -> None:
        """Start a run."""
        self._raise()
        self.open.append(seq)

    def answer(self, index: int, took_ns: int = 1_000_000) -> None:
        """Let the open run end with `index`."""
        output = np.zeros((1, 3), np.float32)
        output[0, index] = 1.0
        self._next = Answer(seq=self.open[0], outputs=(output,), took_ns=took_ns)

    def fail(self, error: Exception) -> None:
        """Let the next call raise `error`."""
        self._fault = error

    def collect(self, deadline_s: float) -> Answer | None:
        """Return the answer if there is one."""
        assert deadline_s == 0.0, "the loop waits for a candidate"
        if self._fault:
            self.open.clear()
        self._raise()
        answer, self._next = self._next, None
        if answer is not None:
            self.open.clear()
        return answer

    def _raise(self) -> None:
        fault, self._fault = self._fault, None
        if fault is not None:
            raise fault


def mounted(engine: PolledEngine) -> Mounted:
    """Return it where a mounted model would stand."""
    return cast("Mounted", Bench(CopyLens(), engine))
