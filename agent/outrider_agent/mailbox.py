"""The latest frame, and only that: one that was overwritten before it was taken is dropped and counted.

A queue of 10 in this place made the median frame 372 ms old instead of 58, at the same frames a second.
"""

import threading

from outrider_agent.seams import Frame


class Mailbox:
    """Room for one frame between a source thread and a loop thread."""

    def __init__(self) -> None:
        """Start empty and open."""
        self._changed = threading.Condition(threading.Lock())
        self._frame: Frame | None = None
        self._closed = False
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """Frames that were overwritten, or came when nobody took them any more."""
        return self._dropped

    @property
    def ended(self) -> bool:
        """Whether it is closed and the last frame was taken."""
        with self._changed:
            return self._closed and self._frame is None

    def put(self, frame: Frame) -> None:
        """Leave `frame` in place of the one that is there."""
        with self._changed:
            stale: Frame | None = frame
            if not self._closed:
                stale, self._frame = self._frame, frame
            self._dropped += stale is not None
            self._changed.notify()
        if stale is not None:
            stale.release()

    def take(self, wait_s: float) -> Frame | None:
        """Return the frame, waiting up to `wait_s` for one; None if none came or none will."""
        with self._changed:
            if self._frame is None and not self._closed and wait_s > 0:
                self._changed.wait(wait_s)
            frame, self._frame = self._frame, None
            return frame

    def close(self) -> None:
        """Accept no more frames; the one that is there can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify()
