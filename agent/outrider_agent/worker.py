"""A thread that does what an action was told, so that the loop never waits for the other side.

Jobs wait in a bounded queue: when it is full the oldest one goes. A safe job throws away all that waits,
breaks off the job that runs, and is tried again until it has succeeded or a job ordered after it has. What
went wrong is raised at every order until something succeeds, so that a fault lasts as long as its cause.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import NamedTuple

from outrider_agent.backoff import Backoff
from outrider_bundle.errors import OutriderError

Job = Callable[[threading.Event], None]
"""Is given an event that is set when it has to break off; to raise then is no failure."""

CLOSE_S = 2.0
LEAST_RETRY_S = 0.1
MOST_RETRY_S = 30.0

log = logging.getLogger(__name__)


class FinalError(OutriderError):
    """A job failed, and would fail again."""


class _Turn(NamedTuple):
    """A job as it is run; `order` counts the safe jobs that had been ordered by then."""

    job: Job
    safe: bool
    order: int


def nothing() -> None:
    """Do nothing."""


class Worker:
    """Runs jobs one after another in a daemon thread, which begins with the first.

    Args:
        name: of the thread, and in errors.
        size: how many jobs may wait.
        interrupt: called from any thread to make a job return that waits for the other side; never for a
            safe job.
        release: called by the thread when it ends.
        beat: seconds, and a job that runs whenever nothing else did for so long, but not before the first.
    """

    def __init__(
        self,
        name: str,
        size: int,
        *,
        interrupt: Callable[[], None] = nothing,
        release: Callable[[], None] = nothing,
        beat: tuple[float, Job] | None = None,
    ) -> None:
        """Start with nothing to do."""
        self._name, self._size = name, size
        self._interrupt, self._release, self._beat = interrupt, release, beat
        self._change = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._safe: Job | None = None  # until it has succeeded
        self._safe_due_s = 0.0
        self._order = 0
        self._running: _Turn | None = None
        self._done_s = 0.0
        self._failure: OutriderError | None = None
        self._backoff = Backoff(LEAST_RETRY_S, MOST_RETRY_S)
        self._hurry, self._over = threading.Event(), threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.lost = 0

    def put(self, job: Job) -> None:
        """Queue a job.

        Raises:
            OutriderError: an earlier one failed, or was lost because too many wait.
        """
        with self._change:
            if self._closing:
                raise OutriderError(f"{self._name} is closed")
            full = len(self._waiting) >= self._size
            if full:
                self._waiting.popleft()
                self.lost += 1
            self._waiting.append(job)
            self._wake()
        self.check()
        if full:
            raise OutriderError(
                f"{self._name} is too slow: of what waited, {self.lost} decisions are lost so far",
                "Decide less often, or see what holds up the other side",
            )

    def safe(self, job: Job) -> None:
        """Do `job` before and instead of all that waits; after `close`, nothing.

        Raises:
            OutriderError: an earlier job failed; this one is queued.
        """
        with self._change:
            if self._closing:
                return
            self._waiting.clear()
            self._safe, self._safe_due_s = job, 0.0
            self._order += 1
            self._break_off()
            self._wake()
        self.check()

    def clear(self) -> None:
        """Throw away all that waits; what runs goes on.

        Raises:
            OutriderError: an earlier job failed.
        """
        with self._change:
            self._waiting.clear()
        self.check()

    def check(self) -> None:
        """Raise what went wrong last, if nothing has succeeded since.

        Raises:
            OutriderError: a job failed.
        """
        if (failure := self._failure) is not None:
            raise OutriderError(failure.what, failure.cure)  # a new one: a traceback grows at every raise

    def settle(self, wait_s: float) -> None:
        """Wait until all that was ordered is done.

        Raises:
            OutriderError: it failed, or is not done within `wait_s`.
        """
        with self._change:
            idle = self._change.wait_for(lambda: not (self._safe or self._running or self._waiting), wait_s)
        self.check()
        if not idle:
            raise OutriderError(f"{self._name} has not done what was ordered within {wait_s:g} s")

    def close(self) -> None:
        """Finish what waits within `CLOSE_S`, end the thread; idempotent. What hangs then is left behind."""
        with self._change:
            self._closing = True
            self._change.notify_all()
        if self._thread.ident is None:
            return
        if not self._over.is_set():
            self._thread.join(CLOSE_S)
        with self._change:
            self._over.set()
            self._break_off()
            self._change.notify_all()

    def _wake(self) -> None:
        if self._thread.ident is None:
            self._thread.start()
        self._change.notify_all()

    def _break_off(self) -> None:
        """Make way for the safe job or the end; a safe job itself is not cut short."""
        self._hurry.set()
        if self._running is not None and not self._running.safe:
            self._interrupt()

    def _run(self) -> None:
        try:
            while (turn := self._next()) is not None:
                self._do(turn)
        finally:
            self._release()

    def _next(self) -> _Turn | None:
        """Wait for a job and return it; None at the end."""
        with self._change:
            while not self._over.is_set():
                now = monotonic()
                if turn := self._due(now):
                    self._running = turn
                    return turn
                if self._closing and self._safe is None:
                    return None
                self._change.wait(self._rest_s(now))
        return None

    def _due(self, now: float) -> _Turn | None:
        if self._safe is not None and now >= self._safe_due_s:
            self._hurry.clear()
            return _Turn(self._safe, safe=True, order=self._order)
        if self._waiting:
            return _Turn(self._waiting.popleft(), safe=False, order=self._order)
        if self._beat and self._safe is None and now >= self._done_s + self._beat[0]:
            return _Turn(self._beat[1], safe=False, order=self._order)
        return None

    def _rest_s(self, now: float) -> float | None:
        """Return for how long there is nothing to do; None for as long as nothing is ordered."""
        if self._safe is not None:
            return max(0.0, self._safe_due_s - now)
        return None if self._beat is None else max(0.0, self._done_s + self._beat[0] - now)

    def _do(self, turn: _Turn) -> None:
        failure: OutriderError | None = None
        try:
            turn.job(self._over if turn.safe else self._hurry)
        except OutriderError as error:
            failure = error
        except Exception as error:
            log.exception("%s failed", self._name)
            failure = OutriderError(f"{self._name} failed: {error!r}")
        with self._change:
            self._running = None
            self._done_s = monotonic()
            if failure is None:
                self._succeeded(turn)
            else:
                self._failed(turn, failure)
            self._change.notify_all()

    def _succeeded(self, turn: _Turn) -> None:
        self._failure = None
        if turn.order == self._order:  # what is ordered later holds: a safe job before it is done with
            self._safe = None
            self._backoff.reset()

    def _failed(self, turn: _Turn, failure: OutriderError) -> None:
        if not turn.safe:
            if not self._hurry.is_set():
                self._failure = failure
            return
        self._failure = failure
        if turn.order != self._order:
            return
        if isinstance(failure, FinalError):
            self._safe = None
        else:
            self._safe_due_s = self._done_s + self._backoff.delay_s()
