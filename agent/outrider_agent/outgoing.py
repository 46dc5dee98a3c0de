"""What waits for the link: the retained messages as they should stand, and the outbox."""

import threading

from outrider_agent.outbox.letter import Letter
from outrider_agent.outbox.outbox import Outbox


class Outgoing:
    """Many threads put, one gets. Retained messages are few and never lost; only their latest counts.

    They stay in memory: each start says anew how things stand.

    Args:
        outbox: what else is to be sent.
    """

    def __init__(self, outbox: Outbox) -> None:
        """Start without retained messages."""
        self.outbox = outbox
        self._retained: dict[str, Letter] = {}
        self._stale: dict[str, Letter] = {}
        self._alone = threading.Lock()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._stale) + len(self.outbox)

    def keep(self, topic: str, payload: bytes) -> None:
        """Make `payload` the retained message of `topic`."""
        with self._alone:
            self._retained[topic] = self._stale[topic] = Letter(topic, payload, 1, retain=True)

    def repeat(self) -> None:
        """Let all retained messages be sent again, in the order in which their topics were first kept."""
        with self._alone:
            self._stale = dict(self._retained)

    def get(self, *, replay: bool = True) -> Letter | None:
        """Take out what is to be sent next, or None: retained messages go before the outbox."""
        with self._alone:
            if self._stale:
                return self._stale.pop(next(iter(self._stale)))
        return self.outbox.get(replay=replay)
