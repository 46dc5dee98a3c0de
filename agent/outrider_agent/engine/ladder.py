"""Which variant runs next after one has failed. Pure: numbers in, a number out."""

from msgspec import Struct

from outrider_agent.backoff import Backoff

STEADY_S = 30.0
"""So long must an engine work before its earlier failures are forgotten."""


class Step(Struct, frozen=True, kw_only=True):
    """Load the variant `rung`, after `delay_s`."""

    rung: int
    delay_s: float = 0.0


class Ladder:
    """Variants as rungs, 0 the best; one that keeps failing gives way to the next, and is tried again later.

    Args:
        rungs: how many there are.
        failures: so many in a row and the next rung is taken.
        backoff: between two tries of a better rung, and of all when none is left.
    """

    def __init__(self, rungs: int, failures: int, backoff: Backoff) -> None:
        """Stand on the best."""
        self._rungs, self._failures, self._backoff = rungs, failures, backoff
        self._failed = 0
        self._since_s = 0.0
        self._retry_s: float | None = None
        self.rung = 0

    def runs(self, rung: int, now_s: float) -> None:
        """Note that `rung` was loaded and proven, and runs."""
        if rung != self.rung:
            self._failed = 0
        self.rung, self._since_s = rung, now_s
        if rung == 0:
            self._retry_s = None
        elif self._retry_s is None or self._retry_s <= now_s:
            self._retry_s = now_s + self._backoff.delay_s()

    def failed(self, now_s: float) -> Step:
        """Return what to do when the running engine has failed: the same again, or the next."""
        if now_s - self._since_s >= STEADY_S:
            self._failed = 0
            if self.rung == 0:
                self._backoff.reset()
        self._failed += 1
        if self._failed < self._failures:
            return Step(rung=self.rung)
        return self.refused(self.rung)

    def refused(self, rung: int) -> Step:
        """Return what to do when `rung` cannot be run: the next, or after the last a pause and the best."""
        self._failed = 0
        if rung + 1 < self._rungs:
            return Step(rung=rung + 1)
        self._retry_s = None
        return Step(rung=0, delay_s=self._backoff.delay_s())

    def retry_s(self) -> float | None:
        """Return when better rungs are tried again, on the clock of the other calls; None if never."""
        return self._retry_s

    def stayed(self, now_s: float) -> None:
        """Note that no better rung could be run now."""
        self._retry_s = now_s + self._backoff.delay_s()
