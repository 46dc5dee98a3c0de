"""A webhook on a free loopback port that keeps what it is sent and answers as it is told."""

import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import msgspec


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self.open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - of the library
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - of the library
        self.open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - of the library
        """Say nothing: a client that breaks off is what is tested."""


class Webhook:
    """Serves from threads.

    Args:
        tls: for https.
        port: to listen on; 0 for a free one.
    """

    def __init__(self, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        """Bind a port; `start` or `with` serves."""
        self.statuses: list[int] = []  # of the next answers; then 204
        self.silent = False  # reads requests and never answers
        self.requests: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.methods: list[str] = []
        self.connections = 0
        self._change = threading.Condition()
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", port), _handler(self))
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = int(self._server.server_address[1])
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}/hook?line=1"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )

    def start(self) -> Self:
        """Serve until `stop`."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """End; clients find nobody."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._server.shutdown()
        for connection in list(self._server.open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()
        self._thread.join(10)

    def restart(self) -> int:
        """End, with all connections, and return the port for another one."""
        self.stop()
        return self.port

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def wait(self, count: int, wait_s: float = 10.0) -> list[dict[str, Any]]:
        """Return all requests once there are at least `count`."""
        with self._change:
            assert self._change.wait_for(lambda: len(self.requests) >= count, wait_s), self.requests
            return list(self.requests)

    def heard(self, method: str, headers: Mapping[str, str], body: bytes) -> int | None:
        """Keep a request and return how to answer; None for not at all."""
        with self._change:
            self.methods.append(method)
            self.headers.append(headers)
            self.requests.append(msgspec.json.decode(body))
            self._change.notify_all()
            status = self.statuses.pop(0) if self.statuses else 204
            silent = self.silent
        if silent:
            self._closing.wait(30)
            return None
        return status


def _handler(hook: Webhook) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            hook.connections += 1

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = hook.heard(self.command, dict(self.headers), body)
            if status is None:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_PUT = do_POST  # noqa: N815 - the same

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named by the library
            """Say nothing."""

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                return  # the client was gone first

    return Handler
