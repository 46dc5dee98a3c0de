"""Engines that misbehave on purpose, behind the agent's engine seam."""

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np

from outrider_agent.engine.mount import Mounted
from outrider_agent.engine.seam import Answer, GoneError
from outrider_agent.engine.seat import Seat
from outrider_bundle.errors import EngineError
from outrider_runtime.perception import Classification
from outrider_runtime.session import Array, Placement

LABELS = ("bag", "boot", "coat")


class ScriptedEngine:
    """Answers each submitted frame with the next entry of `script`; the last one stays.

    An entry is an index (one-hot at it), `late`, `lost` (no answer), `fails`, `crashes`, `gone` or `nan`.
    """

    placement = Placement(device="fake", backend="script")

    def __init__(self, script: Sequence[int | str], on_collect: Callable[[], None] = lambda: None) -> None:
        """Have one input of 1x4x4 and three outputs."""
        self._script = list(script)
        self._on_collect = on_collect
        self._inputs = (np.zeros((1, 4, 4), np.uint8),)
        self._seq = -1
        self.closed = False

    def slot(self) -> Sequence[Array]:
        """Return the input."""
        return self._inputs

    def submit(self, seq: int) -> None:
        """Take the frame."""
        self._seq = seq

    def collect(self, deadline_s: float) -> Answer | None:  # noqa: ARG002 - the script says when it is late
        """Do what the script says."""
        self._on_collect()
        step = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        output = np.zeros((1, 3), np.float32)
        match step:
            case "lost":
                return None
            case "fails":
                raise EngineError("the delegate is gone")
            case "gone":
                raise GoneError("the process has ended")
            case "crashes":
                raise ValueError("not one of ours")
            case "nan":
                output[:] = np.nan
            case int():
                output[0, step] = 1.0
        return Answer(seq=self._seq, outputs=(output,), late=step == "late")

    def close(self) -> None:
        """Remember it."""
        self.closed = True


class CopyLens:
    """Copies 4x4 frames in and reads one-hot outputs."""

    def write(self, frame: Array, inputs: Sequence[Array]) -> None:
        """Copy."""
        inputs[0][0] = frame

    def decode(self, outputs: Sequence[Array]) -> Classification:
        """Return the label of the highest score."""
        scores = outputs[0][0]
        index = int(scores.argmax())
        score = float(scores[index])
        return Classification(index=index, label=LABELS[index], score=score, margin=score)


class Bench:
    """Stands where a mounted model would: both ends and an engine."""

    def __init__(self, ports: object, engine: object) -> None:
        """Hold them."""
        self.ports, self.engine = ports, engine


def seated(ports: object, engine: object) -> Seat:
    """Return a seat with a model of these parts."""
    seat = Seat()
    seat.change(cast("Mounted", Bench(ports, engine)), 0.0)
    return seat
