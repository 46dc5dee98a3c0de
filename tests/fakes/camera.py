"""A capture device as OpenCV shows one, with a plug that can be pulled."""

from collections.abc import Sequence

import numpy as np

from outrider_runtime.session import Array


class Plug:
    """A camera socket: opens captures, each of which gives `frames[n]` frames and then fails."""

    def __init__(self, frames: Sequence[int], shape: tuple[int, ...] = (12, 16, 3)) -> None:
        """Have one session per entry; 0 is a device that is not there. Later ones are not there either."""
        self._frames = list(frames)
        self._shape = shape
        self.opened: list[Capture] = []
        self.written: list[int] = []

    def __call__(self, _options: object) -> "Capture":
        """Open the device, as `cv2.VideoCapture` would."""
        left = self._frames.pop(0) if self._frames else 0
        capture = Capture(self, left, self._shape)
        self.opened.append(capture)
        return capture


class Capture:
    """One session with the device."""

    def __init__(self, plug: Plug, left: int, shape: tuple[int, ...]) -> None:
        """Give `left` frames."""
        self._plug, self._left, self._shape = plug, left, shape
        self._there = left > 0
        self.released = False

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        """Whether there is a device."""
        return self._there and not self.released

    def read(self, image: Array | None = None, /) -> tuple[bool, Array]:
        """Write the next frame into `image` if it fits, else into a new array."""
        if not self._left:
            return False, np.empty(0, np.uint8)
        self._left -= 1
        if image is None or image.shape != self._shape:
            image = np.empty(self._shape, np.uint8)
        image[...] = len(self._plug.written) % 256
        self._plug.written.append(id(image))
        return True, image

    def release(self) -> None:
        """Close the device."""
        self.released = True
