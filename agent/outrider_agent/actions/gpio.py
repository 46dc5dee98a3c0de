"""Decisions as levels of GPIO lines, by libgpiod 2.

Each output takes the value under its key in the decision: 0 and false bring the line to its inactive level,
everything else to its active one. An output with `pulse_ms` goes back to its safe value after that time; a
further decision begins the time anew. Lines are requested with their safe values, and the safe state writes
these at once, in the thread that asks for it. Lines that are not ours, or were lost when a write failed, are
asked for again until we have them, and then begin with their safe values once more.

When the agent is killed, the kernel takes its lines back. What level they have then is up to the driver:
many keep the last one, some make an input of the line. So an output that must not stay on needs a resistor
that pulls it to the safe level, and the service's `outrider agent safe-state`, which requests the lines,
again with their safe values, and frees them.
"""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Annotated, Literal, Protocol

import gpiod
from gpiod.line import Direction, Value
from msgspec import Meta, Struct

from outrider_agent import outputs
from outrider_agent.seams import Context
from outrider_bundle.errors import OutriderError
from outrider_bundle.messages.event import Event

RETRY_S = 1.0
"""How often lines that are not ours are asked for."""
VALUES = {0: Value.INACTIVE, 1: Value.ACTIVE}

Line = int | str


class GpioOutput(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line.

    Args:
        key: whose value in a decision it takes.
        line: its offset on the chip, or its name.
        active_low: whether its active level is the low one.
        safe: its value when outputs have to be safe; 1 is active.
        pulse_ms: for how long it takes a value; 0 for until the next one.
    """

    key: outputs.Key
    line: Annotated[int, Meta(ge=0, le=65_535)] | Annotated[str, Meta(min_length=1, max_length=32)]
    safe: Literal[0, 1]
    active_low: bool = False
    pulse_ms: Annotated[int, Meta(ge=0, le=600_000)] = 0


class GpioOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `[[pipelines.actions]]` may hold.

    Args:
        chip: the device of the chip.
        outputs: its lines.
        consumer: what others see as the user of the lines.
    """

    outputs: Annotated[tuple[GpioOutput, ...], Meta(min_length=1, max_length=64)]
    chip: Path = Path("/dev/gpiochip0")
    consumer: Annotated[str, Meta(pattern=r"\A[ -~]{1,31}\Z")] = "outrider"

    def __post_init__(self) -> None:
        """Refuse two outputs on one line."""
        lines = [output.line for output in self.outputs]
        if twice := sorted({str(line) for line in lines if lines.count(line) > 1}):
            raise ValueError(f"outputs name the line {twice[0]} twice")


class Request(Protocol):
    """What is used of `gpiod.LineRequest`."""

    def set_values(self, values: dict[Line, Value]) -> None:
        """Set logical values."""
        ...

    def release(self) -> None:
        """Give the lines back."""
        ...


class GpioAction:
    """Writes lines; each call takes microseconds. One lock holds the lines: gpiod asks for it."""

    Options = GpioOptions

    def __init__(
        self,
        options: GpioOptions,
        context: Context,
        request_lines: Callable[..., Request] = gpiod.request_lines,
    ) -> None:
        """Ask for the lines. Whether they are ours is told by `apply` and `safe_state`."""
        self._options, self._request_lines = options, request_lines
        self._safe: Mapping[Line, Value] = {output.line: VALUES[output.safe] for output in options.outputs}
        self._request: Request | None = None
        self._failure: OutriderError | None = None
        self._retry_s = 0.0
        self._closed = False
        self._change = threading.Condition()
        self._ends: dict[Line, float] = {}  # of pulses
        self._minder = threading.Thread(target=self._mind, name=f"gpio.{context.pipeline}", daemon=True)
        with self._change:
            self._ask()

    def apply(self, decision: Event) -> None:
        """Set the lines that the decision tells."""
        told = [(output, outputs.value(output.key, decision.data)) for output in self._options.outputs]
        values = {output.line: VALUES[bool(value)] for output, value in told if value is not None}
        if not values:
            return
        with self._change:
            self._write(values)
            now = monotonic()
            for output, value in told:
                if value is not None and output.pulse_ms:
                    self._ends[output.line] = now + output.pulse_ms / 1000
            if self._ends:
                self._remind()

    def safe_state(self) -> None:
        """Set every line to its safe value and end all pulses."""
        with self._change:
            if not self._closed:
                self._ends.clear()
                self._write(self._safe)

    def close(self) -> None:
        """Set every line to its safe value and give all back."""
        with self._change:
            self._closed = True
            self._ends.clear()
            self._change.notify_all()
            request, self._request = self._request, None
            if request is None:
                return
            try:
                request.set_values(dict(self._safe))
            except OSError as error:
                raise self._failed(error) from error
            finally:
                request.release()

    def _write(self, values: Mapping[Line, Value]) -> None:
        if self._request is None and not self._closed and monotonic() >= self._retry_s:
            self._ask()
        if self._request is None:
            failure = self._failure or OutriderError("The lines are given back")
            raise OutriderError(failure.what, failure.cure)
        try:
            self._request.set_values(dict(values))
        except OSError as error:  # the chip was unplugged, or its driver failed
            request, self._request = self._request, None
            request.release()
            raise self._failed(error) from error

    def _ask(self) -> None:
        settings: dict[Line, gpiod.LineSettings] = {
            output.line: gpiod.LineSettings(
                direction=Direction.OUTPUT, active_low=output.active_low, output_value=VALUES[output.safe]
            )
            for output in self._options.outputs
        }
        try:
            self._request = self._request_lines(
                str(self._options.chip), config=settings, consumer=self._options.consumer
            )
        except (OSError, ValueError) as error:  # ValueError: no line has that name
            self._failed(error)
        else:
            self._failure = None

    def _failed(self, error: OSError | ValueError) -> OutriderError:
        why = (isinstance(error, OSError) and error.strerror) or str(error)
        self._retry_s = monotonic() + RETRY_S
        self._failure = OutriderError(
            f"The lines of {self._options.chip} cannot be set: {why}", "See who holds them: gpioinfo"
        )
        if not self._closed:
            self._remind()
        return self._failure

    def _remind(self) -> None:
        """Have the thread look what there is to do."""
        if self._minder.ident is None:
            self._minder.start()
        self._change.notify_all()

    def _mind(self) -> None:
        """Bring each line back to its safe value when its time has come; ask again for lines not ours."""
        with self._change:
            while not self._closed:
                now = monotonic()
                if due := [line for line, end_s in self._ends.items() if end_s <= now]:
                    self._end(due)
                elif self._request is None and now >= self._retry_s:
                    self._ask()
                else:
                    self._change.wait(self._rest_s(now))

    def _rest_s(self, now: float) -> float | None:
        """Return for how long there is nothing to do; None for until a call."""
        times = [*self._ends.values(), *(() if self._request else (self._retry_s,))]
        return min(times) - now if times else None

    def _end(self, due: list[Line]) -> None:
        for line in due:
            del self._ends[line]
        try:
            self._write({line: self._safe[line] for line in due})
        except OutriderError:
            return  # kept; told by the next call
