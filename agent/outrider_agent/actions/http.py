"""Decisions as requests to a webhook.

The body is flat JSON: `run`, `seq`, `time`, `pipeline` and `frame` of the decision's event, and all that the
policy put into it. A request whose answer got lost is sent again; `(run, seq)` tells the second one. Success
is an answer 200 to 299. Redirects are not followed, proxies not used. After 400 to 499 a request is not
tried again, but for 408 (timeout) and 429 (too many); after everything else it is.

With `safe`, the safe state throws away what waits, breaks off the request that is under way and sends that
body, again and again until it has arrived or a later decision has. A webhook may still work on the request
that was broken off. Without it there is nothing to make safe: what waits is sent.
"""

import http.client
import ssl
import threading
from contextlib import suppress
from pathlib import Path
from socket import IPPROTO_TCP, SHUT_RDWR, TCP_NODELAY, socket
from time import monotonic
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from outrider_agent.backoff import Backoff
from outrider_agent.outputs import flat
from outrider_agent.seams import Context
from outrider_agent.worker import FinalError, Worker
from outrider_bundle.errors import OutriderError, UsageError
from outrider_bundle.messages.event import Event

LEAST_RETRY_S = 0.5
MOST_RETRY_S = 10.0
MAX_ANSWER = 64 << 10
"""A longer answer is not read; the connection ends."""
AGAIN = {408, 429}
FIRST_SERVER_FAULT = 500

HeaderName = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}\Z")]
HeaderValue = Annotated[str, Meta(pattern=r"\A[\x20-\x7e]{0,4096}\Z")]
OURS = {"authorization", "connection", "content-length", "content-type", "host", "transfer-encoding"}


class HttpOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `[[pipelines.actions]]` may hold.

    Args:
        url: of the webhook, http or https.
        method: of the requests.
        headers: more of them; not for secrets.
        token_file: holds in its first line what is sent as `Authorization: Bearer`; read for every request.
        ca: PEM file of the authorities to trust; left out for the system's.
        timeout_s: for the connection, and for every wait for the webhook; an attempt that takes twice as long
            is broken off at the next decision.
        retries: how often a request is tried again.
        queue: how many decisions may wait; then the oldest one is lost.
        safe: sent when outputs have to be safe; nothing is if left out.
    """

    url: str
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    headers: dict[HeaderName, HeaderValue] = {}
    token_file: Path | None = None
    ca: Path | None = None
    timeout_s: Annotated[float, Meta(gt=0.0, le=60.0)] = 5.0
    retries: Annotated[int, Meta(ge=0, le=10)] = 3
    queue: Annotated[int, Meta(ge=1, le=10_000)] = 100
    safe: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Refuse a url that names no webhook, and headers that are ours to write."""
        parts = urlsplit(self.url)
        port = parts.port  # raises ValueError where it is no number
        if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0 or parts.fragment:
            raise ValueError("url must be like https://host/path")
        if parts.username is not None or any(not "!" <= letter <= "~" for letter in self.url):
            raise ValueError("url may hold neither a user nor blanks; a secret belongs into token_file")
        if self.ca and parts.scheme != "https":
            raise ValueError("ca needs a url that begins with https://")
        if ours := sorted(name for name in self.headers if name.lower() in OURS):
            raise ValueError(f"headers may not hold {', '.join(ours)}")


class _Caller:
    """One connection to the webhook, kept open between requests."""

    def __init__(self, options: HttpOptions) -> None:
        parts = urlsplit(options.url)
        self._options, self.host = options, parts.hostname or ""
        self._port, self._path = parts.port, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._tls = _tls(options) if parts.scheme == "https" else None
        self._connection = self._new()
        self._socket: socket | None = None
        self._until_s = float("inf")
        if options.token_file:
            _token(options.token_file)

    def cut(self, *, overdue: bool = False) -> None:
        """Make a request under way fail, from any thread; with `overdue` only if it takes too long."""
        if (line := self._socket) is not None and (not overdue or monotonic() > self._until_s):
            with suppress(OSError):
                socket.shutdown(line, SHUT_RDWR)  # of the base class: a TLS one would forget its state

    def send(self, body: bytes, hurry: threading.Event) -> int:
        """Return the status of the answer; `hurry` is set before `cut` is called for good.

        Raises:
            OSError, http.client.HTTPException: there is none.
        """
        kept, begun_s = self._connection.sock is not None, monotonic()
        try:
            return self._attempt(body, hurry)
        except (ConnectionError, http.client.RemoteDisconnected):
            if not kept or hurry.is_set() or monotonic() > begun_s + self._options.timeout_s:
                raise
            return self._attempt(body, hurry)  # the webhook had closed what was kept open

    def close(self) -> None:
        """End the connection."""
        self._socket = None
        self._connection.close()

    def _attempt(self, body: bytes, hurry: threading.Event) -> int:
        self._until_s = monotonic() + 2 * self._options.timeout_s
        try:
            if self._connection.sock is None:
                self._open(hurry)
            self._connection.request(self._options.method, self._path, body, self._headers())
            with self._connection.getresponse() as answer:
                if len(answer.read(MAX_ANSWER)) == MAX_ANSWER:
                    self.close()
        except BaseException:
            self.close()
            raise
        finally:
            self._until_s = float("inf")
        return answer.status

    def _open(self, hurry: threading.Event) -> None:
        self._connection = self._new()
        self._connection.connect()
        self._connection.sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        self._socket = self._connection.sock
        if hurry.is_set():  # whoever cuts saw no socket yet
            raise ConnectionAbortedError

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", **self._options.headers}
        if self._options.token_file:
            headers["Authorization"] = f"Bearer {_token(self._options.token_file)}"
        return headers

    def _new(self) -> http.client.HTTPConnection:
        timeout_s = self._options.timeout_s
        if self._tls:
            return http.client.HTTPSConnection(self.host, self._port, timeout=timeout_s, context=self._tls)
        return http.client.HTTPConnection(self.host, self._port, timeout=timeout_s)


class HttpAction:
    """Sends requests from a thread of its own, in order."""

    Options = HttpOptions

    def __init__(self, options: HttpOptions, context: Context) -> None:
        """Prepare the connection; nothing is sent yet.

        Raises:
            UsageError: the token or the authorities cannot be read.
        """
        self._retries = options.retries
        self._safe = None if options.safe is None else msgspec.json.encode(options.safe)
        self._caller = _Caller(options)
        self._worker = Worker(
            f"http.{context.pipeline}",
            options.queue,
            interrupt=self._caller.cut,
            release=self._caller.close,
        )

    def apply(self, decision: Event) -> None:
        """Queue the decision."""
        self._caller.cut(overdue=True)
        self._worker.put(lambda hurry: self._send(flat(decision), hurry))

    def safe_state(self) -> None:
        """Send what was configured for this case, before and instead of all that waits."""
        if (safe := self._safe) is None:
            self._worker.check()
        else:
            self._worker.safe(lambda over: self._send(safe, over, retries=0))  # the worker tries it again

    def settle(self, wait_s: float) -> None:
        """Wait until what was ordered is done; see `Worker.settle`."""
        self._worker.settle(wait_s)

    def close(self) -> None:
        """Send what waits, for a moment; free the connection."""
        self._worker.close()

    def _send(self, body: bytes, hurry: threading.Event, *, retries: int | None = None) -> None:
        backoff = Backoff(LEAST_RETRY_S, MOST_RETRY_S)
        for left in range(self._retries if retries is None else retries, -1, -1):
            try:
                self._once(body, hurry)
            except FinalError:
                raise
            except OutriderError:
                if not left or hurry.wait(backoff.delay_s()):
                    raise
            else:
                return

    def _once(self, body: bytes, hurry: threading.Event) -> None:
        host = self._caller.host
        try:
            status = self._caller.send(body, hurry)
        except (OSError, http.client.HTTPException) as error:
            late = isinstance(error, TimeoutError)
            why = "does not answer" if late else f"cannot be reached: {error or type(error).__name__}"
            raise OutriderError(f"The webhook at {host} {why}", "Look whether it runs") from error
        if http.client.OK <= status < http.client.MULTIPLE_CHOICES:
            return
        what = f"The webhook at {host} answers {status}"
        if status in AGAIN or status >= FIRST_SERVER_FAULT:
            raise OutriderError(what, "Look what it says of itself")
        raise FinalError(what, "Check url, headers and token_file")


def _token(path: Path) -> str:
    """Return the first line of `path`; no error tells any of it."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"token_file {path} cannot be read: {why}", "Give the agent's user access") from None
    token = lines[0].strip() if lines else ""
    if not token or any(not "!" <= letter <= "~" for letter in token):
        raise UsageError(f"token_file {path} holds no token", "Write it into the first line, without blanks")
    return token


def _tls(options: HttpOptions) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=options.ca)
    except OSError as error:
        raise UsageError(f"ca {options.ca} cannot be used: {error}", "Give a PEM file") from error
