"""What a record of the log is about, whatever form it is written in."""

import logging

PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
"""By level, those of syslog(3)."""
PIPELINE = "outrider."
"""What the names of loggers of a pipeline begin with; its id follows."""

_run: dict[str, str] = {}


def priority(record: logging.LogRecord) -> int:
    """Return the priority of a record; one of a level of its own is informational."""
    return PRIORITIES.get(record.levelno, 6)


def pipeline(record: logging.LogRecord) -> str:
    """Return the pipeline that a record is about; empty if about none."""
    name = record.name
    return name.removeprefix(PIPELINE).partition(".")[0] if name.startswith(PIPELINE) else ""


def tell_run(run: str) -> None:
    """Say which run of the agent all further records are of."""
    _run["id"] = run


def run() -> str:
    """Return what `tell_run` was told last; empty before."""
    return _run.get("id", "")
