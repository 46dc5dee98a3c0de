"""Taps: who wants to look over a loop's shoulder, and what it is shown.

There are none in the normal case, and then a frame costs the loop one attribute, `Taps.wanted`.
"""

import threading
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from msgspec import Struct

from outrider_runtime.perception import Perception
from outrider_runtime.session import Array

SLACK = 0.25
"""Share of the interval by which a frame may come early: sources are not that even."""


class View(Struct, frozen=True, kw_only=True):
    """A frame and what came of it.

    Args:
        frame: its id.
        seq: its number.
        time_s: when it was taken, on the clock of `time.monotonic`.
        array: the picture or sample, a copy that is the view's own.
        perception: None if there is none.
        decisions: their data, in order.
        why: what the policy has to say for itself, see `seams`.
        error: why there is no perception or no decision; empty if that is as it should be.
        took_ns: from the frame's turn to the last decision.
    """

    frame: str
    seq: int
    time_s: float
    array: Array
    perception: Perception | None = None
    decisions: tuple[dict[str, Any], ...] = ()
    why: tuple[str, ...] = ()
    error: str = ""
    took_ns: int = 0


class Tap:
    """Keeps some views for one other thread; the loop never waits for it.

    Args:
        room: so many views are kept; while they are not taken, more are dropped.
        interval_s: the least time between two views.
    """

    def __init__(self, room: int = 1, interval_s: float = 0.0) -> None:
        """Want the next frame."""
        self._views: SimpleQueue[View] = SimpleQueue()
        self._room, self._interval_s = room, interval_s
        self._due_s = 0.0
        self.dropped = 0
        """Frames that were due and found no room."""

    def wants(self) -> bool:
        """Return whether to copy this frame: the loop asks once for each."""
        now_s = monotonic()
        if now_s < self._due_s - SLACK * self._interval_s:
            return False
        # Counted from when it was due, or a frame that comes a little late would delay all that follow.
        on_time = now_s - self._due_s < self._interval_s
        self._due_s = (self._due_s if on_time else now_s) + self._interval_s
        if self._views.qsize() < self._room:
            return True
        self.dropped += 1
        return False

    def see(self, view: View) -> None:
        """Keep `view`; called by the loop."""
        self._views.put(view)

    def take(self, wait_s: float) -> View | None:
        """Return the oldest view, waiting up to `wait_s` for one; None if none came."""
        try:
            return self._views.get(timeout=wait_s) if wait_s > 0 else self._views.get_nowait()
        except Empty:
            return None


class Taps:
    """The taps of one loop. `wanted` is read without a lock; it is replaced whole."""

    def __init__(self) -> None:
        """Have none."""
        self._changing = threading.Lock()
        self.wanted: tuple[Tap, ...] = ()

    def add(self, tap: Tap) -> None:
        """Show frames to `tap` from the next one on."""
        with self._changing:
            self.wanted = (*self.wanted, tap)

    def remove(self, tap: Tap) -> None:
        """Show it no more; one that is not there is no fault."""
        with self._changing:
            self.wanted = tuple(one for one in self.wanted if one is not tap)
