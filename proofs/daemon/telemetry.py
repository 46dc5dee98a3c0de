"""What telemetry costs per frame: metering and one aggregate per interval, over a message per frame.

Both sides go through the same link, with its outbox on a disk, to a real mosquitto, at the pace of a fast
camera. One side counts as the loop does, every stage of every frame, and at the end of its interval makes and
publishes the aggregate, with the board and all histograms. The other publishes what it has measured of each
frame at QoS 1. CPU time is the whole process's: the loop's thread, the link's and the outbox's. What pacing
alone costs is measured in turn with them; it is in both sides of the value, which is the worse for it.
"""

import os
import statistics
import tempfile
import time
from pathlib import Path
from time import monotonic_ns

import msgspec

from outrider_agent.broker import BrokerOptions
from outrider_agent.link import Link
from outrider_agent.telemetry.metrics import STAGES, Meters
from outrider_agent.telemetry.reporter import Reporter, way
from outrider_bundle.bars import Row
from outrider_bundle.messages.codec import encode
from outrider_bundle.messages.state import State
from outrider_bundle.messages.telemetry import Telemetry
from outrider_bundle.topics import Topics
from proofs.agent.daemons import until
from proofs.agent.runs import apart, say
from tests.fakes.broker import Broker, Listener

SCALE = float(os.environ.get("PROOF_SCALE", "1"))
FPS, FRAMES, ROUNDS = 100.0, 500, 8
"""A block is an interval of 5 s, half the usual one."""
LABELS = ("bag", "coat", "boot")
RUN = "0" * 16
TOPICS = Topics("proof", "proof")


class Side:
    """One way to tell of frames: `look` for each, `end` for each block of them."""

    def look(self, frame: int) -> None:
        """Tell of one frame, or nothing."""

    def end(self) -> None:
        """Tell of all since the last time, or nothing."""


class Metered(Side):
    """As the agent does it."""

    def __init__(self, link: Link, state_dir: Path) -> None:
        """Begin the first interval."""
        self._link, self._meters = link, Meters()
        self._reporter = Reporter(RUN, {"proof": self._meters.totals(0)}, state_dir)
        self.sent_bytes = 0

    def look(self, frame: int) -> None:
        """Count the frame, its label and the time of each stage."""
        meters, begun_ns = self._meters, monotonic_ns()
        meters.frames += 1
        for stage in STAGES:
            meters.stages[stage].record(_took(frame, monotonic_ns() - begun_ns))
        meters.saw(LABELS[frame % len(LABELS)])

    def end(self) -> None:
        """Publish the aggregate."""
        totals = {"proof": self._meters.totals(0)}
        told = encode(self._reporter.cut(totals, None, way(self._link.counts, self._link.stored)))
        self.sent_bytes = len(told)
        self._link.publish(TOPICS.telemetry, told, qos=0)


class PerFrame(Side):
    """As it is often done: what is known of a frame is published at once, at QoS 1."""

    def __init__(self, link: Link) -> None:
        """Say nothing yet."""
        self._link = link

    def look(self, frame: int) -> None:
        """Publish the frame, its label and the time of each stage."""
        begun_ns = monotonic_ns()
        times = {stage: _took(frame, monotonic_ns() - begun_ns) / 1e6 for stage in STAGES}
        told = {"run": RUN, "seq": frame, "label": LABELS[frame % len(LABELS)], "times_ms": times}
        self._link.publish(TOPICS.act("proof"), msgspec.json.encode(told), qos=1)


def rows() -> tuple[Row, ...]:
    """Measure `telemetry.cpu`; who listens is in another process than who is measured."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Broker(folder / "broker") as broker, Listener(broker.port) as ears:
            spent, size = apart(__name__, "measured", str(folder), broker.url)
            frames = len(spent["idle"]) * FRAMES
            until(lambda: _single(ears) == frames, "every message of a frame")
            heard = sum(t.pipelines["proof"].frames for t in ears.messages("telemetry", Telemetry))
    return (_row(spent, heard, size),)


def measured(folder: str, url: str) -> tuple[dict[str, list[float]], int]:
    """Return CPU microseconds of a frame by side, and the bytes of the last aggregate."""
    birth = State(status="online", run=RUN, version="0", app="proof", hardware="bench")
    link = Link(BrokerOptions(url=url), TOPICS, birth, lambda *_: None, Path(folder) / "outbox")
    link.start()
    until(lambda: link.up, "a connection")
    metered = Metered(link, Path(folder))
    sides = {"idle": Side(), "metered": metered, "per frame": PerFrame(link)}
    spent: dict[str, list[float]] = {side: [] for side in sides}
    rounds = max(2, round(SCALE * ROUNDS))
    for number in range(rounds):
        say(f"telemetry.cpu: round {number + 1} of {rounds}")
        for side, teller in sides.items():
            spent[side].append(_block_us(teller))
            until(lambda: not link.stored.waiting, "all acknowledged")
    link.stop("the proof ends")
    return spent, metered.sent_bytes


def _row(spent: dict[str, list[float]], heard: int, size: int) -> Row:
    frames = len(spent["idle"]) * FRAMES
    ratios = sorted(m / p for m, p in zip(spent["metered"], spent["per frame"], strict=True))
    idle_us, metered_us, frame_us = (statistics.median(times) for times in spent.values())
    net = (metered_us - idle_us) / (frame_us - idle_us)
    how = (
        f"CPU time of the process per frame, {len(STAGES)} stages metered and an aggregate of {size:,} bytes "
        f"every {FRAMES / FPS:g} s, over one message per frame at QoS 1; the same link, outbox and "
        f"mosquitto, {FPS:g} frames a second, median of {len(ratios)} interleaved blocks of {FRAMES}, from "
        f"{ratios[0]:.3f} to {ratios[-1]:.3f}; here {metered_us:.0f} over {frame_us:.0f} us, of which pacing "
        f"{idle_us:.0f}: {net:.3f} without it; aggregates that arrived told of {heard} of {frames} frames"
    )
    value = statistics.median(ratios) if heard == frames else float("nan")
    return Row(id="telemetry.cpu", value=value, sense="<=", limit=0.25, unit="ratio", how=how)


def _block_us(side: Side) -> float:
    """Return CPU microseconds per frame of one block, at the pace of a camera."""
    begun_s, next_s = time.process_time(), time.monotonic()
    for frame in range(FRAMES):
        next_s += 1 / FPS
        time.sleep(max(0.0, next_s - time.monotonic()))
        side.look(frame)
    side.end()
    return (time.process_time() - begun_s) * 1e6 / FRAMES


def _took(frame: int, more_ns: int) -> int:
    """Return a time such as a stage takes: some milliseconds, never twice the same."""
    return 3_000_000 + (frame * 7919) % 4_000_000 + more_ns


def _single(ears: Listener) -> int:
    return sum(heard.topic == TOPICS.act("proof") for heard in list(ears.heard))
