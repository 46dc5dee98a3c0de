"""Whether the loops turn: what the watchdog of systemd is fed by."""

from collections.abc import Callable, Iterable
from time import monotonic
from typing import Protocol


class Turning(Protocol):
    """A loop; see `Pipeline`."""

    @property
    def id(self) -> str:
        """Its name."""
        ...

    @property
    def finished(self) -> bool:
        """Whether it is over, and need not turn."""
        ...

    @property
    def ticks(self) -> int:
        """Grows with every turn."""
        ...

    @property
    def patience_s(self) -> float:
        """How long one turn may take, in seconds."""
        ...


class Pulse:
    """Judges loops by their own pace. Those that idle do so out of step, each with a wait of its own.

    Args:
        clock: seconds that do not jump.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        """Know no loop yet."""
        self._clock = clock
        self._turned: dict[str, tuple[int, float]] = {}

    def beats(self, loops: Iterable[Turning]) -> bool:
        """Whether every loop that should run has turned within its patience; call it every second or so."""
        now_s, before = self._clock(), self._turned
        self._turned, patience_s = {}, {}
        for loop in loops:
            if not loop.finished:
                ticks, since_s = loop.ticks, now_s
                if loop.id in before and before[loop.id][0] == ticks:
                    since_s = before[loop.id][1]
                self._turned[loop.id], patience_s[loop.id] = (ticks, since_s), loop.patience_s
        return all(now_s - since_s <= patience_s[name] for name, (_, since_s) in self._turned.items())
