"""The agent's log: lines on standard error, which journald takes with their priority."""

import logging
import os
import sys
from collections.abc import Mapping
from typing import TextIO

PLAIN = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
JOURNAL = "%(name)s: %(message)s"
PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
LEVELS = ("debug", "info", "warning", "error")


class JournalFormatter(logging.Formatter):
    """Puts sd-daemon(3)'s `<priority>` before each line; the journal has time and process itself."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record with the prefix on every line, as the journal splits them."""
        priority = PRIORITIES.get(record.levelno, 6)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


def in_journal(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether `stream` ends in the journal: JOURNAL_STREAM holds its device and inode (systemd.exec(5))."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM", "") == f"{status.st_dev}:{status.st_ino}"


def start(level: str, stream: TextIO = sys.stderr) -> None:
    """Send the log of this process to `stream`, from `level` upwards."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JournalFormatter(JOURNAL) if in_journal(stream) else logging.Formatter(PLAIN))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
