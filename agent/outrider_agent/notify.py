"""Tell systemd how it goes: sd_notify(3), in plain sockets."""

import os
import socket
from collections.abc import Mapping


class Notifier:
    """Sends to `NOTIFY_SOCKET`; without one nothing is sent.

    Args:
        environ: where systemd leaves the socket and the watchdog's period.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        """Read the environment."""
        self._address = environ.get("NOTIFY_SOCKET", "")
        mine = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        period = environ.get("WATCHDOG_USEC", "0") if mine else "0"
        self.watchdog_s = int(period) / 1e6 if period.isdigit() else 0.0
        """Within this time a sign of life is due; 0 if nobody waits for one."""

    def ready(self, status: str) -> None:
        """Say that the start is over."""
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        """Say in one line how it goes."""
        self._send(f"STATUS={status}")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def stopping(self, status: str) -> None:
        """Say that the end has begun."""
        self._send(f"STOPPING=1\nSTATUS={status}")

    def extend(self, timeout_s: float) -> None:
        """Ask for more time to start or to stop."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(timeout_s * 1e6)}")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
            connection.settimeout(0)
            try:
                connection.sendto(text.encode(), address)
            except OSError:
                return  # nobody listens any more: no reason to stop working
