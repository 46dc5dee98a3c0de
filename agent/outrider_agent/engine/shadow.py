"""A candidate beside the model at work: it sees a share of the live frames, and nothing is decided on it."""

import threading
from time import monotonic_ns

from msgspec import Struct

from outrider_agent.engine.mount import Mounted
from outrider_agent.engine.seam import GoneError
from outrider_agent.telemetry.histogram import Histogram
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
        p50_ms: of its answers, from handing over to the answer.
        p95_ms: the same.
    """

    frames: int
    offered: int
    agreement: float
    errors: int
    p50_ms: float
    p95_ms: float


class Shadow:
    """Lives in the loop's thread, but for `record`; a candidate's fault is counted and goes no further.

    Args:
        mounted: the candidate.
        share: of the frames that it is offered, 0..1.
        frames: so many answers and errors, and `finished` is set.
        deadline_s: an answer that comes later counts as an error.
    """

    def __init__(self, mounted: Mounted, share: float, frames: int, deadline_s: float) -> None:
        """Start with nothing seen."""
        self._mounted, self._share, self._deadline_ns = mounted, share, int(deadline_s * 1e9)
        self._frames = frames
        self.finished = threading.Event()
        self._due = 0.0
        self._waiting: tuple[int, int] | None = None
        self._theirs: Perception | None = None
        self._offered = self._errors = self._answers = 0
        self._agreed = 0.0
        self._times = Histogram()
        self.gone = ""

    def offer(self, frame: Array, seq: int) -> None:
        """Hand `frame` over if it is its turn and the candidate is idle; it is copied."""
        self._due += self._share
        if self._due < 1.0 or self.gone:
            return
        self._settle()
        if self._waiting is not None:
            return
        self._due %= 1.0
        self._offered += 1
        self._theirs = None
        try:
            self._mounted.ports.write(frame, self._mounted.engine.slot())
            self._waiting = seq, monotonic_ns()
            self._mounted.engine.submit(seq)
        except Exception as error:  # noqa: BLE001 - a candidate may fail in any way
            self._failed(error)

    def compare(self, seq: int, perception: Perception) -> None:
        """Note what the model at work has seen in frame `seq`."""
        if self._waiting is not None:
            if self._waiting[0] == seq:
                self._theirs = perception
            self._settle()

    def record(self) -> Record:
        """Return what was seen so far; from any thread."""
        p50_ns, p95_ns = self._times.copy().quantiles(0.5, 0.95)
        return Record(
            frames=self._answers,
            offered=self._offered,
            agreement=self._agreed / self._answers if self._answers else 0.0,
            errors=self._errors,
            p50_ms=p50_ns / NS_PER_MS,
            p95_ms=p95_ns / NS_PER_MS,
        )

    def _settle(self) -> None:
        """Take the answer if it is there; it counts if the model at work has answered that frame too."""
        if self._waiting is None:
            return
        seq, since_ns = self._waiting
        try:
            answer = self._mounted.engine.collect(0.0)
            if answer is None:
                if monotonic_ns() - since_ns > self._deadline_ns:
                    self._failed("late")
                return
            self._waiting = None
            perception = self._mounted.ports.decode(answer.outputs)
        except Exception as error:  # noqa: BLE001 - see above
            self._failed(error)
            return
        if answer.seq == seq and self._theirs is not None:
            self._times.record(answer.took_ns or monotonic_ns() - since_ns)
            self._agreed += agreement(self._theirs, perception)
            self._answers += 1
            self._count()

    def _failed(self, error: object) -> None:
        self._waiting = None
        self._errors += 1
        if isinstance(error, GoneError):
            self.gone = str(error)
        self._count()

    def _count(self) -> None:
        if self.gone or self._answers + self._errors >= self._frames:
            self.finished.set()
