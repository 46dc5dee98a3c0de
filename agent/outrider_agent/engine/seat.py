"""Where the loop finds its model. It is changed between two frames and never under one."""

import logging
import threading
from collections.abc import Callable

from outrider_agent.engine.mount import Mounted
from outrider_agent.engine.shadow import Shadow

Dropped = Callable[[Mounted, str], None]

log = logging.getLogger(__name__)


class Seat:
    """Holds one proven model, or none while it is being replaced.

    Args:
        dropped: told when the loop gives a model up, and why; called in the loop's thread.
    """

    def __init__(self, dropped: Dropped = lambda _mounted, _why: None) -> None:
        """Start empty."""
        self._dropped = dropped
        self._taken = threading.Event()
        # For who changes and who drops. A frame takes no lock: the loop says that it is busy before it looks
        # who sits here, and a change first seats another and then looks whether the loop is busy.
        self._turned = threading.Condition(threading.Lock())
        self._waiting = 0
        self._turns = 0
        self._busy = False
        self._mounted: Mounted | None = None
        self.shadow: Shadow | None = None

    @property
    def mounted(self) -> Mounted | None:
        """Who sits here now."""
        return self._mounted

    def wait(self, wait_s: float) -> bool:
        """Return whether there is a model, waiting up to `wait_s` for one."""
        return self._taken.is_set() or self._taken.wait(wait_s)

    def enter(self) -> Mounted | None:
        """Return the model; until `leave`, neither it nor the shadow read meanwhile is closed.

        For one thread, the loop's.
        """
        self._busy = True
        return self._mounted

    def leave(self) -> None:
        """End what `enter` began: the frame is done."""
        self._busy = False
        self._turns += 1
        if self._waiting:
            with self._turned:
                self._turned.notify_all()

    def drop(self, mounted: Mounted, why: str) -> None:
        """Give `mounted` up, between `enter` and `leave`: it has failed. One that was changed stays."""
        with self._turned:
            if self._mounted is not mounted:
                return
            self._mounted = None
            self._taken.clear()
        self._dropped(mounted, why)

    def change(self, mounted: Mounted | None, patience_s: float) -> Mounted | None:
        """Seat `mounted` and return who sat there and can be closed now.

        A loop that does not come back within `patience_s` hangs. In a model of this process, that one can
        neither be used nor closed, and None is returned; closing a child is what brings the loop back.
        """
        with self._turned:
            before, self._mounted = self._mounted, mounted
            if mounted is None:
                self._taken.clear()
            else:
                self._taken.set()
            left = self._left(patience_s)
        if before is None or left or before.isolation == "child":
            return before
        log.error("The loop hangs in %s, which is left behind", before.variant.id)
        return None

    def unshadow(self, patience_s: float) -> bool:
        """Let no candidate see frames any more; return whether the loop has come off it by then."""
        with self._turned:
            self.shadow = None
            return self._left(patience_s)

    def _left(self, patience_s: float) -> bool:
        """Wait until the loop has ended the frame that it is at; the next sees what was changed."""
        turns = self._turns
        self._waiting += 1
        try:
            return self._turned.wait_for(lambda: not self._busy or self._turns != turns, patience_s)
        finally:
            self._waiting -= 1
