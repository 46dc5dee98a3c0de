"""A Modbus connection: opened when it is needed, kept open, and never waited for longer than was said.

pymodbus answers a request by the next frame that fits it. By RTU a late answer fits the request after its
own, so that a connection on which one was awaited in vain is closed.
"""

import logging
import select
import threading
from socket import IPPROTO_TCP, TCP_NODELAY
from time import monotonic
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct
from pymodbus import FramerType, ModbusException
from pymodbus.client import ModbusSerialClient, ModbusTcpClient
from pymodbus.exceptions import ConnectionException
from pymodbus.pdu import ModbusPDU

from outrider_agent.backoff import Backoff

SCHEMES = {"tcp", "rtu+tcp", "rtu"}
PORT = 502
RTU_UNITS = range(1, 248)
TURN_S = 0.05
"""How often a wait for an answer looks whether it is to be broken off."""
LEAST_RETRY_S = 0.1
MOST_RETRY_S = 5.0

Table = Literal["coil", "register"]

# It says at every attempt what we report once.
logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)


class LineOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the server is.

    Args:
        url: `tcp://host:502`, `rtu+tcp://host:port` for RTU frames over TCP, or `rtu:///dev/ttyUSB0`.
        unit: the server's address on its line; by TCP most take any.
        timeout_s: how long to wait for the connection, and for an answer.
        baudrate: of a serial line.
        parity: of a serial line: even, odd or none.
        stopbits: of a serial line.
    """

    url: str
    unit: Annotated[int, Meta(ge=0, le=255)] = 1
    timeout_s: Annotated[float, Meta(gt=0.0, le=10.0)] = 0.5
    baudrate: Annotated[int, Meta(ge=300, le=4_000_000)] = 19_200
    parity: Literal["E", "O", "N"] = "E"
    stopbits: Literal[1, 2] = 1

    def __post_init__(self) -> None:
        """Refuse a url that names no server, and units that have none by RTU."""
        parts = urlsplit(self.url)
        serial = parts.scheme == "rtu"
        if parts.scheme not in SCHEMES or (serial and (parts.netloc or parts.path in {"", "/"})):
            raise ValueError("url must be like tcp://host:502, rtu+tcp://host:502 or rtu:///dev/ttyUSB0")
        port = parts.port  # raises ValueError where it is no number
        if not serial and (not parts.hostname or port == 0 or parts.path.strip("/")):
            raise ValueError("url must hold a host, and a port other than 0")
        if parts.scheme != "tcp" and self.unit not in RTU_UNITS:
            raise ValueError("unit must be 1 to 247 by RTU")


class RefusedError(Exception):
    """The server answered, and that it does not do this."""


class LostError(Exception):
    """The server cannot be reached, or did not answer; the connection is closed."""


class ClosedError(LostError):
    """The server has closed the connection."""


class _Patient:
    """Waits for the first byte of an answer in turns, and returns none when it is to be broken off."""

    halt: threading.Event

    def recv(self, size: int | None) -> bytes:
        """Return what came; nothing if nothing did in time."""
        until_s = monotonic() + self.comm_params.timeout_connect  # type: ignore[attr-defined]
        while (line := self.socket) is not None:  # type: ignore[attr-defined]
            if select.select([line], [], [], TURN_S)[0]:
                break
            if self.halt.is_set() or monotonic() >= until_s:
                return b""
        return super().recv(size)  # type: ignore[misc,no-any-return]


class _TcpClient(_Patient, ModbusTcpClient):
    """Over TCP."""


class _SerialClient(_Patient, ModbusSerialClient):
    """Over a serial line."""


class Line:
    """One connection; for one thread."""

    def __init__(self, options: LineOptions) -> None:
        """Connect to nothing yet."""
        self._options = options
        self._client: _TcpClient | _SerialClient | None = None
        self._backoff = Backoff(LEAST_RETRY_S, MOST_RETRY_S)
        self._rest_until_s = 0.0

    @property
    def resting(self) -> bool:
        """Whether the server could not be reached a moment ago."""
        return monotonic() < self._rest_until_s

    def write(self, table: Table, address: int, raw: int, halt: threading.Event) -> None:
        """Write a value and wait for its confirmation, or until `halt` is set.

        Raises:
            RefusedError: the server does not take it.
            LostError: it cannot be reached or does not answer.
        """
        kept = self._client is not None
        try:
            answer = self._request(table, address, raw, halt)
        except ClosedError:
            if not kept or halt.is_set():
                raise
            answer = self._request(table, address, raw, halt)  # it had closed what was kept open
        if answer.isError():
            raise RefusedError(f"answers with exception code {getattr(answer, 'exception_code', 'unknown')}")

    def close(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None:
            client.close()  # type: ignore[no-untyped-call]

    def _request(self, table: Table, address: int, raw: int, halt: threading.Event) -> ModbusPDU:
        client, unit = self._client or self._connect(), self._options.unit
        client.halt = halt
        try:
            if table == "coil":
                return client.write_coil(address, bool(raw), device_id=unit)
            return client.write_register(address, raw, device_id=unit)
        except ConnectionException as error:
            self.close()
            raise ClosedError("closed the connection") from error
        except (ModbusException, OSError) as error:
            self.close()
            raise LostError(f"does not answer within {self._options.timeout_s:g} s") from error

    def _connect(self) -> _TcpClient | _SerialClient:
        client = self._new()
        try:
            if not client.connect():
                raise ConnectionError
            if isinstance(client, _TcpClient) and client.socket:
                client.socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        except OSError as error:
            self._rest_until_s = monotonic() + self._backoff.delay_s()
            raise LostError("cannot be reached") from error
        self._backoff.reset()
        self._rest_until_s = 0.0
        self._client = client
        return client

    def _new(self) -> _TcpClient | _SerialClient:
        options, parts = self._options, urlsplit(self._options.url)
        if parts.scheme == "rtu":
            return _SerialClient(
                parts.path,
                baudrate=options.baudrate,
                parity=options.parity,
                stopbits=options.stopbits,
                timeout=options.timeout_s,
                retries=0,
            )
        framer = FramerType.SOCKET if parts.scheme == "tcp" else FramerType.RTU
        host, port = parts.hostname or "", parts.port or PORT
        return _TcpClient(host, port=port, framer=framer, timeout=options.timeout_s, retries=0)
