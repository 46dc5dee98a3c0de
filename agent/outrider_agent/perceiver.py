"""From a frame to a perception, with what it took: preprocessing into the engine's memory, run, decoding."""

import math
from collections.abc import Callable
from time import monotonic_ns

from outrider_agent.engine.mount import Mounted
from outrider_agent.engine.seam import GoneError
from outrider_agent.engine.seat import Seat
from outrider_agent.engine.shadow import Shadow
from outrider_agent.seams import Frame
from outrider_agent.telemetry.metrics import Meters
from outrider_bundle.errors import EngineError
from outrider_runtime.perception import Perception


class LateError(EngineError):
    """The engine has not answered in time."""


class Perceiver:
    """Perceives one frame at a time with whatever model is seated.

    Args:
        seat: where the model is.
        deadline_s: how long an answer may take.
        failures: so many failed runs in a row, and the model is given up.
        clock_ns: nanoseconds on the clock of `time.monotonic`.
    """

    def __init__(
        self, seat: Seat, deadline_s: float, failures: int = 3, clock_ns: Callable[[], int] = monotonic_ns
    ) -> None:
        """Hold the parts."""
        self._seat, self._deadline_s, self._failures = seat, deadline_s, failures
        self._clock_ns = clock_ns
        self._row = 0
        self._last: Mounted | None = None

    def ready(self, wait_s: float) -> bool:
        """Return whether there is a model, waiting up to `wait_s` for one."""
        return self._seat.wait(wait_s)

    def perceive(self, frame: Frame, meters: Meters, begun_ns: int) -> Perception:
        """Return what the model sees in `frame`, which is released as soon as it was read.

        Raises:
            LateError: the answer took too long.
            EngineError: there is none, or it is not a number.
        """
        mounted = self._seat.enter()
        try:
            if mounted is None:
                frame.release()
                raise EngineError("no model is loaded")
            return self._perceive(mounted, frame, meters, begun_ns)
        finally:
            self._seat.leave()

    def _perceive(self, mounted: Mounted, frame: Frame, meters: Meters, begun_ns: int) -> Perception:
        if mounted is not self._last:
            self._last, self._row = mounted, 0
        shadow = self._seat.shadow  # once: it may be taken away at any moment
        try:
            self._hand_over(mounted, frame, shadow)
            written_ns = self._clock_ns()
            meters.stages["preprocess"].record(written_ns - begun_ns)
            perception = self._collect(mounted, meters, written_ns)
        except GoneError as error:
            self._seat.drop(mounted, str(error))
            raise
        if shadow is not None:
            shadow.compare(frame.seq, perception)
        return perception

    def _hand_over(self, mounted: Mounted, frame: Frame, shadow: Shadow | None) -> None:
        """Write `frame` into the engine's memory and let it run; a candidate may see it too."""
        try:
            mounted.ports.write(frame.array, mounted.engine.slot())
            mounted.engine.submit(frame.seq)
            if shadow is not None:
                shadow.offer(frame.array, frame.seq)
        finally:
            frame.release()

    def _collect(self, mounted: Mounted, meters: Meters, since_ns: int) -> Perception:
        try:
            answer = mounted.engine.collect(self._deadline_s)
            answered_ns = self._clock_ns()
            meters.stages["engine"].record(answered_ns - since_ns)
            perception = None
            if answer is not None and not answer.late:
                perception = _sound(mounted.ports.decode(answer.outputs))
        except GoneError:
            raise
        except Exception as error:
            self._row += 1
            if self._row >= self._failures:
                self._row = 0
                self._seat.drop(mounted, str(error))
            raise
        if perception is None:
            raise LateError(f"no answer within {1000 * self._deadline_s:g} ms")
        self._row = 0
        meters.stages["decode"].record(self._clock_ns() - answered_ns)
        return perception


def _sound(perception: Perception) -> Perception:
    if not math.isfinite(perception.score):
        raise EngineError("the model's output is not a number")
    return perception
