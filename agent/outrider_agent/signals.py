"""Signals without surprises: a handler only writes a byte, and the main thread waits for that.

`threading.Event.set` in a handler can deadlock, since the handler may interrupt `wait` holding its lock.
"""

import select
import signal
import socket
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any, Self

STOP = (signal.SIGTERM, signal.SIGINT)
RELOAD = signal.SIGHUP


class Signals:
    """Catches signals while it is entered; only the main thread may enter it.

    `wait` is also ended by `wake`, which any thread may call. `RELOAD` is only noted, for `reload` to take.
    """

    def __init__(self, caught: Sequence[signal.Signals] = (*STOP, RELOAD)) -> None:
        """Open the pair of sockets that the bytes go through."""
        self._caught = caught
        self._reader, self._writer = socket.socketpair()
        self._reader.settimeout(0)
        self._writer.settimeout(0)
        self._former: dict[signal.Signals, Any] = {}
        self.received: signal.Signals | None = None
        """The first one that came to stop."""
        self._reload = False

    def __enter__(self) -> Self:
        """Install the handlers."""
        for number in self._caught:
            self._former[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Bring the former handlers back."""
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._reader.close()
        self._writer.close()

    def wait(self, timeout_s: float) -> None:
        """Return when a signal came or `wake` was called, at the latest after `timeout_s`."""
        if self.received is None and select.select([self._reader], [], [], max(0.0, timeout_s))[0]:
            self._reader.recv(4096)

    def reload(self) -> bool:
        """Whether a reload was asked for since the last call."""
        asked, self._reload = self._reload, False
        return asked

    def wake(self) -> None:
        """End `wait`."""
        try:
            self._writer.send(b"\0")
        except OSError:
            return  # full, so it is awake already; or closed, so nobody waits

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number == RELOAD:
            self._reload = True
        else:
            self.received = self.received or signal.Signals(number)
        self.wake()
