"""Single things that happened."""

from typing import Any, Literal

from outrider_bundle.manifest import Identifier
from outrider_bundle.messages.codec import Count, Line, Message, Run


class Event(Message, frozen=True, kw_only=True):
    """A decision, a change of phase or a fault, at `time` (unix seconds).

    `seq` counts from 0 in each run without gaps: a receiver sees what is lost. `frame` is the
    source's id of the frame that led to it.
    """

    schema: Literal[1] = 1
    run: Run
    seq: Count
    time: float
    pipeline: Identifier
    kind: Literal["decision", "phase", "fault"]
    frame: Line = ""
    data: dict[str, Any]
