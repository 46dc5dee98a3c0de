"""Sources that give so many frames when they are told to, so that two agents take turns on one machine.

    turn-pictures   frames decoded beforehand; answers with the time from a frame to the last action
    turn-video      the agent's own source `video`; answers when the frames were read
    turn-seen       an action that notes when it was reached, to be the last one of `turn-pictures`

They run in the agent's process, which finds them by `install`. Whoever gives turns listens on a Unix socket:
a line with a number there is an order, a line back is the answer.
"""

import select
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from types import TracebackType
from typing import Self

from msgspec import Struct
from msgspec.structs import replace

from outrider_agent.seams import Context, Frame
from outrider_agent.sources.video import VideoOptions, VideoSource
from outrider_bundle.messages.event import Event as Decision
from proofs.agent.video import VIDEO, frames

POINTS = """\
[outrider.sources]
turn-pictures = proofs.loop.turns:PicturesSource
turn-video = proofs.loop.turns:VideoTurnsSource
[outrider.actions]
turn-seen = proofs.loop.turns:SeenAction
"""
IMAGES = 4
PATIENCE_S = 120.0
SEEN: SimpleQueue[int] = SimpleQueue()
"""When the last action was reached, in nanoseconds; the source and the action are in one process."""


class TurnOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where orders come from.

    Args:
        socket: path of the Unix socket.
    """

    socket: str


class NoOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """There are none."""


class Orders:
    """The agent's end of the socket."""

    def __init__(self, path: str) -> None:
        """Connect."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._lines = self._socket.makefile("r")

    def wait(self, wait_s: float) -> int:
        """Return how many frames are wanted; 0 if nothing was said, -1 if nobody is there any more."""
        if not select.select([self._socket], [], [], wait_s)[0]:
            return 0
        return int(self._lines.readline() or -1)

    def answer(self, words: object) -> None:
        """Say that it is done."""
        self._socket.sendall(f"{words}\n".encode())

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


class PicturesSource:
    """Gives a frame when the last action was reached with the one before; answers with the median time."""

    Options = TurnOptions

    def __init__(self, options: TurnOptions, _context: Context) -> None:
        """Decode the frames."""
        self._images, self._orders, self._ended = frames(IMAGES), Orders(options.socket), False

    def frames(self, wait_s: float) -> Iterator[Frame | None]:
        """Yield what is ordered."""
        numbers = count()
        while not self._ended and (wanted := self._orders.wait(wait_s)) >= 0:
            took_ns = []
            for number, _ in zip(numbers, range(wanted), strict=False):
                image = self._images[number % IMAGES]
                begun_ns = time.monotonic_ns()
                yield Frame(id=f"frame-{number}", time_s=begun_ns / 1e9, array=image, seq=number)
                took_ns.append(SEEN.get(timeout=PATIENCE_S) - begun_ns)
            if took_ns:
                self._orders.answer(statistics.median(took_ns) / 1e9)
            yield None

    def close(self) -> None:
        """End the iteration."""
        self._ended = True


class SeenAction:
    """Notes when it was reached."""

    Options = NoOptions

    def __init__(self, _options: NoOptions, _context: Context) -> None:
        """Do nothing."""

    def apply(self, decision: Decision) -> None:
        """Note it."""
        del decision
        SEEN.put(time.monotonic_ns())

    def safe_state(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class VideoTurnsSource:
    """The source `video` as fast as it is read; after so many frames it rests until it is told to go on."""

    Options = TurnOptions

    def __init__(self, options: TurnOptions, context: Context) -> None:
        """Open the video."""
        self._video = VideoSource(VideoOptions(path=str(VIDEO), fps=0.0, loop=True), context)
        self._orders, self._ended = Orders(options.socket), False

    def frames(self, wait_s: float) -> Iterator[Frame | None]:
        """Yield what is ordered; what is decoded is what is yielded."""
        video = self._video.frames(wait_s)
        while not self._ended and (wanted := self._orders.wait(wait_s)) >= 0:
            given, read = 0, Event()
            while given < wanted and not self._ended:
                frame = next(video)
                if frame is not None:
                    given, read = given + 1, Event()
                    frame = replace(frame, release=_both(frame.release, read.set))
                yield frame
            while wanted and not read.wait(wait_s):
                yield None
            if wanted:
                self._orders.answer(given)
            yield None

    def close(self) -> None:
        """End the iteration."""
        self._ended = True
        self._video.close()


def _both(one: Callable[[], object], other: Callable[[], object]) -> Callable[[], None]:
    def release() -> None:
        one()
        other()

    return release


class Turns:
    """The other end of the socket: who gives turns."""

    def __init__(self, path: Path) -> None:
        """Listen."""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.settimeout(PATIENCE_S)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._peer: socket.socket | None = None

    def __enter__(self) -> Self:
        """Do nothing."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hang up; the source has ended with that."""
        for one in (self._peer, self._listener):
            if one is not None:
                one.close()

    def give(self, frames: int) -> float:
        """Order so many frames and return the answer."""
        if self._peer is None:
            self._peer = self._listener.accept()[0]
            self._peer.settimeout(PATIENCE_S)
        self._peer.sendall(f"{frames}\n".encode())
        answer = self._peer.makefile("r").readline()
        if not answer:
            raise RuntimeError("the agent has ended while it was measured")
        return float(answer)


def install(folder: Path) -> Path:
    """Make the plug-ins known to an agent that is given `folder` as `entry_points`; return it."""
    info = folder / "proof_turns-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: proof-turns\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    return folder
