"""What waits for the link: a bounded queue in memory, and the retained messages as they should stand."""

import threading
from collections import deque

from msgspec import Struct


class Letter(Struct, frozen=True):
    """A message to publish."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False


class Outgoing:
    """Many threads put, one gets. Retained messages are few and never lost; only their latest counts.

    Args:
        max_messages: beyond it the oldest waiting message is lost, and counted.
        max_bytes: the same, over all payloads.
    """

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        """Start empty."""
        self._max_messages, self._max_bytes = max_messages, max_bytes
        self._queue: deque[Letter] = deque()
        self._bytes = 0
        self._lost = 0
        self._retained: dict[str, Letter] = {}
        self._stale: dict[str, Letter] = {}
        self._alone = threading.Lock()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._queue) + len(self._stale)

    @property
    def lost(self) -> int:
        """How many were pushed out before they were sent."""
        return self._lost

    def put(self, letter: Letter) -> bool:
        """Queue `letter`; False if something was lost for it."""
        with self._alone:
            self._queue.append(letter)
            self._bytes += len(letter.payload)
            before = self._lost
            while len(self._queue) > self._max_messages or self._bytes > self._max_bytes:
                self._bytes -= len(self._queue.popleft().payload)
                self._lost += 1
            return self._lost == before

    def keep(self, topic: str, payload: bytes) -> None:
        """Make `payload` the retained message of `topic`."""
        with self._alone:
            self._retained[topic] = self._stale[topic] = Letter(topic, payload, 1, retain=True)

    def repeat(self) -> None:
        """Let all retained messages be sent again, in the order in which their topics were first kept."""
        with self._alone:
            self._stale = dict(self._retained)

    def get(self) -> Letter | None:
        """Take out what is to be sent next, or None: retained messages go before the queue."""
        with self._alone:
            if self._stale:
                return self._stale.pop(next(iter(self._stale)))
            if not self._queue:
                return None
            letter = self._queue.popleft()
            self._bytes -= len(letter.payload)
            return letter
