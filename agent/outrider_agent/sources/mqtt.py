"""Samples of sensors that come as MQTT messages, as sliding windows.

What a window is made of, and what becomes of gaps, late samples and duplicates, says `windows`.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from itertools import count
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta, Struct

from outrider_agent.broker import BrokerOptions
from outrider_agent.pacing import OnDemand
from outrider_agent.samples import Layout, Samples
from outrider_agent.seams import Context, Frame
from outrider_agent.subscription import Subscription
from outrider_agent.windows import Counts, Shape, Window, Windows
from outrider_bundle.errors import UsageError

MAX_VALUES = 1 << 24
"""No window has more numbers: 64 MB."""

Field = Annotated[str, Meta(min_length=1, max_length=512)]
Place = Annotated[int, Meta(ge=0, le=65_536)]

log = logging.getLogger(__name__)


class MqttOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `[pipelines.source]` may hold.

    Args:
        topic: filter of the topics where samples come.
        fields: the numbers of a sample in the order of the model's channels; dots lead into nested tables.
        seq: the field with the sample's running number; either it or `time` is needed.
        time: the field with its time in seconds, for samples without a number.
        period_s: seconds from one sample to the next, for `time`.
        window: samples in a window.
        hop: samples from one window to the next.
        layout: of a window: `NTC` has a row for each sample, `NCT` a row for each field, as models that the
            converter makes take it.
        late: how many places a sample may come behind a newer one; so long a missing one is waited for.
        gap: the longest run of missing samples that is filled; no window reaches over a longer one.
        restart: a sample so many places behind the newest says that its sender has started again.
        format: of the messages, each of which is one sample or a list of them.
        queue: how many windows wait for the model before the oldest is dropped.
        broker: where samples come from, if not from the broker of the agent.
    """

    topic: Annotated[str, Meta(min_length=1, max_length=1024)]
    fields: Annotated[tuple[Field, ...], Meta(min_length=1, max_length=4096)]
    seq: Annotated[str, Meta(max_length=512)] = ""
    time: Annotated[str, Meta(max_length=512)] = ""
    period_s: Annotated[float, Meta(ge=0.0, le=86_400.0)] = 0.0
    window: Annotated[int, Meta(ge=1, le=1 << 20)]
    hop: Annotated[int, Meta(ge=1, le=1 << 20)] = 1
    layout: Literal["NTC", "NCT"] = "NTC"
    late: Place = 0
    gap: Place = 0
    restart: Annotated[int, Meta(ge=1, le=1 << 20)] = 1000
    format: Literal["json", "cbor"] = "json"
    queue: Annotated[int, Meta(ge=1, le=65_536)] = 64
    broker: BrokerOptions | None = None

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if bool(self.seq) == bool(self.time):
            raise ValueError("either seq or time must name the field that orders the samples")
        if bool(self.time) != (self.period_s > 0):
            raise ValueError("time needs a period_s greater than 0, and seq needs none")
        if self.restart <= self.late:
            raise ValueError("restart must be greater than late")
        if self.window * len(self.fields) > MAX_VALUES:
            raise ValueError(f"window times the number of fields must be at most {MAX_VALUES}")


class Queue:
    """Windows that wait with the time at which they were complete; the oldest makes room for the newest."""

    def __init__(self, most: int) -> None:
        """Start empty."""
        self._changed = threading.Condition(threading.Lock())
        self._waiting: deque[tuple[float, Window]] = deque(maxlen=most)
        self._closed = False
        self.dropped = 0

    def put(self, at_s: float, window: Window) -> bool:
        """Append a window; False if another one was dropped for it."""
        with self._changed:
            full = len(self._waiting) == self._waiting.maxlen
            self.dropped += full
            self._waiting.append((at_s, window))
            self._changed.notify()
        return not full

    def take(self, wait_s: float) -> tuple[float, Window] | None:
        """Return the oldest, waiting up to `wait_s` for one."""
        with self._changed:
            if not self._waiting and not self._closed:
                self._changed.wait(wait_s)
            return self._waiting.popleft() if self._waiting else None

    def close(self) -> None:
        """Wake whoever waits, for good."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class MqttSource:
    """Yields windows, called by the number or time of their last sample.

    They are float32 `(window, fields)`, with the layout `NCT` `(fields, window)`.

    A window is handed on when the one before was released, so that none is lost to the mailbox. Its
    `time_s` is when the sample came that completed it.
    """

    Options = MqttOptions

    @staticmethod
    def needs_link(options: MqttOptions) -> bool:
        """Whether the agent's own broker is wanted."""
        return options.broker is None

    def __init__(self, options: MqttOptions, context: Context) -> None:
        """Prepare the connection.

        Raises:
            UsageError: there is no broker, or its password or certificates cannot be read.
            MissingExtraError: what reads CBOR is not installed.
        """
        broker = options.broker or context.broker
        self._name = f"the source mqtt of '{context.pipeline}'"
        if broker is None:
            raise UsageError(
                f"There is no broker for {self._name}",
                "Give the source a table 'broker' with a url, or the agent a table [link]",
            )
        layout = Layout(fields=options.fields, seq=options.seq, time=options.time, period_s=options.period_s)
        self._samples = Samples(options.format, layout, self._name)
        self._windows = Windows(_shape(options), len(options.fields))
        self._turned = options.layout == "NCT"
        self._queue = Queue(options.queue)
        self._demand = OnDemand()
        self._seq = count()
        topics = context.topics
        client = f"outrider-{topics.fleet}-{topics.device}-{context.pipeline}-in"
        self._subscription = Subscription(broker, client, options.topic, self._receive)

    @property
    def counts(self) -> Counts:
        """What became of samples so far."""
        return self._windows.counts

    @property
    def dropped(self) -> int:
        """Windows that were dropped because nobody took them in time."""
        return self._queue.dropped

    def frames(self, wait_s: float) -> Iterator[Frame | None]:
        """Yield a window once there is one and the last one was released; only `close` ends it."""
        self._subscription.start()
        wanted = False
        while not self._demand.ended:
            until_s = time.monotonic() + wait_s
            wanted = wanted or self._demand.enter(wait_s)
            ready = self._queue.take(max(0.0, until_s - time.monotonic())) if wanted else None
            if self._demand.ended:
                return
            if ready is None:
                yield None
                continue
            wanted = False
            yield self._frame(*ready)

    def close(self) -> None:
        """End the iteration and the connection; the broker keeps the session."""
        self._demand.end()
        self._queue.close()
        self._subscription.stop()

    def _frame(self, at_s: float, window: Window) -> Frame:
        return Frame(
            id=self._samples.label(window.last),
            time_s=at_s,
            array=np.ascontiguousarray(window.values.T) if self._turned else window.values,
            seq=next(self._seq),
            release=self._demand.released,
        )

    def _receive(self, payload: bytes) -> None:
        """Take a message, in the thread of the subscription."""
        at_s, before = time.monotonic(), self._windows.counts
        for sample in self._samples.read(payload):
            for window in self._windows.add(sample.place, sample.values):
                if not self._queue.put(at_s, window) and self._queue.dropped % 1000 == 1:
                    log.warning("Windows wait too long in %s: %d dropped so far", self._name, self.dropped)
        self._tell(before, self._windows.counts)

    def _tell(self, before: Counts, now: Counts) -> None:
        """Say what a message brought to light; of things that may go on without end only the first."""
        if now.restarts > before.restarts:
            log.warning("The samples for %s are numbered anew", self._name)
        if now.gaps and not before.gaps:
            log.warning(
                "Too many samples in a row are missing for %s; windows leave that place out", self._name
            )
        if now.late and not before.late:
            log.warning("Samples come too late for %s; 'late' may be too small", self._name)


def _shape(options: MqttOptions) -> Shape:
    return Shape(
        window=options.window,
        hop=options.hop,
        late=options.late,
        gap=options.gap,
        restart=options.restart,
        numbered=bool(options.seq),
    )
