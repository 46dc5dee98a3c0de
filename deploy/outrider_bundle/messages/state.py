"""Birth and will of a device; retained, so that a newcomer sees who is there."""

from typing import Literal

from outrider_bundle.manifest import Identifier
from outrider_bundle.messages.codec import Line, Message, Run


class State(Message, frozen=True, kw_only=True):
    """A device came or went. The will carries the run of its birth: a late one is told by it."""

    schema: Literal[1] = 1
    status: Literal["online", "offline"]
    run: Run
    version: Line
    app: Identifier
    hardware: Identifier
    reason: Line = ""
