"""A camera, local or on the network; one that goes away is opened again.

OpenCV neither opens nor reads in a way that could be broken off, so all that a camera on the network may take
is `timeout_s`: after `close` the thread that reads ends within that time.
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Annotated, Protocol

import cv2
from msgspec import Meta, Struct

from outrider_agent.backoff import Backoff
from outrider_agent.buffers import Buffers
from outrider_agent.seams import Context, Frame
from outrider_runtime.session import Array

log = logging.getLogger(__name__)


class CameraOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `[pipelines.source]` may hold.

    Args:
        device: number of a local camera, or a URL that OpenCV opens (rtsp, http).
        width: asked of a local camera, in pixels; it may give another.
        height: the same.
        fps: asked of a local camera.
        timeout_s: for opening a URL and for a frame of it; a local camera has a time of its driver's own.
        retry_s: the longest wait between two tries to open it again.
    """

    device: int | str = 0
    width: Annotated[int, Meta(ge=1, le=16384)] | None = None
    height: Annotated[int, Meta(ge=1, le=16384)] | None = None
    fps: Annotated[float, Meta(gt=0.0, le=1000.0)] | None = None
    timeout_s: Annotated[float, Meta(gt=0.0, le=60.0)] = 5.0
    retry_s: Annotated[float, Meta(gt=0.0, le=3600.0)] = 3.0


class Capture(Protocol):
    """What is needed of `cv2.VideoCapture`; tests bring their own."""

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        """Whether frames can be read."""
        ...

    def read(self, image: Array | None = None, /) -> tuple[bool, Array]:
        """Read into `image` if it fits, else into a new array."""
        ...

    def release(self) -> None:
        """Close the device."""
        ...


def open_capture(options: CameraOptions) -> Capture:
    """Open the device with OpenCV; whether that worked is asked of the capture."""
    if isinstance(options.device, str):
        timeout_ms = int(1000 * options.timeout_s)
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeout_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeout_ms]
        return cv2.VideoCapture(options.device, _reader(options.device), limits)
    wanted = {
        cv2.CAP_PROP_FRAME_WIDTH: options.width,
        cv2.CAP_PROP_FRAME_HEIGHT: options.height,
        cv2.CAP_PROP_FPS: options.fps,
        cv2.CAP_PROP_BUFFERSIZE: 1,  # the driver's queue would only make frames older
    }
    capture = cv2.VideoCapture(options.device)
    for key, value in wanted.items():
        if value is not None:
            capture.set(key, value)
    return capture


def masked(device: int | str) -> str:
    """Return what a device is called in logs: without user and password, and what may hold a key."""
    text = re.sub(r"(?<=://).*@", "***@", str(device))
    return re.sub(r"(?<=[?#]).*", "***", text) if "://" in text else text


def _reader(url: str) -> int:
    """Return what OpenCV opens `url` with.

    When it tries one reader after another it takes the URL for the name of an image in the end, and
    complains of that on the standard error, password and all.
    """
    known = cv2.videoio_registry.hasBackend(cv2.CAP_FFMPEG)
    return cv2.CAP_FFMPEG if "://" in url and known else cv2.CAP_ANY


class CameraSource:
    """Yields what the camera gives, called by running number.

    Args:
        options: the table of the configuration.
        context: of the pipeline.
        opener: opens the device.
    """

    Options = CameraOptions

    def __init__(
        self,
        options: CameraOptions,
        context: Context,
        opener: Callable[[CameraOptions], Capture] = open_capture,
    ) -> None:
        """Keep the options; the device is opened by the thread that reads."""
        self._options, self._opener = options, opener
        self._name = f"camera {masked(options.device)} of '{context.pipeline}'"
        self._buffers = Buffers()
        self._seq = count()
        self._end = threading.Event()
        self._backoff = Backoff(min(0.5, options.retry_s), options.retry_s)
        self._missing = False

    def frames(self, wait_s: float) -> Iterator[Frame | None]:
        """Yield frames as they come, None while the camera is away; only `close` ends it."""
        while not self._end.is_set():
            yield from self._session()
            yield from self._rest(self._backoff.delay_s(), wait_s)

    def close(self) -> None:
        """End the iteration; the thread that reads closes the device."""
        self._end.set()

    def _session(self) -> Iterator[Frame | None]:
        """Yield frames until the camera fails."""
        capture = self._opener(self._options)
        try:
            while not self._end.is_set() and capture.isOpened():
                found, image = capture.read(self._buffers.take())
                if not found:
                    break
                self._found()
                release = self._buffers.lease(image)
                yield Frame(
                    id=str(seq := next(self._seq)),
                    time_s=time.monotonic(),
                    array=image,
                    seq=seq,
                    release=release,
                )
        finally:
            capture.release()
        self._lost()

    def _rest(self, rest_s: float, wait_s: float) -> Iterator[None]:
        """Yield None at least every `wait_s` until `rest_s` are over."""
        until_s = time.monotonic() + rest_s
        while (left_s := until_s - time.monotonic()) > 0 and not self._end.wait(min(left_s, wait_s)):
            yield None

    def _found(self) -> None:
        if self._missing:
            log.warning("The %s is back", self._name)
        self._missing = False
        self._backoff.reset()

    def _lost(self) -> None:
        if not self._missing and not self._end.is_set():
            log.warning("The %s gives no frames; trying to open it again", self._name)
        self._missing = True
