"""The events of a run, numbered without gaps."""

import threading
import time
from collections.abc import Callable
from typing import Any, Literal

from outrider_agent.seams import Publisher
from outrider_bundle.messages.codec import encode
from outrider_bundle.messages.event import Event
from outrider_bundle.topics import Topics

AGENT = "agent"
"""What stands for a pipeline in events of the agent as a whole; no pipeline may be called so."""

Kind = Literal["decision", "phase", "fault"]


class Events:
    """Numbers events and hands them to the link; any thread may emit.

    Args:
        run: id of this start of the agent.
        topics: of the device.
        link: where they go.
        clock: unix seconds.
    """

    def __init__(
        self, run: str, topics: Topics, link: Publisher, clock: Callable[[], float] = time.time
    ) -> None:
        """Begin at 0."""
        self._run, self._topic, self._link, self._clock = run, topics.events, link, clock
        self._next = threading.Lock()
        self._count = 0

    @property
    def count(self) -> int:
        """How many were emitted."""
        return self._count

    def emit(self, pipeline: str, kind: Kind, data: dict[str, Any], frame: str = "") -> Event:
        """Publish and return the next event.

        Raises:
            MessageError: `data` cannot be published; no number is used up.
        """
        # One lock over both: events must be queued in the order of their numbers.
        with self._next:
            event = Event(
                run=self._run,
                seq=self._count,
                time=self._clock(),
                pipeline=pipeline,
                kind=kind,
                frame=frame,
                data=data,
            )
            self._link.publish(self._topic, encode(event))
            self._count += 1
        return event
