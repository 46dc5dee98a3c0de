"""A Modbus server as a process of its own, and an eye that reads one of its registers every two milliseconds.

The server is pymodbus's own over TCP: `python -m proofs.loop.registers PORT`.
"""

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pymodbus.client import ModbusTcpClient
from pymodbus.server import StartTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from outrider_fleet import lifeline
from outrider_fleet.broker import HOST, free_port, is_free
from proofs.agent.daemons import until
from proofs.agent.runs import one_thread
from proofs.agent.video import ROOT

UNIT, REGISTER, COUNT = 1, 3, 16
SAFE, ACTIVE = 7, 1
"""What the register holds in the safe state, and what a decision writes; at first it is 0."""

POLL_S = 0.002


def serve(port: int) -> None:
    """Serve until killed."""
    data = SimData(0, count=COUNT, values=0, datatype=DataType.REGISTERS)
    StartTcpServer(context=SimDevice(id=UNIT, simdata=[data]), address=(HOST, port))


class Registers:
    """The server, which dies with this process, and a client of it."""

    def __init__(self, log: Path) -> None:
        """Choose a port."""
        self._log, self.port = log, free_port()
        self._client: Any = ModbusTcpClient(HOST, port=self.port)

    def __enter__(self) -> Self:
        """Start it and connect."""
        command = [sys.executable, "-m", "proofs.loop.registers", str(self.port)]
        with self._log.open("wb") as log:
            self._process = lifeline.spawn(command, stderr=log, env={**one_thread(), "PYTHONPATH": str(ROOT)})
        until(lambda: not is_free(self.port), "a Modbus server that listens")
        until(self._client.connect, "a Modbus server")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self._client.close()
        self._process.kill()
        self._process.wait()

    def read(self) -> int:
        """Return what the register holds."""
        (value,) = self._client.read_holding_registers(REGISTER, count=1, device_id=UNIT).registers
        return int(value)

    def wait(self, wanted: int, timeout_s: float) -> float:
        """Return when the register was first seen to hold `wanted`, on the clock of `time.monotonic`.

        Raises:
            RuntimeError: it was not in time.
        """
        end_s = time.monotonic() + timeout_s
        while (found := self.read()) != wanted:
            if time.monotonic() > end_s:
                raise RuntimeError(f"the register holds {found} and not {wanted} after {timeout_s:g} s")
            time.sleep(POLL_S)
        return time.monotonic()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
