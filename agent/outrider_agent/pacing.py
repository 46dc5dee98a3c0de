"""When a source that could always give a frame gives the next one."""

import threading
import time
from collections.abc import Sequence
from typing import Protocol


class Timetable(Protocol):
    """When frames are due, in seconds on one clock."""

    def due_s(self) -> float:
        """Return when the next frame is due."""
        ...

    def sent(self, now_s: float) -> None:
        """Note that the next frame was sent at `now_s`."""
        ...


class Schedule:
    """Frame n is due at start + n / fps, so that small delays do not add up. Pure; seconds on one clock.

    After a stall it catches up at twice the rate: a burst would only be dropped by the reader.
    """

    def __init__(self, fps: float, start_s: float) -> None:
        """Make the first frame due at `start_s`."""
        self._period_s = 1.0 / fps
        self._start_s = self._earliest_s = start_s
        self._count = 0

    def due_s(self) -> float:
        """Return when the next frame is due."""
        return max(self._start_s + self._count * self._period_s, self._earliest_s)

    def sent(self, now_s: float) -> None:
        """Note that the next frame was sent at `now_s`."""
        self._count += 1
        self._earliest_s = now_s + self._period_s / 2


class Recording:
    """Frame n is due as long after the first one as it was recorded after it. Pure.

    Played again, it goes on one mean period after its last frame.
    """

    def __init__(self, times_s: Sequence[float], start_s: float) -> None:
        """Make the first of `times_s`, which do not fall, due at `start_s`."""
        self._times_s = [time_s - times_s[0] for time_s in times_s]
        last_s, periods = self._times_s[-1], len(times_s) - 1
        self._round_s = last_s + last_s / periods if periods else 0.0
        self._start_s = start_s
        self._count = 0

    def due_s(self) -> float:
        """Return when the next frame is due."""
        rounds, at = divmod(self._count, len(self._times_s))
        return self._start_s + rounds * self._round_s + self._times_s[at]

    def sent(self, now_s: float) -> None:
        """Note that the next frame was sent; when does not matter."""
        del now_s
        self._count += 1


class Pace(Protocol):
    """Holds a source's thread back until its next frame is wanted."""

    @property
    def ended(self) -> bool:
        """Whether `end` was called."""
        ...

    def enter(self, wait_s: float) -> bool:
        """Wait until the next frame is wanted, at most `wait_s`; True counts it as sent."""
        ...

    def released(self) -> None:
        """Note that the last frame was read or dropped."""
        ...

    def end(self) -> None:
        """Wake whoever waits, for good; nothing is wanted any more."""
        ...


class Clocked:
    """By the clock, whatever becomes of the frames.

    Args:
        plan: how many frames a second, or the times at which they were recorded.
    """

    def __init__(self, plan: float | Sequence[float]) -> None:
        """Begin with the first call of `enter`."""
        self._plan = plan
        self._schedule: Timetable | None = None
        self._end = threading.Event()

    @property
    def ended(self) -> bool:
        """Whether `end` was called."""
        return self._end.is_set()

    def enter(self, wait_s: float) -> bool:
        """Wait until the next frame is due, at most `wait_s`; True counts it as sent."""
        if self._schedule is None:
            self._schedule = _timetable(self._plan, time.monotonic())
        left_s = self._schedule.due_s() - time.monotonic()
        if left_s > 0:
            self._end.wait(min(left_s, wait_s))
        if left_s > wait_s or self.ended:
            return False
        self._schedule.sent(time.monotonic())
        return True

    def released(self) -> None:
        """Do nothing: the clock decides."""

    def end(self) -> None:
        """Wake whoever waits, for good."""
        self._end.set()


class OnDemand:
    """As fast as the frames are read: the next when the last one was released, so that none is dropped."""

    def __init__(self) -> None:
        """Start with one frame wanted."""
        self._wanted = threading.Event()
        self._wanted.set()
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether `end` was called."""
        return self._ended

    def enter(self, wait_s: float) -> bool:
        """Wait until the last frame was released, at most `wait_s`; True counts the next as sent."""
        if not self._wanted.wait(wait_s) or self._ended:
            return False
        self._wanted.clear()
        return True

    def released(self) -> None:
        """Want the next frame."""
        self._wanted.set()

    def end(self) -> None:
        """Wake whoever waits, for good."""
        self._ended = True
        self._wanted.set()


def _timetable(plan: float | Sequence[float], start_s: float) -> Timetable:
    return Schedule(plan, start_s) if isinstance(plan, float | int) else Recording(plan, start_s)


def pace(fps: float) -> Pace:
    """Return the pace for `fps` frames a second; 0 means as fast as they are read."""
    return Clocked(fps) if fps > 0 else OnDemand()
