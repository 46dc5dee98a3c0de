"""Decisions as writes to a Modbus server: single coils (function 5) and holding registers (function 6).

Each output takes the value under its key in the decision, and is written with every decision that has the
key. A coil is off for 0 and false, else on. A register gets `value * scale + offset`, rounded; a decision
with a value that does not fit into it is not carried out at all.

Writes that fail are not made up for later: a decision is of its moment. The safe state is: it throws away
what waits, breaks off a write whose answer is awaited, and each output is written until the server has
confirmed it or a later decision has set it. A decision never goes before it.
"""

import threading
from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, Struct

from outrider_agent import outputs
from outrider_agent.fieldbus import Line, LineOptions, LostError, RefusedError, Table
from outrider_agent.seams import Context
from outrider_agent.worker import Worker
from outrider_bundle.errors import OutriderError
from outrider_bundle.messages.event import Event

SIGNED = range(-(1 << 15), 1 << 15)
UNSIGNED = range(1 << 16)


class ModbusOutput(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One coil or register.

    Args:
        key: whose value in a decision it takes.
        table: coil or holding register.
        address: counted from 0; manuals that count from 1, or from 40001, say more.
        safe: its value when outputs have to be safe, in the unit of decisions.
        scale: of a register: what one unit of a decision is there.
        offset: of a register: what 0 is there.
        signed: of a register: holds -32768 to 32767, not 0 to 65535.
    """

    key: outputs.Key
    table: Table
    address: Annotated[int, Meta(ge=0, le=65_535)]
    safe: bool | float
    scale: float = 1.0
    offset: float = 0.0
    signed: bool = False

    def __post_init__(self) -> None:
        """Refuse a safe value that does not fit, and a coil with what only a register has."""
        if self.table == "coil" and (self.scale, self.offset, self.signed) != (1.0, 0.0, False):
            raise ValueError("a coil has no scale, offset or sign")
        if not self.fits(self.safe):
            raise ValueError(f"safe = {self.safe} does not fit into a register")

    def fits(self, value: float) -> bool:
        """Return whether `value` can be written."""
        return self.table == "coil" or self._scaled(value) in (SIGNED if self.signed else UNSIGNED)

    def raw(self, value: float) -> int:
        """Return what to write for a value that fits: 16 bits, or 0 or 1."""
        return int(bool(value)) if self.table == "coil" else self._scaled(value) & 0xFFFF

    def _scaled(self, value: float) -> int:
        try:
            return round(value * self.scale + self.offset)
        except (OverflowError, ValueError):  # infinite, or no number
            return UNSIGNED.stop


class ModbusOptions(LineOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `[[pipelines.actions]]` may hold, besides where the server is.

    Args:
        outputs: its coils and registers.
        watchdog_s: when nothing was written for so long, the last values are written again, so that the
            server can notice when the agent falls silent; 0 for never.
        queue: how many decisions may wait; then the oldest one is lost.
    """

    outputs: Annotated[tuple[ModbusOutput, ...], Meta(min_length=1, max_length=256)]
    watchdog_s: Annotated[float, Meta(ge=0.0, le=3600.0)] = 0.0
    queue: Annotated[int, Meta(ge=1, le=1000)] = 32

    def __post_init__(self) -> None:
        """Refuse two outputs at one address."""
        super().__post_init__()
        places = [(output.table, output.address) for output in self.outputs]
        if twice := sorted({place for place in places if places.count(place) > 1}):
            raise ValueError("outputs name the {} {} twice".format(*twice[0]))


class ModbusAction:
    """Writes from a thread of its own, in order."""

    Options = ModbusOptions

    def __init__(self, options: ModbusOptions, context: Context) -> None:
        """Prepare the connection; the first call opens it."""
        self._url, self._outputs = options.url, options.outputs
        self._line = Line(options)
        self._owed: dict[ModbusOutput, int] = {}  # safe values that the server has not confirmed
        self._current: dict[ModbusOutput, int] = {}
        self._worker = Worker(
            f"modbus.{context.pipeline}",
            options.queue,
            release=self._line.close,
            beat=(options.watchdog_s, self._repeat) if options.watchdog_s else None,
        )

    def apply(self, decision: Event) -> None:
        """Queue the outputs that the decision tells."""
        raws: dict[ModbusOutput, int] = {}
        for output in self._outputs:
            value = outputs.value(output.key, decision.data)
            if value is None:
                continue
            if not output.fits(value):
                raise OutriderError(
                    f"The decision's {output.key} = {value:g} does not fit into register {output.address}",
                    "Change its scale or offset, or what the policy decides",
                )
            raws[output] = output.raw(value)
        if raws:
            self._worker.put(lambda hurry: self._decided(raws, hurry))
        else:
            self._worker.check()

    def safe_state(self) -> None:
        """Write every output's safe value, before and instead of all that waits."""
        owed = {output: output.raw(output.safe) for output in self._outputs}
        self._worker.safe(lambda over: self._make_safe(owed, over))

    def settle(self, wait_s: float) -> None:
        """Wait until what was ordered is done; see `Worker.settle`."""
        self._worker.settle(wait_s)

    def close(self) -> None:
        """Wait a moment for the safe values; close the connection."""
        self._worker.close()

    def _make_safe(self, owed: dict[ModbusOutput, int], over: threading.Event) -> None:
        """Write what is left of `owed`; later decisions take from it as well."""
        self._owed = owed
        self._write(dict(owed), over)

    def _decided(self, raws: Mapping[ModbusOutput, int], hurry: threading.Event) -> None:
        if self._line.resting:
            raise self._lost("cannot be reached")
        self._write({**self._owed, **raws}, hurry)

    def _repeat(self, hurry: threading.Event) -> None:
        if self._current and not self._line.resting:
            self._write(dict(self._current), hurry)

    def _write(self, raws: Mapping[ModbusOutput, int], halt: threading.Event) -> None:
        """Write all, even if the server refuses one: that must not keep the others from being safe."""
        refused: list[str] = []
        for output, raw in raws.items():
            if halt.is_set():
                raise self._lost("was given up")
            try:
                self._line.write(output.table, output.address, raw, halt)
            except RefusedError as error:
                refused.append(f"{output.table} {output.address} {error}")
                continue
            except LostError as error:
                raise self._lost(str(error)) from error
            self._owed.pop(output, None)
            self._current[output] = raw
        if refused:
            raise OutriderError(
                f"{self._url} refuses a write: {'; '.join(refused)}", "Check address, table and unit"
            )

    def _lost(self, why: str) -> OutriderError:
        return OutriderError(f"{self._url} {why}", "Look whether it runs and how it is connected")
