"""What other threads want done in one thread."""

import logging
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

from outrider_bundle.errors import OutriderError

T = TypeVar("T")

WAIT_S = 0.5


class Tasks:
    """A queue with one end for many threads and one for the thread that does them.

    Args:
        log: told of tasks that fail in a way of their own.
    """

    def __init__(self, log: logging.Logger) -> None:
        """Start empty."""
        self._log = log
        self._queue: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._ended = threading.Event()

    @property
    def stopped(self) -> bool:
        """Whether nothing more is done."""
        return self._ended.is_set()

    def stop(self) -> None:
        """Let nothing more be done: who waits for a task is told so. Idempotent."""
        self._ended.set()
        self._queue.put(lambda: None)

    def pause(self, wait_s: float) -> None:
        """Wait, less if it is stopped."""
        self._ended.wait(wait_s)

    def put(self, task: Callable[[], object]) -> None:
        """Have `task` done, and do not wait for it."""
        self._queue.put(task)

    def next(self, wait_s: float) -> Callable[[], object] | None:
        """Return the next task, or None if there is none within `wait_s`."""
        try:
            return self._queue.get(timeout=wait_s)
        except Empty:
            return None

    def call(self, task: Callable[[], T]) -> T:
        """Return what `task` returns.

        Raises:
            OutriderError: it failed, or is not waited for any more since all is stopped.
        """
        done = threading.Event()
        results: list[T] = []
        faults: list[OutriderError] = []

        def run() -> None:
            try:
                results.append(task())
            except OutriderError as error:
                faults.append(error)
            except Exception as error:  # noqa: BLE001 - it goes on in the thread that waits
                self._log.exception("The keeper of the model failed; it goes on")
                faults.append(OutriderError(f"The keeper of the model failed: {error!r}"))
            finally:
                done.set()

        self._queue.put(run)
        while not done.wait(WAIT_S):
            if self.stopped:
                raise OutriderError("The agent stops")
        if faults:
            raise faults[0]
        return results[0]
