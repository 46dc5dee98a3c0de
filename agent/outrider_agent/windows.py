"""Sliding windows over samples that come numbered, late, twice or not at all. Pure: samples in, windows out.

A sample has a place on a grid: its running number, or its time over the period. Places are gone through in
their order. One that is missing is waited for until a sample more than `late` places beyond it is there;
from then on it is closed, and what still comes for it is too late. A run of at most `gap` closed places is
filled by linear interpolation between its neighbours; a longer one ends a stretch. Each stretch has windows
of its own: the first begins with its first sample, the others `hop` places after one another.

A sample `restart` or more places behind the newest begins a new recording: its sender has started again. So
does a numbered one that contradicts what was received for its place, because a message that is delivered
twice is the same message; that is how a sender is noticed that starts again after a few samples.
"""

import numpy as np
from msgspec import Struct

from outrider_runtime.session import Array


class Shape(Struct, frozen=True, kw_only=True):
    """What windows are made of.

    Args:
        window: places in a window.
        hop: places from one window to the next.
        late: how many places a sample may come behind a newer one.
        gap: the longest run of missing samples that is filled.
        restart: samples that many places behind the newest begin a new recording.
        numbered: places are the sender's own numbers; without it they are times, of which two may meet at
            one place, and the first one stays.
    """

    window: int
    hop: int = 1
    late: int = 0
    gap: int = 0
    restart: int = 1000
    numbered: bool = True


class Window(Struct, frozen=True, kw_only=True):
    """A window: float32 `(window, channels)` and the place of its last row."""

    last: int
    values: Array


class Counts(Struct, frozen=True, kw_only=True):
    """What became of samples.

    Args:
        samples: given in.
        twice: dropped because the same one was there already.
        late: dropped because their place was closed.
        filled: places that were filled.
        gaps: runs of missing samples too long to be filled; no window reaches over one.
        restarts: new recordings after the first.
    """

    samples: int = 0
    twice: int = 0
    late: int = 0
    filled: int = 0
    gaps: int = 0
    restarts: int = 0


class Stretch:
    """Rows without a hole, and the windows over them."""

    def __init__(self, shape: Shape, channels: int) -> None:
        """Start with no row."""
        self._window, self._hop = shape.window, shape.hop
        # Twice a window, so that the rows move to the front only once per window.
        self._rows = np.empty((2 * shape.window, channels), np.float64)
        self._end = self._count = 0

    @property
    def last(self) -> Array:
        """The last row."""
        row: Array = self._rows[self._end - 1]
        return row

    def __len__(self) -> int:
        """Return how many rows there were since the last `clear`."""
        return self._count

    def clear(self) -> None:
        """Begin a new stretch."""
        self._end = self._count = 0

    def add(self, row: Array) -> Array | None:
        """Append a row; return the window that it completes, if it does."""
        if self._end == len(self._rows):
            self._rows[: self._window] = self._rows[-self._window :]
            self._end = self._window
        self._rows[self._end] = row
        self._end += 1
        self._count += 1
        over = self._count - self._window
        if over < 0 or over % self._hop:
            return None
        return self._rows[self._end - self._window : self._end].astype(np.float32)


class Windows:
    """Turns samples into windows.

    Args:
        shape: of the windows.
        channels: numbers in a sample.
    """

    def __init__(self, shape: Shape, channels: int) -> None:
        """Start with no sample."""
        self._shape = shape
        self._stretch = Stretch(shape, channels)
        self._waiting: dict[int, Array] = {}  # received, not gone through
        self._past: dict[int, Array] = {}  # received and gone through, not older than `restart`
        self._next = self._newest = 0
        self._begun = False
        self._samples = self._twice = self._late = self._filled = self._gaps = self._restarts = 0

    @property
    def counts(self) -> Counts:
        """What became of samples so far."""
        return Counts(
            samples=self._samples,
            twice=self._twice,
            late=self._late,
            filled=self._filled,
            gaps=self._gaps,
            restarts=self._restarts,
        )

    def add(self, place: int, values: Array) -> list[Window]:
        """Take the sample of `place`, finite float64 `(channels,)`; return what it completes, in order."""
        self._samples += 1
        windows: list[Window] = []
        if self._begun and self._starts_again(place, values):
            windows = self.flush()
            self._restarts += 1
        if not self._begun:
            self._begin(place)
        if place in self._waiting or place in self._past:
            self._twice += 1
        elif place < self._newest - self._shape.late:
            self._late += 1
        else:
            self._waiting[place] = values
            self._newest = max(self._newest, place)
            windows += self._advance(self._newest - self._shape.late)
        return windows

    def flush(self) -> list[Window]:
        """End the recording: return what still waited for a sample; the next one begins another."""
        self._begun = False
        return self._advance(self._newest + 1)

    def _begin(self, place: int) -> None:
        """Begin a recording; samples before its first one may still come."""
        self._begun = True
        self._newest, self._next = place, place - self._shape.late
        self._stretch.clear()
        self._past.clear()

    def _starts_again(self, place: int, values: Array) -> bool:
        if place <= self._newest - self._shape.restart:
            return True
        before = self._waiting.get(place, self._past.get(place))
        return self._shape.numbered and before is not None and not np.array_equal(before, values)

    def _advance(self, open_from: int) -> list[Window]:
        """Go through all places that are received or, before `open_from`, closed."""
        windows: list[Window] = []
        while self._waiting:
            if self._next not in self._waiting:
                later = min(self._waiting)
                if later > open_from:
                    break
                windows += self._pass(later)
            self._past[self._next] = row = self._waiting.pop(self._next)
            windows += self._append(row)
        return windows

    def _pass(self, later: int) -> list[Window]:
        """Fill the places up to `later`, which is received, or begin a stretch there."""
        missing = later - self._next
        if not self._stretch or missing > self._shape.gap:
            self._gaps += bool(self._stretch)
            self._stretch.clear()
            self._next = later
            oldest = later - self._shape.restart
            self._past = {place: row for place, row in self._past.items() if place > oldest}
            return []
        self._filled += missing
        left = self._stretch.last.copy()
        step = (self._waiting[later] - left) / (missing + 1)
        return [window for at in range(missing) for window in self._append(left + (at + 1) * step)]

    def _append(self, row: Array) -> list[Window]:
        """Give the next place its row."""
        place = self._next
        self._next += 1
        self._past.pop(place - self._shape.restart, None)
        values = self._stretch.add(row)
        return [] if values is None else [Window(last=place, values=values)]
