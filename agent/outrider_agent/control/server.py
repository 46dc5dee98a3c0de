"""The agent's side of the control socket: a thread that accepts, and one for each peer.

Only the agent's own user and root get in: the socket is theirs alone, and the kernel says who calls.
A command runs once at a time; one that takes long never keeps another command waiting.
"""

import contextlib
import logging
import os
import secrets
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from outrider_agent.control import wire
from outrider_bundle.errors import MessageError, OutriderError, UsageError

Handler = Callable[[dict[str, Any], "Reply"], dict[str, Any]]
"""Takes a request and what to tell its peer with; returns the result, or raises an OutriderError."""

MAX_PEERS = 16
REQUEST_S = 5.0
"""In this time a peer has sent all of its request."""
SEND_S = 1.0
"""A peer that does not read is given up after this: it must not hold up what it started."""
BUSY_S = 1.0
"""How long a command waits for the same command of another peer."""
JOIN_S = 2.0
CREDENTIALS = struct.Struct("3i")
"""`struct ucred` of unix(7): process, user, group."""

log = logging.getLogger(__name__)


class Server:
    """Answers requests; see `wire` for what they look like.

    Args:
        path: of the socket; whoever made this holds its folder for itself.
        handlers: by command; called from threads of the server.
    """

    def __init__(self, path: Path, handlers: Mapping[str, Handler]) -> None:
        """Keep the handlers; nothing listens yet."""
        self._path, self._handlers = path, handlers
        self._running = {command: threading.Lock() for command in handlers}
        self._room = threading.BoundedSemaphore(MAX_PEERS)
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None

    @property
    def listening(self) -> bool:
        """Whether peers can reach it."""
        return self._listener is not None

    def start(self) -> None:
        """Listen, in the place of a socket that a dead agent left; without one the agent still works."""
        try:
            listener = _listen(self._path)
        except OSError as error:
            reason = error.strerror or error
            log.warning(
                "No control socket at %s: %s; 'status', 'swap' and the like do not work", self._path, reason
            )
            return
        self._listener = listener
        self._thread = threading.Thread(target=self._accept, args=(listener,), name="control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening; requests under way are still answered. Idempotent."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        with contextlib.suppress(OSError):
            self._path.unlink()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # to close it would not wake the thread
        if self._thread is not None:
            self._thread.join(JOIN_S)
        listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while self._listener is listener:
            try:
                peer = listener.accept()[0]
            except OSError as error:
                if self._listener is listener:
                    log.warning("The control socket accepts nobody now: %s", error.strerror or error)
                    time.sleep(BUSY_S)  # no descriptor is free, most likely
                continue
            if self._room.acquire(blocking=False):
                threading.Thread(target=self._serve, args=(peer,), name="control-peer", daemon=True).start()
            else:
                _turn_away(peer)

    def _serve(self, peer: socket.socket) -> None:
        try:
            with peer:
                Reply(peer).finish(self._answer(peer))
        except OSError as error:
            log.info("A peer of the control socket left: %s", error.strerror or error)
        finally:
            self._room.release()

    def _answer(self, peer: socket.socket) -> dict[str, Any]:
        try:
            _check_user(peer)
            request = wire.decode(_read(peer))
            return {"result": self._run(request, Reply(peer))}
        except OutriderError as error:
            return {"error": str(error), "exit": error.exit_code}

    def _run(self, request: dict[str, Any], reply: "Reply") -> dict[str, Any]:
        command = str(request.get("command"))[:80]
        handler, running = self._handlers.get(command), self._running.get(command)
        if handler is None or running is None:
            raise UsageError(
                f"The agent knows no '{command}'", f"It knows: {', '.join(sorted(self._handlers))}"
            )
        if not running.acquire(timeout=BUSY_S):
            raise OutriderError(f"Another '{command}' is under way", "Try again when it has ended")
        try:
            result = handler(request, reply)
            wire.encode(result)
        except OutriderError:
            raise
        except Exception as error:
            log.exception("The command '%s' failed", command)
            raise OutriderError(f"The command '{command}' failed: {error!r}") from error
        finally:
            running.release()
        return result


class Reply:
    """Lines to one peer; called with a text, it tells progress. One that has left is told no more of it.

    Args:
        peer: a connection that nobody else writes to.
    """

    def __init__(self, peer: socket.socket) -> None:
        """Have said nothing."""
        self._peer = peer
        self._heard = True

    def __call__(self, text: str) -> None:
        """Tell the peer how far its command is; never raises, never waits long."""
        if not self._heard:
            return
        try:
            self.finish({"progress": text})
        except OSError:
            self._heard = False

    def item(self, item: dict[str, Any]) -> None:
        """Send one of several parts of a result.

        Raises:
            OutriderError: the peer has left or does not read; what is made for it can end.
        """
        try:
            self.finish({"item": item})
        except OSError as error:
            raise OutriderError(f"The peer does not read: {error.strerror or error}") from error

    def finish(self, message: dict[str, Any]) -> None:
        """Send a line."""
        self._peer.settimeout(SEND_S)
        self._peer.sendall(wire.encode(message))


def _listen(path: Path) -> socket.socket:
    """Return a socket that listens at `path` and that nobody could reach before it was its owner's alone."""
    part = path.with_name(f".{secrets.token_hex(4)}.sock")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with wire.address(part) as name:
            listener.bind(name)
        part.chmod(0o600)
        listener.listen(MAX_PEERS)
        part.replace(path)
    except OSError:
        listener.close()
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    return listener


def _turn_away(peer: socket.socket) -> None:
    with peer, contextlib.suppress(OSError):
        Reply(peer).finish({"error": f"{MAX_PEERS} others talk to the agent. Try again.", "exit": 1})


def _check_user(peer: socket.socket) -> None:
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    user = CREDENTIALS.unpack(raw)[1]
    if user not in {0, os.geteuid()}:
        log.warning("User %d may not use the control socket", user)
        raise OutriderError("The agent belongs to another user", "Use its user, or root")


def _read(peer: socket.socket) -> bytes:
    """Return the line of the request; a peer that is slow or says too much is refused."""
    until_s = time.monotonic() + REQUEST_S
    line = bytearray()
    while not line.endswith(b"\n"):
        peer.settimeout(max(0.001, until_s - time.monotonic()))
        try:
            piece = peer.recv(4096)
        except TimeoutError as error:
            raise MessageError(f"The request did not come within {REQUEST_S:g} s", wire.CURE) from error
        line += piece
        if len(line) > wire.MAX_REQUEST:
            raise MessageError(f"The request has more than {wire.MAX_REQUEST} bytes", wire.CURE)
        if not piece:
            break
    return bytes(line)
