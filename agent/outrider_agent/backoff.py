"""How long to wait before trying again."""

from collections.abc import Callable
from random import random


class Backoff:
    """Doubles from `least_s` to `most_s`, less up to half by chance, so that a fleet does not march in step.

    Args:
        least_s: the first delay at its longest.
        most_s: no delay is longer.
        chance: returns a number in 0..1.
    """

    def __init__(self, least_s: float, most_s: float, chance: Callable[[], float] = random) -> None:
        """Start at the shortest delay."""
        self._least_s, self._most_s, self._chance = least_s, most_s, chance
        self._next_s = least_s

    def delay_s(self) -> float:
        """Return the next delay."""
        whole_s, self._next_s = self._next_s, min(2 * self._next_s, self._most_s)
        return whole_s * (1.0 - self._chance() / 2)

    def reset(self) -> None:
        """Start again: it has worked."""
        self._next_s = self._least_s
