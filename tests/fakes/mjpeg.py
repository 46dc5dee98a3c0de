"""A camera on the network as cheap ones are: HTTP, JPEG after JPEG in `multipart/x-mixed-replace`."""

import contextlib
import socket
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import cv2
import numpy as np

HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=next\r\n\r\n"


def jpeg(number: int) -> bytes:
    """Return a picture whose brightness tells its number."""
    found, data = cv2.imencode(".jpg", np.full((48, 64, 3), 20 * number % 256, np.uint8))
    assert found
    return data.tobytes()


class MjpegServer:
    """Serves one connection after another; session n gives `sessions[n]` pictures, then hangs up.

    A session of 0 pictures accepts and says nothing until the client gives up, as a camera that hangs. Later
    connections are refused: the server listens no more.
    """

    scheme = "http"

    def __init__(self, sessions: Sequence[int], fps: float = 100.0) -> None:
        """Listen on a free port of loopback."""
        self._sessions, self._period_s = list(sessions), 1.0 / fps
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._connection: socket.socket | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.requests: list[bytes] = []

    @property
    def url(self) -> str:
        """Where the pictures are."""
        return f"{self.scheme}://127.0.0.1:{self.port}/stream"

    def __enter__(self) -> Self:
        """Begin to serve."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all."""
        self._end.set()
        for one in (self._listener, self._connection):
            with contextlib.suppress(OSError, AttributeError):
                one.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        with self._listener:
            for pictures in self._sessions:
                try:
                    self._connection, _ = self._listener.accept()
                except OSError:
                    return
                with self._connection as connection, contextlib.suppress(OSError):
                    self._serve(connection, pictures)

    def _serve(self, connection: socket.socket, pictures: int) -> None:
        if not pictures:
            self._drain(connection)
            return
        self.requests.append(connection.recv(65_536))
        connection.sendall(HEAD)
        for number in range(pictures):
            data = jpeg(number)
            length = f"Content-Length: {len(data)}\r\n\r\n".encode()
            connection.sendall(b"--next\r\nContent-Type: image/jpeg\r\n" + length + data + b"\r\n")
            if self._end.wait(self._period_s):
                return

    def _drain(self, connection: socket.socket) -> None:
        """Throw away what the client says until it hangs up."""
        with contextlib.suppress(OSError):
            while connection.recv(65_536):
                pass
