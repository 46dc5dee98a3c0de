"""A candidate beside the model at work: it sees a share of the live frames, and nothing is decided on it."""

import threading
from time import monotonic_ns

from msgspec import Struct

from outrider_agent.engine.mount import Mounted
from outrider_agent.engine.seam import GoneError
from outrider_bundle.histogram import Histogram
from outrider_runtime.perception import Perception, agreement
from outrider_runtime.session import Array

NS_PER_MS = 1e6


class Record(Struct, frozen=True, kw_only=True):
    """What was seen of a candidate.

    Args:
        frames: it answered, out of `offered`.
        offered: it was given.
        agreement: mean over the frames, 0..1.
        errors: runs that failed or came after the deadline.
        p50_ms: of its runs.
        p95_ms: the same.
    """

    frames: int
    offered: int
    agreement: float
    errors: int
    p50_ms: float
    p95_ms: float


class _Run(Struct):
    """A frame that the candidate has not answered; `late` once that was counted."""

    seq: int
    since_ns: int
    late: bool = False
    theirs: Perception | None = None


class Shadow:
    """Lives in the loop's thread, but for `record`; a candidate's fault is counted and goes no further.

    It has one run at a time: a second would have to wait for the first, and the loop with it.

    Args:
        mounted: the candidate.
        share: of the frames that it is offered, 0..1.
        frames: so many answers and errors, and `finished` is set.
        deadline_s: an answer that comes later counts as an error.
        hang_s: one that has not come so much later still, and the candidate counts as hung.
    """

    def __init__(
        self, mounted: Mounted, share: float, frames: int, deadline_s: float, hang_s: float = 0.5
    ) -> None:
        """Start with nothing seen."""
        self._mounted, self._share, self._frames = mounted, share, frames
        self._deadline_ns, self._hang_ns = int(deadline_s * 1e9), int(hang_s * 1e9)
        self.finished = threading.Event()
        self.gone = self.fault = ""
        self._due = 0.0
        self._run: _Run | None = None
        self._offered = self._errors = 0
        self._agreed = (0, 0.0)  # answers and the sum of their agreement, for `record` in one step
        self._times = Histogram()

    def offer(self, frame: Array, seq: int) -> None:
        """Hand `frame` over if it is its turn and the candidate is idle; it is copied."""
        self._due += self._share
        if self._due < 1.0 or self.gone:
            return
        self._settle()
        if self._run is not None or self.gone:
            return
        self._due %= 1.0
        self._offered += 1
        try:
            self._mounted.ports.write(frame, self._mounted.engine.slot())
            self._run = _Run(seq, monotonic_ns())
            self._mounted.engine.submit(seq)
        except Exception as error:  # noqa: BLE001 - a candidate may fail in any way
            self._failed(error)

    def compare(self, seq: int, perception: Perception) -> None:
        """Note what the model at work has seen in frame `seq`."""
        if self._run is not None:
            if self._run.seq == seq:
                self._run.theirs = perception
            self._settle()

    def record(self) -> Record:
        """Return what was seen so far; from any thread."""
        p50_ns, p95_ns = self._times.copy().quantiles(0.5, 0.95)
        answers, agreed = self._agreed
        return Record(
            frames=answers,
            offered=self._offered,
            agreement=agreed / answers if answers else 0.0,
            errors=self._errors,
            p50_ms=p50_ns / NS_PER_MS,
            p95_ms=p95_ns / NS_PER_MS,
        )

    def _settle(self) -> None:
        """Take the answer if it is there; it counts if the model at work has answered that frame too."""
        run = self._run
        if run is None:
            return
        try:
            answer = self._mounted.engine.collect(0.0)
            if answer is None:
                self._await(run, monotonic_ns() - run.since_ns)
                return
            self._run = None
            perception = self._mounted.ports.decode(answer.outputs)
        except Exception as error:  # noqa: BLE001 - see above
            self._failed(error)
            return
        if run.late:
            return
        took_ns = answer.took_ns or monotonic_ns() - run.since_ns
        if took_ns > self._deadline_ns:
            self._failed("late")
        elif run.theirs is not None:
            self._times.record(took_ns)
            answers, agreed = self._agreed
            self._agreed = answers + 1, agreed + agreement(run.theirs, perception)
            self._count()

    def _await(self, run: _Run, waited_ns: int) -> None:
        """Count a run that has not ended as late, once, and give a candidate up that hangs.

        Raises:
            GoneError: it does.
        """
        if waited_ns > self._deadline_ns + self._hang_ns:
            raise GoneError(f"The engine hangs: a run has not ended after {waited_ns / 1e9:.2g} s")
        if waited_ns > self._deadline_ns and not run.late:
            run.late, self.fault = True, "late"
            self._errors += 1
            self._count()

    def _failed(self, error: object) -> None:
        late, self._run = self._run is not None and self._run.late, None
        self._errors += not late
        self.fault = str(error)
        if isinstance(error, GoneError):
            self.gone = str(error)
        self._count()

    def _count(self) -> None:
        if self.gone or self._agreed[0] + self._errors >= self._frames:
            self.finished.set()
