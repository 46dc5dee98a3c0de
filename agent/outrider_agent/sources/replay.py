"""Recorded pictures or samples out of an array, at their own pace or as fast as the loop takes them."""

import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct

from outrider_agent import arrays
from outrider_agent.pacing import Clocked, Pace, pace
from outrider_agent.seams import Context, Frame
from outrider_bundle.errors import UsageError
from outrider_runtime.session import Array


class ReplayOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `[pipelines.source]` may hold.

    Args:
        path: of a `.npz` or `.npy` file; the latter is read from disk frame by frame.
        key: of the array of frames in a `.npz`; left out for `frames`, or else its only array.
        times: key of an array with the time of each frame in seconds, by which they are replayed.
        fps: frames a second; 0 for as fast as the loop takes them.
        loop: start again after the last one.
    """

    path: str
    key: str = ""
    times: str = ""
    fps: Annotated[float, Meta(ge=0.0, le=10_000.0)] = 0.0
    loop: bool = False

    def __post_init__(self) -> None:
        """Refuse two paces at once."""
        if self.times and self.fps:
            raise ValueError("either times or fps sets the pace, not both")


class ReplaySource:
    """Yields the entries of an array, called by its array `ids` if it has one, else by their number."""

    Options = ReplayOptions

    def __init__(self, options: ReplayOptions, context: Context) -> None:
        """Open the file.

        Raises:
            UsageError: there is none, or it is no recording.
        """
        try:
            self._recording = arrays.read(Path(options.path), options.key, options.times)
        except UsageError as error:
            raise UsageError(
                f"The pipeline '{context.pipeline}' cannot replay: {error.what}", error.cure
            ) from error
        times_s = self._recording.times_s
        self._pace: Pace = pace(options.fps) if times_s is None else Clocked(times_s)
        self._loop = options.loop
        self._seq = count()

    def frames(self, wait_s: float) -> Iterator[Frame | None]:
        """Yield a frame when it is due, None while it is not."""
        while True:
            for name, array in zip(self._recording.names, self._recording.frames, strict=True):
                while not self._pace.enter(wait_s):
                    if self._pace.ended:
                        return
                    yield None
                yield self._frame(name, array)
            if not self._loop:
                return

    def close(self) -> None:
        """End the iteration."""
        self._pace.end()

    def _frame(self, name: str, array: Array) -> Frame:
        return Frame(
            id=name,
            time_s=time.monotonic(),
            # In the machine's own byte order and in one piece; what is so already is not copied.
            array=np.ascontiguousarray(array, array.dtype.newbyteorder("=")),
            seq=next(self._seq),
            release=self._pace.released,
        )
