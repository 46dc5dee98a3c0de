"""Image files as frames of one size, made by the code that resizes on the device."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from outrider_bundle.errors import DataError
from outrider_bundle.manifest import ImagePreprocess, Input, Layout, Tensor
from outrider_converter.quiet import quiet
from outrider_runtime.preprocess import preprocessor

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def is_image(path: Path) -> bool:
    """Whether the name is one of an image file that is not hidden."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def read(paths: Sequence[Path], entry: Input) -> NDArray[np.uint8]:
    """Read images and bring them to the size of `entry`, a model's input of images.

    Returns:
        uint8 `(n, h, w)` if the input is gray, else `(n, h, w, 3)` BGR.

    Raises:
        DataError: a file is not an image.
    """
    plan = _plan(entry)
    _, channels, height, width = entry.shape
    gray = channels == 1
    shape = (1, 1, height, width) if gray else (1, height, width, 3)
    layout: Layout = "NCHW" if gray else "NHWC"
    given = Input(name="frame", shape=shape, dtype="uint8", layout=layout, preprocess=plan)
    writer = preprocessor(given, Tensor(name="frame", shape=shape, dtype="uint8", layout=layout))
    frames = np.empty((len(paths), *(shape[2:] if gray else shape[1:])), np.uint8)
    with quiet():  # OpenCV writes warnings about odd files
        for path, frame in zip(paths, frames, strict=True):
            writer.write(_decode(path), frame.reshape(shape))
    return frames


def _plan(entry: Input) -> ImagePreprocess:
    """Return the resizing of `entry`, pixels left as they are."""
    pre = entry.preprocess
    if not isinstance(pre, ImagePreprocess):
        raise DataError("Images are given to an input that is not one", 'Set input.preprocess.kind = "image"')
    return ImagePreprocess(
        color="gray" if pre.color == "gray" else "bgr",
        resize=pre.resize,
        interpolation=pre.interpolation,
        scale=1.0,
    )


def _decode(path: Path) -> NDArray[np.uint8]:
    try:
        raw = np.frombuffer(path.read_bytes(), np.uint8)
        image = cv2.imdecode(raw, cv2.IMREAD_COLOR) if len(raw) else None
    except (OSError, cv2.error) as error:
        raise _unreadable(path) from error
    if image is None:
        raise _unreadable(path)
    return image.astype(np.uint8, copy=False)


def _unreadable(path: Path) -> DataError:
    return DataError(f"{path} is not an image that can be read", "Remove or replace it")
