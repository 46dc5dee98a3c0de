"""What is wrong with a pipeline now, said once when it begins and once when it is over."""

import threading

HOLD_S = 1.0
"""So long must a part work again before it counts as well: one that flaps is said once."""


class Health:
    """Troubles by part (`engine`, `policy`, `action.mqtt`). Pure; any thread."""

    def __init__(self, hold_s: float = HOLD_S) -> None:
        """Start without trouble."""
        self._hold_s = hold_s
        self._change = threading.Lock()
        self._troubles: dict[str, str] = {}
        self._last_s: dict[str, float] = {}

    @property
    def reason(self) -> str:
        """All troubles in one line; empty if there are none."""
        return "; ".join(f"{part}: {why}" for part, why in self._troubles.items())

    def bad(self, part: str, why: str, now_s: float) -> bool:
        """Note that `part` failed; True if it was well before."""
        self._last_s[part] = now_s
        if part in self._troubles:
            return False
        with self._change:  # a new dict: other threads read it for their reports
            self._troubles = {**self._troubles, part: why}
        return True

    def good(self, part: str, now_s: float) -> bool:
        """Note that `part` works; True if that ends its trouble."""
        if part not in self._troubles or now_s - self._last_s[part] < self._hold_s:
            return False
        with self._change:
            self._troubles = {name: why for name, why in self._troubles.items() if name != part}
        return True
