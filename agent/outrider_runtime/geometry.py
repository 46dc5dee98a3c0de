"""Where a frame lies in a model's input, and the way back from there.

Edges of pixels are what is scaled: the point x of the input is (x - left) * frame width / picture width
in the frame, as OpenCV's resizing has it.
"""

from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import ImagePreprocess, Input, Tensor
from outrider_runtime.perception import Box

Resize = Literal["stretch", "letterbox"]
Size = tuple[int, int]
"""Height and width."""


class Picture(Struct, frozen=True):
    """The part of a model's input that shows the frame, in pixels."""

    top: int
    left: int
    height: int
    width: int


def sides(one: Input | Tensor) -> tuple[int, ...]:
    """Return channels, height and width of an image tensor; nothing if these are not its dimensions."""
    if one.layout not in {"NCHW", "NHWC"} or len(one.shape) != len(one.layout) or one.shape[0] != 1:
        return ()
    return tuple(one.shape[one.layout.index(letter)] for letter in "CHW")


def place(frame: Size, size: Size, resize: Resize) -> Picture:
    """Return where a frame goes in an input of `size`: everywhere, or centred with its aspect kept."""
    height, width = size
    if resize == "stretch":
        return Picture(0, 0, height, width)
    scale = min(height / frame[0], width / frame[1])
    rows, columns = max(1, round(frame[0] * scale)), max(1, round(frame[1] * scale))
    return Picture((height - rows) // 2, (width - columns) // 2, rows, columns)


class WayBack:
    """From the pixels of a model's input to those of frames of one size.

    What it returns is clipped to the frame; a box outside of it, or of no size, is none.
    """

    def __init__(self, frame: Size, size: Size, resize: Resize) -> None:
        """Compute shift and scale."""
        picture = place(frame, size, resize)
        self.frame = frame
        self.sides = frame[1], frame[0]
        """Width and height of the frame."""
        self._left, self._top = float(picture.left), float(picture.top)
        self._across, self._down = frame[1] / picture.width, frame[0] / picture.height
        self._width, self._height = float(frame[1]), float(frame[0])
        self._shift = np.array([self._left, self._top] * 2).reshape(4, 1)
        self._scale = np.array([self._across, self._down] * 2).reshape(4, 1)
        self._limit = np.array([self._width, self._height] * 2).reshape(4, 1)

    def box(self, left: float, top: float, right: float, bottom: float) -> Box | None:
        """Return left, top, width and height in the frame, or None if there is nothing of it there."""
        left, right = (left - self._left) * self._across, (right - self._left) * self._across
        top, bottom = (top - self._top) * self._down, (bottom - self._top) * self._down
        left, right = max(left, 0.0), min(right, self._width)
        top, bottom = max(top, 0.0), min(bottom, self._height)
        return (left, top, right - left, bottom - top) if left < right and top < bottom else None

    def boxes(self, corners: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return what `box` does of corners `(4, n)`, which are written to, and which of the n are there."""
        corners -= self._shift
        corners *= self._scale
        np.clip(corners, 0.0, self._limit, out=corners)
        there: NDArray[np.bool_] = np.logical_and.reduce(corners[2:] > corners[:2], axis=0)
        corners[2:] -= corners[:2]
        return corners[:, there], there


class Ways:
    """The way back from an input to frames, which all have one size as long as the source does not change."""

    def __init__(self, given: Input) -> None:
        """Begin with frames of the input's own size.

        Raises:
            EngineError: `given` is no image.
        """
        found = sides(given)
        if not isinstance(given.preprocess, ImagePreprocess) or not found:
            raise EngineError("There are boxes in an input that is no image", "Detect on images")
        self.size = found[1], found[2]
        self._resize: Resize = given.preprocess.resize
        self._last = WayBack(self.size, self.size, self._resize)

    def to(self, frame: tuple[int, ...]) -> WayBack:
        """Return the way to a frame of the shape `(h, w, ...)`, or to the input itself without one."""
        size = (frame[0], frame[1]) if frame else self.size
        if self._last.frame != size:
            self._last = WayBack(size, self.size, self._resize)
        return self._last
