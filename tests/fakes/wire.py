"""A link that a test holds in its hands: it connects when it is told to, and keeps what was given to it."""

from collections.abc import Callable


class Wire:
    """What discovery asks of a link; `sent` is what would be with the broker, in order."""

    def __init__(self) -> None:
        """Be down."""
        self.up = False
        self.sent: list[tuple[str, bytes]] = []
        self._waiting: dict[str, bytes] = {}
        self._retained: dict[str, bytes] = {}
        self._hooks: list[Callable[[], None]] = []
        self._ears: dict[str, Callable[[str, bytes], None]] = {}

    def retain(self, topic: str, payload: bytes) -> None:
        """Send it, or keep the latest of its topic for the connection."""
        self._retained[topic] = self._waiting[topic] = payload
        self._flush()

    def subscribe(self, topic: str, on_message: Callable[[str, bytes], None]) -> None:
        """Keep it."""
        self._ears[topic] = on_message

    def on_connected(self, call: Callable[[], None]) -> None:
        """Keep it."""
        self._hooks.append(call)

    def connect(self) -> None:
        """Come up."""
        self.up = True
        self._waiting = dict(self._retained)
        self._flush()
        for hook in self._hooks:
            hook()

    def say(self, topic: str, payload: bytes) -> None:
        """Be somebody else on the broker."""
        if topic in self._ears:
            self._ears[topic](topic, payload)

    def _flush(self) -> None:
        while self.up and self._waiting:
            topic = next(iter(self._waiting))
            self.sent.append((topic, self._waiting.pop(topic)))


class Calls:
    """Calls that were asked for later; a test makes them when it wants."""

    def __init__(self) -> None:
        """Have none."""
        self.waiting: list[tuple[float, Callable[[], None]]] = []

    def __call__(self, delay_s: float, call: Callable[[], None]) -> Callable[[], None]:
        """Keep a call; return what cancels it."""
        entry = (delay_s, call)
        self.waiting.append(entry)
        return lambda: self.waiting.remove(entry) if entry in self.waiting else None

    def make(self) -> None:
        """Make all calls that wait."""
        due, self.waiting = self.waiting, []
        for _, call in due:
            call()
