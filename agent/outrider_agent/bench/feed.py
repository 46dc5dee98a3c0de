"""A source of frames that are there already: blocks of them, each frame when the last one was read."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count

from outrider_agent.seams import Frame
from outrider_bundle.errors import OutriderError
from outrider_runtime.session import Array


class Feed:
    """An in-memory source that measures a block from the end of one frame's preprocessing to another's.

    Both readings are taken where the loop gives a frame back, so exactly as many turns of the loop as asked
    for lie between them, and no wait for the block to begin or to end.

    Args:
        images: given again and again, in order.
    """

    def __init__(self, images: Sequence[Array]) -> None:
        """Wait for the first block."""
        self._images = images
        self._wanted = threading.Lock()  # held while no frame is; the cheapest thing to wait for
        self._wanted.acquire()
        self._ended = False
        self._total = self._read = 0
        self._clock: Callable[[], float] = time.process_time
        self._first_s = self._last_s = 0.0
        self._done = threading.Event()
        self.error: OutriderError | None = None
        """Why the clock could not be read, if that ended the last block."""

    def begin(self, frames: int, clock: Callable[[], float]) -> None:
        """Give `frames` and one more; `clock` returns CPU seconds."""
        self._total, self._read, self._clock = frames + 1, 0, clock
        self.error = None
        self._done.clear()
        self._wanted.release()

    def wait(self, wait_s: float) -> bool:
        """Return whether the block was read, waiting up to `wait_s` for that."""
        return self._done.wait(wait_s)

    @property
    def spent_s(self) -> float:
        """CPU seconds of the last block."""
        return self._last_s - self._first_s

    def frames(self, wait_s: float) -> Iterator[Frame | None]:
        """Yield frames while a block is wanted, None while none is."""
        for number in count():
            while not self._wanted.acquire(timeout=wait_s):
                yield None
            if self._ended:
                return
            yield Frame(
                id=f"frame-{number}",
                time_s=time.monotonic(),
                array=self._images[number % len(self._images)],
                seq=number,
                release=self._released,
            )

    def close(self) -> None:
        """End the iteration."""
        self._ended = True
        with contextlib.suppress(RuntimeError):  # a frame is wanted already
            self._wanted.release()

    def _released(self) -> None:
        """Note that a frame was read; called by the loop."""
        self._read += 1
        last = self._read == self._total
        try:
            if self._read == 1:
                self._first_s = self._clock()
            if last:
                self._last_s = self._clock()
        except OutriderError as error:
            self.error, last = error, True
        if last:
            self._done.set()
        else:
            self._wanted.release()
