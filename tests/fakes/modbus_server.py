"""A real pymodbus server in a thread: over TCP, with RTU frames over TCP, or on a serial line."""

import asyncio
import os
import select
import threading
import tty
from collections.abc import Coroutine
from time import monotonic
from types import TracebackType
from typing import Any, NamedTuple, Self

from pymodbus import FramerType
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.server.base import ModbusBaseServer
from pymodbus.simulator import DataType, SimData, SimDevice

from outrider_fleet.broker import free_port

COILS, REGISTERS = 1, 3  # the function codes that read them
WRITES = {5: "coil", 6: "register"}
SIZE = 64


class Write(NamedTuple):
    """A write as the server took it, and when on the clock of `time.monotonic`."""

    table: str
    address: int
    value: int
    time_s: float


class ModbusServer:
    """Serves 64 coils and 64 holding registers as unit 1.

    Args:
        framer: of TCP connections.
        device: of a serial line, in place of TCP.
        port: to listen on; left out for a free one.
    """

    def __init__(
        self, framer: FramerType = FramerType.SOCKET, device: str | None = None, port: int | None = None
    ) -> None:
        self.port = port or free_port()
        self.writes: list[Write] = []
        self._framer, self._device = framer, device
        self._change = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._answering = asyncio.Event()
        self._answering.set()
        self._server: ModbusBaseServer | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="modbus-server", daemon=True)

    @property
    def url(self) -> str:
        if self._device:
            return f"rtu://{self._device}"
        scheme = "tcp" if self._framer is FramerType.SOCKET else "rtu+tcp"
        return f"{scheme}://127.0.0.1:{self.port}"

    def start(self) -> Self:
        self._thread.start()
        self._call(self._serve())
        return self

    def stop(self) -> None:
        if self._loop.is_closed():
            return
        self.hang(on=False)
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def hang(self, *, on: bool = True) -> None:
        """Answer no request, or all again."""
        change = self._answering.clear if on else self._answering.set
        self._loop.call_soon_threadsafe(change)

    def coil(self, address: int) -> bool:
        return bool(self._read(COILS, address))

    def register(self, address: int) -> int:
        return int(self._read(REGISTERS, address))

    def wait(self, table: str, address: int, value: int, wait_s: float = 10.0) -> float:
        """Return when the last write there was of `value`, as soon as it is."""
        with self._change:
            assert self._change.wait_for(lambda: self._last(table, address) == value, wait_s), self.writes
            return max(write.time_s for write in self.writes if write[:3] == (table, address, value))

    def _last(self, table: str, address: int) -> int | None:
        found = [write.value for write in self.writes if write[:2] == (table, address)]
        return found[-1] if found else None

    def _read(self, function: int, address: int) -> int:
        assert self._server is not None
        values: list[int] | list[bool] = self._call(self._server.async_getValues(1, function, address))
        return int(values[0])

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - whatever it returns
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _serve(self) -> None:
        blocks = [
            [SimData(0, count=SIZE, values=values, datatype=datatype)]
            for values, datatype in (
                (False, DataType.BITS),
                (False, DataType.BITS),
                (0, DataType.REGISTERS),
                (0, DataType.REGISTERS),
            )
        ]
        device = SimDevice(1, simdata=tuple(blocks), action=self._seen)  # type: ignore[arg-type]
        if self._device:
            self._server = ModbusSerialServer(device, framer=FramerType.RTU, port=self._device)
        else:
            address = ("127.0.0.1", self.port)
            self._server = ModbusTcpServer(device, framer=self._framer, address=address)
        await self._server.serve_forever(background=True)

    async def _end(self) -> None:
        assert self._server is not None
        await self._server.shutdown()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _seen(
        self,
        function: int,
        start: int,
        address: int,
        count: int,
        registers: list[int],
        values: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        del start, count, registers
        if values is not None and function in WRITES:
            await self._answering.wait()
            with self._change:
                self.writes.append(Write(WRITES[function], address, int(values[0]), monotonic()))
                self._change.notify_all()
        return None


class Cable:
    """A serial line: two pseudo terminals, and a thread that carries bytes between them."""

    def __init__(self) -> None:
        self._ends = [os.openpty() for _ in range(2)]
        for _, slave in self._ends:
            tty.setraw(slave)
        self.devices = [os.ttyname(slave) for _, slave in self._ends]
        self._cut = threading.Event()
        self._thread = threading.Thread(target=self._carry, name="cable", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cut.set()
        self._thread.join(10)
        for end in self._ends:
            for handle in end:
                os.close(handle)

    def _carry(self) -> None:
        (one, _), (other, _) = self._ends
        while not self._cut.is_set():
            for ready in select.select([one, other], [], [], 0.05)[0]:
                os.write(other if ready == one else one, os.read(ready, 4096))
