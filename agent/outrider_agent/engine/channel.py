"""The agent's end of the way to an engine child: runs go out, answers come in, its end is noticed."""

import contextlib
import select
import socket
from typing import NoReturn

import msgspec
from msgspec import Struct

from outrider_agent.engine import spawn
from outrider_agent.engine.seam import GoneError
from outrider_bundle.errors import OutriderError
from outrider_runtime.child import wire

NONSENSE = "The engine answers what it was not asked"


class Answered(Struct, frozen=True, gc=False):
    """What the child says of a run; `failure` is JSON, empty if the outputs are there."""

    number: int
    slot: int
    took_ns: int
    failure: bytes


class Channel:
    """Talks to one child. `close` is for any thread, the rest is for one.

    Args:
        link: the socket; it does not block.
        process: the child.
    """

    def __init__(self, link: socket.socket, process: spawn.Process) -> None:
        """Take over both."""
        self._link, self._process = link, process
        self._message = bytearray(wire.MAX_BYTES)
        self._poll = select.poll()
        self._poll.register(link, select.POLLIN)
        self._gone = ""

    def check(self) -> None:
        """Raise what ended the child, if it has been found to have ended.

        Raises:
            GoneError: it has.
        """
        if self._gone:
            raise GoneError(self._gone)

    def send(self, number: int, slot: int) -> None:
        """Ask for a run.

        Raises:
            GoneError: the child has died.
        """
        try:
            self._link.send(wire.RUN.pack(number, slot))
        except OSError:
            self._died()

    def waits(self) -> bool:
        """Whether there is something to receive now."""
        return bool(self._poll.poll(0))

    def receive(self, wait_s: float) -> Answered | None:
        """Return the next answer, or None if there is none within `wait_s`.

        Raises:
            GoneError: the child has died, or talks nonsense and was killed.
        """
        if not self._poll.poll(wait_s * 1000.0):
            return None
        try:
            length = self._link.recv_into(self._message)
        except OSError:
            length = 0
        if not length:
            self._died()
        if length < wire.ANSWER.size:
            self.kill(NONSENSE)
        number, slot, took_ns, failed = wire.ANSWER.unpack_from(self._message)
        failure = bytes(self._message[wire.ANSWER.size : length]) if failed else b""
        return Answered(number, slot, took_ns, failure)

    def error(self, failure: bytes) -> OutriderError:
        """Return the error that a failed run is answered with.

        Raises:
            GoneError: it is none; the child was killed.
        """
        try:
            return wire.raised(msgspec.json.decode(failure, type=wire.Failure))
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.kill(NONSENSE)

    def kill(self, why: str) -> NoReturn:
        """End the child by force, without waiting.

        Raises:
            GoneError: always.
        """
        self._process.kill()
        self._gone = self._gone or why
        raise GoneError(self._gone)

    def end(self) -> None:
        """End the child and wait for that; it also ends a wait in another thread."""
        self._gone = self._gone or "The engine is closed"
        with contextlib.suppress(OSError):  # the child's end of file
            self._link.shutdown(socket.SHUT_RDWR)
        self._process.end()

    def close(self) -> None:
        """Free the socket, which no thread is using any more."""
        self._link.close()

    def _died(self) -> NoReturn:
        self._gone = self._gone or f"The engine {self._process.why()}"
        raise GoneError(self._gone)
