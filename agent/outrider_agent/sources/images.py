"""A folder of images, as a camera that takes them one after another."""

import logging
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Annotated

import cv2
from msgspec import Meta, Struct

from outrider_agent.pacing import pace
from outrider_agent.seams import Context, Frame
from outrider_bundle.errors import OutriderError, UsageError
from outrider_runtime.session import Array

SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})

log = logging.getLogger(__name__)


class ImagesOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `[pipelines.source]` may hold.

    Args:
        path: of the folder; png and jpg files are taken in the order of their names.
        fps: frames a second; 0 for as fast as the loop takes them.
        loop: start again after the last one.
    """

    path: str
    fps: Annotated[float, Meta(ge=0.0, le=1000.0)] = 10.0
    loop: bool = False


class ImagesSource:
    """Yields one frame per file, called like the file without its suffix."""

    Options = ImagesOptions

    def __init__(self, options: ImagesOptions, context: Context) -> None:
        """List the files.

        Raises:
            UsageError: there are none.
        """
        folder = Path(options.path)
        self._files = sorted(p for p in folder.glob("*") if p.suffix.lower() in SUFFIXES)
        if not self._files:
            raise UsageError(
                f"The pipeline '{context.pipeline}' finds no images in {folder}",
                "Set 'path' of its source to a folder with png or jpg files",
            )
        self._loop = options.loop
        self._pace = pace(options.fps)
        self._seq = count()

    def frames(self, wait_s: float) -> Iterator[Frame | None]:
        """Yield a frame when it is due, None while it is not.

        Raises:
            OutriderError: not one of the files can be read.
        """
        while True:
            read = 0
            for file in self._files:
                image = _read(file)
                if image is None:
                    continue
                while not self._pace.enter(wait_s):
                    if self._pace.ended:
                        return
                    yield None
                read += 1
                yield self._frame(file.stem, image)
            if not read:
                raise OutriderError(f"None of the images in {self._files[0].parent} can be read")
            if not self._loop:
                return

    def close(self) -> None:
        """End the iteration."""
        self._pace.end()

    def _frame(self, name: str, image: Array) -> Frame:
        now_s = time.monotonic()
        return Frame(id=name, time_s=now_s, array=image, seq=next(self._seq), release=self._pace.released)


def _read(file: Path) -> Array | None:
    """Return gray or BGR pixels with 8 bits, whatever the file has; None if it is none."""
    image = cv2.imread(str(file), cv2.IMREAD_ANYCOLOR)
    if image is None:
        log.warning("%s cannot be read as an image and is left out", file)
    return image
