"""A view as it comes through the control socket; see `control.watching.packed`."""

import binascii
import io
from typing import Any

import cv2
import msgspec
import numpy as np
from msgspec import Struct

from outrider_bundle.errors import MessageError
from outrider_runtime.session import Array

CURE = "Use the command line of the agent's own version"


class Received(Struct, frozen=True, kw_only=True):
    """What the agent says of a frame; `data` is its picture as png or jpg, or its numbers as npy."""

    frame: str
    seq: int
    time: str
    time_s: float
    took_ms: float
    perception: dict[str, Any] | None
    decisions: tuple[dict[str, Any], ...]
    why: tuple[str, ...]
    error: str
    format: str
    data: bytes

    def array(self) -> Array:
        """Return the frame itself.

        Raises:
            MessageError: the data is none.
        """
        try:
            if self.format == "npy":
                return np.asarray(np.load(io.BytesIO(self.data), allow_pickle=False))
            picture = cv2.imdecode(np.frombuffer(self.data, np.uint8), cv2.IMREAD_ANYCOLOR)
        except (ValueError, OSError, EOFError, cv2.error) as error:
            raise MessageError(f"The agent sent a frame that cannot be read: {error}", CURE) from error
        if picture is None:
            raise MessageError("The agent sent a picture that cannot be read", CURE)
        return np.asarray(picture)


def received(item: dict[str, Any]) -> Received:
    """Return `item` as a view.

    Raises:
        MessageError: it is none.
    """
    try:
        return msgspec.convert(item, Received)
    except (msgspec.ValidationError, binascii.Error) as error:
        raise MessageError(f"The agent sent no view: {error}", CURE) from error
