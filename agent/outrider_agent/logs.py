"""The agent's log, on standard error or in the journal, as lines or as fields."""

import logging
import os
import sys
import time
from collections.abc import Mapping
from typing import TextIO

import msgspec

from outrider_agent import records

PLAIN = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
JOURNAL = "%(name)s: %(message)s"
LEVELS = ("debug", "info", "warning", "error")
FORMS = ("auto", "plain", "journal", "json")


class JournalFormatter(logging.Formatter):
    """Puts sd-daemon(3)'s `<priority>` before each line; the journal has time and process itself."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record with the prefix on every line, as the journal splits them."""
        priority = records.priority(record)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record; what does not apply is left out."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        said = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "pipeline": records.pipeline(record),
            "run": records.run(),
            "thread": record.threadName,
            "function": record.funcName,
            "error": self.formatException(record.exc_info) if record.exc_info else "",
        }
        return msgspec.json.encode({key: value for key, value in said.items() if value}).decode()


def in_journal(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether `stream` ends in the journal: JOURNAL_STREAM holds its device and inode (systemd.exec(5))."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM", "") == f"{status.st_dev}:{status.st_ino}"


def start(level: str, stream: TextIO = sys.stderr, form: str = "auto") -> None:
    """Send the log of this process from `level` upwards to `stream`.

    Args:
        level: one of `LEVELS`.
        stream: where lines go.
        form: one of `FORMS`; `journal` speaks to journald itself where that listens.
    """
    if form == "auto":
        form = "journal" if in_journal(stream) else "plain"
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_formatter(form))
    chosen: logging.Handler = handler
    if form == "journal":
        from outrider_agent import journal  # noqa: PLC0415 - for systemd only

        chosen = journal.JournalHandler(handler)
    logging.basicConfig(level=level.upper(), handlers=[chosen], force=True)


def _formatter(form: str) -> logging.Formatter:
    if form == "json":
        return JsonFormatter()
    return JournalFormatter(JOURNAL) if form == "journal" else logging.Formatter(PLAIN)
