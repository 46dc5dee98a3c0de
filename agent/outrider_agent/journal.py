"""Records as journald takes them with their fields: its native protocol, a datagram each.

Source: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/
"""

import contextlib
import logging
import socket
import struct
from collections.abc import Iterable
from pathlib import Path

from outrider_agent import records

SOCKET = Path("/run/systemd/journal/socket")
MAX_TEXT = 32_768
"""Characters of a message; a longer datagram would need a file to be passed."""
LENGTH = struct.Struct("<Q")


class JournalHandler(logging.Handler):
    """Sends records to journald; those that it does not take go to another handler.

    Args:
        other: of the lines.
        path: of journald's socket.
    """

    def __init__(self, other: logging.Handler, path: Path = SOCKET) -> None:
        """Open the socket; nothing is sent yet."""
        super().__init__()
        self._other, self._path = other, str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(0)  # the loop logs, too, and does not wait for a journal
        self._text = logging.Formatter("%(message)s")

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record."""
        try:
            self._socket.sendto(datagram(self._fields(record)), self._path)
        except (OSError, ValueError):
            self._other.handle(record)
        except Exception:  # noqa: BLE001 - arguments that do not fit their message, as any handler takes it
            self.handleError(record)

    def close(self) -> None:
        """Close the socket and the other handler."""
        with contextlib.suppress(OSError):
            self._socket.close()
        self._other.close()
        super().close()

    def _fields(self, record: logging.LogRecord) -> Iterable[tuple[str, str]]:
        """Yield what is known of a record, by the names of systemd.journal-fields(7)."""
        yield "MESSAGE", self._text.format(record)[:MAX_TEXT]
        yield "PRIORITY", str(records.priority(record))
        yield "SYSLOG_IDENTIFIER", "outrider"
        yield "LOGGER", record.name
        yield "CODE_FILE", record.pathname
        yield "CODE_LINE", str(record.lineno)
        yield "CODE_FUNC", record.funcName or ""
        yield "THREAD_NAME", record.threadName or ""
        yield "OUTRIDER_PIPELINE", records.pipeline(record)
        yield "OUTRIDER_RUN", records.run()


def datagram(fields: Iterable[tuple[str, str]]) -> bytes:
    """Return fields as one datagram; empty ones are left out."""
    parts: list[bytes] = []
    for key, value in fields:
        raw = value.encode(errors="replace")
        if b"\n" in raw:
            parts.append(b"%s\n%s%s\n" % (key.encode(), LENGTH.pack(len(raw)), raw))
        elif raw:
            parts.append(b"%s=%s\n" % (key.encode(), raw))
    return b"".join(parts)
