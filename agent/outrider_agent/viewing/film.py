"""A film in real time from views that come when they come."""

import contextlib
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2

from outrider_agent.viewing.annotate import annotated
from outrider_agent.viewing.received import Received
from outrider_bundle import atomic
from outrider_bundle.errors import OutriderError
from outrider_runtime.session import Array

CODEC = "MJPG"


class Film:
    """An AVI file that has its name once it is closed; one without a picture leaves nothing behind.

    A view is shown from its own time on, until the next: a camera that is slower than `fps` makes the same
    picture stand longer, one that is faster is thinned out.

    Args:
        path: of the file.
        fps: pictures a second.
    """

    def __init__(self, path: Path, fps: float) -> None:
        """Open nothing yet: the size is that of the first picture."""
        self._path, self._fps = path, fps
        self._part = path.with_name(f".{path.stem[:64]}.part.avi")
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._first_s = 0.0
        self._last: Array | None = None
        self._shown = 0
        self.seen = 0
        """Views that came."""

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self._shown / self._fps

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; what there is is kept, also when it was interrupted."""
        if self._writer is None:
            return
        self._writer.release()
        try:
            atomic.commit(self._part, self._path)
        except OSError as fault:
            raise atomic.unwritable(self._path, fault) from fault
        finally:
            atomic.discard(self._part)

    def show(self, view: Received) -> None:
        """Add `view`.

        Raises:
            MessageError: its frame cannot be read.
            OutriderError: the file cannot be written.
        """
        picture = annotated(view)
        if self._writer is None:
            self._begin(view, picture)
        if (picture.shape[1], picture.shape[0]) != self._size:
            picture = cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA)
        self.seen += 1
        due = int((view.time_s - self._first_s) * self._fps + 0.5)
        while self._shown < due and self._last is not None:
            self._write(self._last)
        if self._shown == due:
            self._write(picture)
        self._last = picture

    def _write(self, picture: Array) -> None:
        if self._writer is not None:
            self._writer.write(picture)
        self._shown += 1

    def _begin(self, view: Received, picture: Array) -> None:
        self._first_s, self._size = view.time_s, (picture.shape[1], picture.shape[0])
        codec = cv2.VideoWriter.fourcc(*CODEC)
        with contextlib.suppress(OSError):
            self._part.unlink()
        self._writer = cv2.VideoWriter(str(self._part), cv2.CAP_OPENCV_MJPEG, codec, self._fps, self._size)
        if not self._writer.isOpened():
            self._writer = None
            raise OutriderError(
                f"{self._path} cannot be written", "Choose a folder that is there and that you may write to"
            )
