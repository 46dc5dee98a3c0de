"""From a frame to a perception: preprocess into the engine's slot, run, decode."""

import math
from collections.abc import Callable, Sequence
from time import monotonic_ns
from typing import Protocol

from outrider_agent.engine import Engine
from outrider_agent.seams import Frame
from outrider_agent.telemetry.metrics import Meters
from outrider_bundle.errors import EngineError
from outrider_runtime.perception import Perception
from outrider_runtime.session import Array


class Lens(Protocol):
    """What a bundle says of preprocessing and decoding; `outrider_runtime.pipeline.Ports` is one."""

    def write(self, frame: Array, inputs: Sequence[Array]) -> None:
        """Preprocess `frame` into the physical inputs, without allocation of its size."""
        ...

    def decode(self, outputs: Sequence[Array]) -> Perception:
        """Decode the physical outputs."""
        ...


class LateError(EngineError):
    """The answer did not come within the deadline; part of the agent's own flow."""


class Perceiver:
    """One model with its lens.

    Args:
        lens: preprocessing and decoding.
        engine: runs the model.
        deadline_s: how long an answer may take.
        clock_ns: nanoseconds on the clock of `time.monotonic`.
    """

    def __init__(
        self, lens: Lens, engine: Engine, deadline_s: float, clock_ns: Callable[[], int] = monotonic_ns
    ) -> None:
        """Hold the parts."""
        self._lens, self._engine, self._deadline_s, self._clock_ns = lens, engine, deadline_s, clock_ns

    def perceive(self, frame: Frame, meters: Meters, begun_ns: int) -> Perception:
        """Return what the model sees in `frame`, which is released as soon as it was read.

        Raises:
            LateError: the answer took too long.
            EngineError: there is none, or it is not a number.
        """
        engine, stages = self._engine, meters.stages
        try:
            self._lens.write(frame.image, engine.slot())
        finally:
            frame.release()
        written_ns = self._clock_ns()
        stages["preprocess"].record(written_ns - begun_ns)
        engine.submit(frame.seq)
        answer = engine.collect(self._deadline_s)
        answered_ns = self._clock_ns()
        stages["engine"].record(answered_ns - written_ns)
        if answer is None or answer.late:
            raise LateError(f"no answer within {1000 * self._deadline_s:g} ms")
        perception = self._lens.decode(answer.outputs)
        if not math.isfinite(perception.score):
            raise EngineError("the model's output is not a number")
        stages["decode"].record(self._clock_ns() - answered_ns)
        return perception
