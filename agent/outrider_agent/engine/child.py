"""A model in a process of its own: a crash, a hang or a leak there is no end of the agent.

Frames are written straight into memory that the child reads, outputs are read where it wrote them; only
whose turn it is on which slot goes over a socket. What the two say is in `outrider_runtime.child.wire`.
"""

import threading
from collections.abc import Sequence
from time import monotonic

from msgspec import Struct

from outrider_agent.engine import launch
from outrider_agent.engine.channel import NONSENSE, Answered, Channel
from outrider_agent.engine.launch import StarvedError
from outrider_agent.engine.seam import Answer, Plan
from outrider_bundle.errors import EngineError
from outrider_runtime.child import wire
from outrider_runtime.session import Array, Placement


def start(plan: Plan) -> "ChildEngine":
    """Load `plan` in a new process; from any thread.

    Raises:
        SharedError: the runtime wants its device alone.
        EngineError: the process cannot be started or has died, or the model cannot be loaded, not in time, or
            not where it must run (`PlacementError`).
        MissingExtraError: the runtime's library is not installed there.
    """
    try:
        return ChildEngine(launch.launch(plan, polite=plan.polite), plan.hang_s)
    except StarvedError:
        return ChildEngine(launch.launch(plan, polite=False), plan.hang_s)


class _Run(Struct):
    """A run that the child has not answered.

    Args:
        number: of this engine; the caller's `seq` may come again.
        seq: the caller's.
        since_s: when it was submitted, on the monotonic clock.
        hung_s: when the child counts as hung, on the same; None until the run has got a deadline.
    """

    number: int
    seq: int
    since_s: float
    hung_s: float | None = None


class ChildEngine:
    """Runs a model in a child process. `start` and `close` are for any thread, the rest is for one.

    Args:
        launched: the child, with its model loaded.
        hang_s: how long after its deadline a run may still end before the child counts as hung.
    """

    def __init__(self, launched: launch.Launched, hang_s: float) -> None:
        """Take over the child; nothing is allocated by frame."""
        self._process, self._ready = launched.process, launched.ready
        self._channel = Channel(launched.link, launched.process)
        self._inputs, self._outputs, self._hang_s = launched.inputs, launched.outputs, hang_s
        self._runs: dict[int, _Run] = {}
        self._awaited: _Run | None = None
        self._slot = self._number = 0
        self._lock = threading.Lock()  # close must not free what another thread is using

    @property
    def placement(self) -> Placement:
        """Where the session runs."""
        return self._ready.placement

    @property
    def exclusive(self) -> bool:
        """Whether its runtime holds the device alone."""
        return self._ready.exclusive

    @property
    def pid(self) -> int:
        """The child."""
        return self._process.pid

    @property
    def load_s(self) -> float:
        """How long the child took to load, imports included."""
        return self._ready.load_s

    @property
    def abandoned(self) -> bool:
        """Whether `close` could not end the child."""
        return self._process.abandoned

    def slot(self) -> Sequence[Array]:
        """Return the inputs of a slot that no run is using; a run that is not collected is given up.

        With a run in each slot it waits for the older, until that counts as hung.

        Raises:
            GoneError: the child has died, or hangs and was killed.
        """
        with self._lock:
            self._channel.check()
            self._awaited = None
            if self._runs:
                self._make_room()
            self._slot = 0 if 0 not in self._runs else 1
            return self._inputs[self._slot]

    def submit(self, seq: int) -> None:
        """Start a run on the slot that `slot` returned last.

        Raises:
            GoneError: the child has died.
            EngineError: a run is at work on that slot.
        """
        with self._lock:
            self._channel.check()
            if self._slot in self._runs:
                raise EngineError("The slot is in use", "Call slot() before each submit()")
            self._number += 1
            self._awaited = self._runs[self._slot] = _Run(self._number, seq, monotonic())
            self._channel.send(self._number, self._slot)

    def collect(self, deadline_s: float) -> Answer | None:
        """Return the answer to the last `submit`, or None if there is none `deadline_s` after it.

        With a deadline of 0 it does not wait, and the run can be asked for again.

        Raises:
            GoneError: the child has died, or an earlier run hangs and it was killed.
            EngineError: the run failed; the next may not.
        """
        with self._lock:
            run = self._awaited
            if run is None:
                return None
            due_s = run.since_s + deadline_s
            if deadline_s > 0:
                run.hung_s = due_s + self._hang_s
            while True:
                left_s = due_s - monotonic()
                answered = self._receive(self._bounded(left_s))
                if answered is not None and answered.number == run.number:
                    self._awaited = None
                    return self._answer(run, answered, late=0 < deadline_s < monotonic() - run.since_s)
                if answered is None and left_s <= 0:
                    if deadline_s > 0:
                        self._awaited = None
                    return None

    def close(self) -> None:
        """End the child and wait for that, by force if it must be; idempotent.

        One that cannot be killed within 2 s is `abandoned`.
        """
        self._channel.end()
        with self._lock:
            self._channel.close()
            self._inputs = self._outputs = ()
            self._runs.clear()

    def _make_room(self) -> None:
        """Return when a slot is free; the answers to given-up runs are dropped."""
        now_s = monotonic()
        for run in self._runs.values():
            if run.hung_s is None:
                run.hung_s = now_s + self._hang_s
        while self._runs:
            full = len(self._runs) == wire.SLOTS
            if self._receive(self._bounded(self._hang_s if full else 0.0)) is None and not full:
                return

    def _bounded(self, wait_s: float) -> float:
        """Return `wait_s`, or less if the oldest run counts as hung sooner; it is found out here."""
        oldest = next(iter(self._runs.values()))
        if oldest.hung_s is None:
            return max(0.0, wait_s)
        left_s = oldest.hung_s - monotonic()
        if left_s <= 0 and not self._channel.waits():
            waited_s = monotonic() - oldest.since_s
            self._channel.kill(f"The engine hangs: a run has not ended after {waited_s:.2g} s")
        return max(0.0, min(wait_s, left_s))

    def _receive(self, wait_s: float) -> Answered | None:
        """Return the next answer and free its slot; None if none came in time."""
        answered = self._channel.receive(wait_s)
        if answered is not None:
            run = self._runs.pop(answered.slot, None)
            if run is None or run.number != answered.number:
                self._channel.kill(NONSENSE)
        return answered

    def _answer(self, run: _Run, answered: Answered, *, late: bool) -> Answer:
        if answered.failure:
            raise self._channel.error(answered.failure)
        outputs = self._outputs[answered.slot]
        return Answer(seq=run.seq, outputs=outputs, late=late, took_ns=answered.took_ns)
