"""A video file, at its own rate or as fast as the loop takes it."""

import logging
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Annotated

import cv2
from msgspec import Meta, Struct

from outrider_agent.buffers import Buffers
from outrider_agent.pacing import Pace, pace
from outrider_agent.seams import Context, Frame
from outrider_bundle.errors import OutriderError, UsageError
from outrider_runtime.session import Array

USUAL_FPS = 25.0
CREDIBLE_FPS = (1.0, 240.0)

log = logging.getLogger(__name__)


class VideoOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `[pipelines.source]` may hold.

    Args:
        path: of the file.
        fps: frames a second; left out for the file's own rate, 0 for as fast as the loop takes them.
        loop: start again after the last one.
    """

    path: str
    fps: Annotated[float, Meta(ge=0.0, le=1000.0)] | None = None
    loop: bool = False


class VideoSource:
    """Yields the frames that can be decoded; how many a file declares is not believed."""

    Options = VideoOptions

    def __init__(self, options: VideoOptions, context: Context) -> None:
        """Look for the file.

        Raises:
            UsageError: there is none, or it is no video.
        """
        self._path = Path(options.path)
        self._pipeline = context.pipeline
        self._loop = options.loop
        self._capture = self._open()
        fps = _credible(self._capture.get(cv2.CAP_PROP_FPS)) if options.fps is None else options.fps
        self._pace: Pace = pace(fps)
        self._buffers = Buffers()
        self._seq = count()

    def frames(self, wait_s: float) -> Iterator[Frame | None]:
        """Yield a frame when it is due, None while it is not.

        Raises:
            OutriderError: not one frame can be decoded.
        """
        try:
            while True:
                decoded = 0
                while (image := self._read()) is not None:
                    while not self._pace.enter(wait_s):
                        if self._pace.ended:
                            return
                        yield None
                    yield self._frame(image, decoded)
                    decoded += 1
                if not decoded:
                    raise OutriderError(f"Not one frame of {self._path} can be decoded")
                if not self._loop:
                    return
                self._capture.release()
                self._capture = self._open()
        finally:
            self._capture.release()

    def close(self) -> None:
        """End the iteration; the thread that reads frees the file."""
        self._pace.end()

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self._path)) if self._path.is_file() else None
        if capture is None or not capture.isOpened():
            raise UsageError(
                f"The pipeline '{self._pipeline}' finds no video at {self._path}",
                "Set 'path' of its source to a video file that OpenCV reads",
            )
        return capture

    def _read(self) -> Array | None:
        found, image = self._capture.read(self._buffers.take())
        return image if found else None

    def _frame(self, image: Array, number: int) -> Frame:
        give = self._buffers.lease(image)

        def release() -> None:
            give()
            self._pace.released()

        name = f"{self._path.stem}-{number}"
        return Frame(id=name, time_s=time.monotonic(), array=image, seq=next(self._seq), release=release)


def _credible(fps: float) -> float:
    """Return a declared rate, or a usual one in the place of one that no camera has."""
    least, most = CREDIBLE_FPS
    if least <= fps <= most:
        return fps
    log.warning("The video declares %g frames a second; taken as %g", fps, USUAL_FPS)
    return USUAL_FPS
