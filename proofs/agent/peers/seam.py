"""What a compared loop is: a turn for a frame, the same runtime alone, and the CPU time of both."""

import time
from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

MIN_SCORE = 0.25
IOU = 0.45
"""The same for all: what counts as an object, and what as the same one."""

SIZE = 320
"""Side of the model's input, which all fill with a letterbox."""

GRAY = (114, 114, 114)
"""Of its bars."""


class Task(Struct, frozen=True, kw_only=True):
    """What every side is given.

    Args:
        model: path of the ONNX file.
        bundle: the same file as a bundle.
        broker: url of an MQTT broker, for who reports.
        images: how many frames of the video are kept in memory and given again and again.
    """

    model: str
    bundle: str
    broker: str
    images: int = 32


class Order(Struct, frozen=True, kw_only=True):
    """Run `frames` now, through the whole loop or the bare runtime."""

    bare: bool
    frames: int


class Spent(Struct, frozen=True, kw_only=True):
    """The answer to an order.

    Args:
        frame_s: CPU seconds of a frame, all threads.
        objects: found in a frame so far, on average; None from who does not count them.
    """

    frame_s: float
    objects: float | None


class Side(Protocol):
    """One of the compared loops."""

    about: str
    """Library and version."""

    @property
    def objects(self) -> float | None:
        """Objects found in a frame so far, on average; None if it does not count them."""
        ...

    def loop(self, frames: int) -> float:
        """Take `frames` through the loop and return the CPU seconds of one."""
        ...

    def bare(self, frames: int) -> float:
        """Run the model alone `frames` times on an unchanging input; return the CPU seconds of one."""
        ...

    def close(self) -> None:
        """Free everything."""
        ...


class Looped:
    """A side that is a function for a frame and one for a bare run.

    Args:
        about: library and version.
        turn: takes the next frame through the loop and returns how many objects it found.
        run: runs the model once.
    """

    def __init__(self, about: str, turn: Callable[[], int], run: Callable[[], object]) -> None:
        """Start with no frame seen."""
        self.about, self._turn, self._run = about, turn, run
        self._frames = self._found = 0

    @property
    def objects(self) -> float:
        """See `Side`."""
        return self._found / max(1, self._frames)

    def loop(self, frames: int) -> float:
        """See `Side`."""
        turn, found, start_s = self._turn, 0, time.process_time()
        for _ in range(frames):
            found += turn()
        spent_s = time.process_time() - start_s
        self._frames += frames
        self._found += found
        return spent_s / frames

    def bare(self, frames: int) -> float:
        """See `Side`."""
        run, start_s = self._run, time.process_time()
        for _ in range(frames):
            run()
        return (time.process_time() - start_s) / frames

    def close(self) -> None:
        """Do nothing: the process ends."""
