"""How old a frame is when it is decided on: the latest-frame mailbox against a queue of ten.

The same agent both times; only the room between its source and its loop differs. The camera is faster than
the model, as one is that a device can just about follow.
"""

import queue
import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from msgspec.structs import replace

from outrider_agent import fanout
from outrider_agent.bench.feed import Feed
from outrider_agent.bench.setup import NoOptions, Setup, configure
from outrider_agent.mailbox import Mailbox
from outrider_agent.pacing import pace
from outrider_agent.parts import POLICIES, Part, find
from outrider_agent.seams import Frame
from outrider_agent.supervisor import Agent
from outrider_bundle.bars import Row
from outrider_bundle.container import Bundle
from outrider_bundle.messages.event import Event
from outrider_runtime.session import Array
from proofs.agent.runs import apart, bundles
from proofs.agent.video import WORK, frames

ROUNDS = 5
RUN_S, SETTLED_S = 5.0, 1.5
"""How long a run takes; what happened before it had settled is left out."""

FPS = 60.0
ROOM = 10
MODEL = "detector"
MS = 1000.0


class Queue(Mailbox):
    """Room for ten frames, taken in order; one that finds it full is dropped, as capture threads do it."""

    def __init__(self) -> None:
        """Start empty and open."""
        super().__init__()
        self._frames: queue.Queue[Frame | None] = queue.Queue(ROOM)
        self._over = False

    @property
    def ended(self) -> bool:
        """Whether it is closed and the last frame was taken."""
        return self._over and self._frames.empty()

    def put(self, frame: Frame) -> None:
        """Append `frame` if there is room."""
        try:
            self._frames.put_nowait(frame)
        except queue.Full:
            frame.release()

    def take(self, wait_s: float) -> Frame | None:
        """Return the oldest frame, waiting up to `wait_s` for one."""
        if self.ended:
            return None
        try:
            return self._frames.get(timeout=wait_s) if wait_s > 0 else self._frames.get_nowait()
        except queue.Empty:
            return None

    def close(self) -> None:
        """Accept no more frames."""
        self._over = True
        try:
            self._frames.put_nowait(None)  # wakes who waits
        except queue.Full:
            return


class Camera:
    """A source of frames in memory at a steady rate, and an action that sees how old they were."""

    def __init__(self, images: list[Array]) -> None:
        """Start now."""
        self._images, self._pace = images, pace(FPS)
        self._taken: dict[str, float] = {}
        self.seen: list[tuple[float, float]] = []

    def frames(self, wait_s: float) -> Iterator[Frame | None]:
        """Yield frames at `FPS`."""
        for number in count():
            while not self._pace.enter(wait_s):
                if self._pace.ended:
                    return
                yield None
            name, image = f"frame-{number}", self._images[number % len(self._images)]
            self._taken[name] = time.monotonic()
            yield Frame(id=name, time_s=self._taken[name], array=image, seq=number)

    def apply(self, decision: Event) -> None:
        """Note when a frame was decided on and how old it was."""
        now_s = time.monotonic()
        self.seen.append((now_s, now_s - self._taken.pop(decision.frame)))

    def safe_state(self) -> None:
        """There is none."""

    def close(self) -> None:
        """End the iteration."""
        self._pace.end()


def rows() -> tuple[Row, ...]:
    """Measure both in turns."""
    bundles()
    ages, rates = apart(__name__, "measured")
    ours, theirs = (statistics.median(ages[way]) for way in ("latest", "queue"))
    kept = statistics.median(a / b for a, b in zip(rates["latest"], rates["queue"], strict=True))
    rate = statistics.median(rates["latest"])
    how = (
        f"median age at the decision, {MODEL}, a camera of {FPS:g} frames a second, {ROUNDS} interleaved "
        f"runs of {RUN_S:g} s; here {MS * ours:.0f} over {MS * theirs:.0f} ms, at {kept:.3f} of the queue's "
        f"results a second ({rate:.1f})"
    )
    value = ours / theirs if kept >= 0.95 else float("nan")
    return (Row(id="age.latest", value=value, sense="<=", limit=0.3, unit="ratio", how=how),)


def measured() -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return the median ages in seconds and the results a second of each run, by kind of room."""
    ages: dict[str, list[float]] = {"latest": [], "queue": []}
    rates: dict[str, list[float]] = {"latest": [], "queue": []}
    images: list[Array] = [*frames(4)]
    for _ in range(ROUNDS):
        for way, kind in (("latest", Mailbox), ("queue", Queue)):
            fanout.Mailbox = kind
            seen = _run(images)
            begin_s = seen[0][0] + SETTLED_S
            settled = [(at_s, age_s) for at_s, age_s in seen if at_s >= begin_s]
            ages[way].append(statistics.median(age_s for _, age_s in settled))
            rates[way].append((len(settled) - 1) / (settled[-1][0] - settled[0][0]))
    return ages, rates


def _run(images: list[Array]) -> list[tuple[float, float]]:
    """Let an agent look for a while; return when it decided, and how old each frame was."""
    camera, part = Camera(images), NoOptions()
    with tempfile.TemporaryDirectory() as folder:
        setup = Setup(bundle=WORK / f"{MODEL}.orb", images=images, isolation="inline", threads=1)
        with Bundle.open(setup.bundle) as bundle:
            config = configure(setup, bundle.manifest, Feed(images), Path(folder))
        policy, faults = find(POLICIES, {"kind": "rules", "rules": [{"label": "*"}]}, "policy")
        assert policy is not None, faults
        watched = replace(
            config.pipelines[0],
            source=Part(kind="camera", plugin=lambda *_: camera, options=part),
            policy=policy,
            actions=(Part(kind="watch", plugin=lambda *_: camera, options=part),),
        )
        agent = Agent(replace(config, pipelines=(watched,)), "0" * 16)
        agent.start()
        time.sleep(RUN_S)
        agent.stop("measured")
    return camera.seen
