"""Where a frame lies in a model's input, and the way back from there.

Edges of pixels are what is scaled: the point x of the input is (x - left) * frame width / picture width
in the frame, as OpenCV's resizing has it.
"""

from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from outrider_bundle.manifest import Input, Tensor

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
    """From the pixels of a model's input to those of frames of one size."""

    def __init__(self, frame: Size, size: Size, resize: Resize) -> None:
        """Compute shift and scale."""
        picture = place(frame, size, resize)
        self.frame = frame
        self._shift = np.array([picture.left, picture.top] * 2, np.float64).reshape(4, 1)
        self._limit = np.array([frame[1], frame[0]] * 2, np.float64).reshape(4, 1)
        self._scale = self._limit / np.array([picture.width, picture.height] * 2).reshape(4, 1)

    def corners(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return boxes `(4, n)` of centre, width and height as left, top, right and bottom in the frame.

        They are clipped to the frame; of a box outside of it, or of no size, an edge meets its opposite
        or has passed it.
        """
        half = boxes[2:] / 2
        corners = np.concatenate((boxes[:2] - half, boxes[:2] + half))
        corners -= self._shift
        corners *= self._scale
        return np.clip(corners, 0.0, self._limit, out=corners)
