"""Decisions as lines of the agent's log; a device's first action, and nothing to wire."""

import logging
from typing import Literal

import msgspec
from msgspec import Struct

from outrider_agent.seams import Context
from outrider_bundle.messages.event import Event

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}


class LogOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `[[pipelines.actions]]` may hold: the level of the lines."""

    level: Literal["debug", "info", "warning"] = "info"


class LogAction:
    """Writes one line per decision."""

    Options = LogOptions

    def __init__(self, options: LogOptions, context: Context) -> None:
        """Name the log after the pipeline."""
        self._level = LEVELS[options.level]
        self._log = logging.getLogger(f"outrider.act.{context.pipeline}")

    def apply(self, decision: Event) -> None:
        """Write the decision."""
        if self._log.isEnabledFor(self._level):
            data = msgspec.json.encode(decision.data).decode()
            self._log.log(self._level, "%s %s", decision.frame, data)

    def safe_state(self) -> None:
        """Write that outputs are in their safe state."""
        self._log.log(self._level, "safe state")

    def close(self) -> None:
        """Do nothing: a log has no end."""
