"""So many a second and no more."""

import time
from collections.abc import Callable

BURST_S = 0.1
"""What was not used for so long may be used at once."""


class Throttle:
    """A bucket of tokens that fills at `per_s`.

    Args:
        per_s: tokens a second.
        clock: seconds on a clock that does not jump.
    """

    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin full."""
        self._per_s, self._clock = per_s, clock
        self._most = max(1.0, per_s * BURST_S)
        self._tokens, self._since_s = self._most, clock()
        self._is_open = False

    @property
    def rest_s(self) -> float:
        """In how many seconds there is a token."""
        self._fill()
        return 0.0 if self._is_open else max(0.0, (1.0 - self._tokens) / self._per_s)

    @property
    def ready(self) -> bool:
        """Whether there is a token."""
        return self.rest_s <= 0.0

    def spend(self) -> None:
        """Take a token."""
        self._fill()
        self._tokens -= 1.0

    def open(self) -> None:
        """Let all through from now on."""
        self._is_open = True

    def _fill(self) -> None:
        now_s = self._clock()
        self._tokens = min(self._most, self._tokens + (now_s - self._since_s) * self._per_s)
        self._since_s = now_s
