"""Where the loop finds its model. It is changed between two frames and never under one."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from outrider_agent.engine.mount import Mounted
from outrider_agent.engine.shadow import Shadow

Dropped = Callable[[Mounted, str], None]


class Seat:
    """Holds one proven model, or none while it is being replaced.

    Args:
        dropped: told when the loop gives a model up, and why; called in the loop's thread.
    """

    def __init__(self, dropped: Dropped = lambda _mounted, _why: None) -> None:
        """Start empty."""
        self._dropped = dropped
        self._taken = threading.Event()
        self._busy = threading.Lock()
        self._mounted: Mounted | None = None
        self.shadow: Shadow | None = None

    @property
    def mounted(self) -> Mounted | None:
        """Who sits here now."""
        return self._mounted

    def wait(self, wait_s: float) -> bool:
        """Return whether there is a model, waiting up to `wait_s` for one."""
        return self._taken.is_set() or self._taken.wait(wait_s)

    @contextmanager
    def used(self) -> Iterator[Mounted | None]:
        """Keep the model from being closed while a frame is on it."""
        with self._busy:
            yield self._mounted

    def drop(self, mounted: Mounted, why: str) -> None:
        """Give `mounted` up, within `used`: it has failed."""
        if self._mounted is mounted:
            self._taken.clear()
            self._mounted = None
            self._dropped(mounted, why)

    def change(self, mounted: Mounted | None, patience_s: float) -> Mounted | None:
        """Seat `mounted` and return who sat there, off which the loop is by then.

        A loop that does not come back within `patience_s` hangs in a model of this process: None is returned,
        since that one can neither be used nor closed.
        """
        before, self._mounted = self._mounted, mounted
        if mounted is None:
            self._taken.clear()
        else:
            self._taken.set()
        return before if self._left(patience_s) else None

    def unshadow(self, patience_s: float) -> None:
        """Let no candidate see frames any more; the loop is off it by then."""
        self.shadow = None
        self._left(patience_s)

    def _left(self, patience_s: float) -> bool:
        """Wait until the loop has ended the frame that it is at."""
        if not self._busy.acquire(timeout=patience_s):
            return False
        self._busy.release()
        return True
