"""Labelled data in three parts, checked before anything is computed."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from torch import Tensor

from outrider_bundle.errors import DataError
from outrider_bundle.manifest import ImagePreprocess
from outrider_converter import loading
from outrider_converter.recipe import Recipe
from outrider_converter.tensors import logical_input, prepare

PARTS = ("train", "validation", "test")
Frames = NDArray[Any]


class Split(Struct, frozen=True, kw_only=True):
    """Frames as a camera gives them, the same prepared for torch, and their labels `(n,)` int64."""

    frames: Frames
    prepared: Tensor
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.labels)

    def digest(self) -> str:
        """Return the SHA-256 of frames and labels."""
        digest = hashlib.sha256(f"{self.frames.dtype.str}{self.frames.shape}".encode())
        digest.update(np.ascontiguousarray(self.frames).data)
        digest.update(self.labels.astype("<i8").data)
        return digest.hexdigest()


class Dataset(Struct, frozen=True, kw_only=True):
    """Training data, data to decide with, data to report on, and the class names."""

    name: str
    labels: tuple[str, ...]
    train: Split
    validation: Split
    test: Split


def load_dataset(recipe: Recipe, folder: Path) -> Dataset:
    """Load and check the data a recipe names.

    Raises:
        DataError: it cannot be loaded or does not fit the recipe.
    """
    options = recipe.data
    labels = _labels(loading.load_object(options.labels, folder, options.cure))
    parts = loading.call(options.callable, folder, options.cure)
    if not isinstance(parts, Mapping) or set(PARTS) - set(parts):
        raise DataError(
            f"'{options.callable}' does not return the parts {', '.join(PARTS)}",
            "Return a dictionary of three pairs (frames, labels)",
        )
    splits = {part: _split(part, parts[part], recipe, len(labels)) for part in PARTS}
    return Dataset(name=options.name or options.callable, labels=labels, **splits)


def _labels(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not value or not all(isinstance(v, str) for v in value):
        raise DataError("data.labels is not a list of class names", "Name a tuple of strings")
    if len(set(value)) != len(value):
        raise DataError("data.labels holds a name twice", "Give every class a name of its own")
    return tuple(value)


def _split(part: str, pair: object, recipe: Recipe, classes: int) -> Split:
    """Check one part and prepare it."""
    if not isinstance(pair, tuple | list) or len(pair) != 2:  # noqa: PLR2004 - a pair
        raise DataError(f"The {part} data is not a pair (frames, labels)", "Return one pair for each part")
    frames, labels = np.asarray(pair[0]), np.asarray(pair[1])
    if len(frames) == 0:
        raise DataError(f"The {part} data is empty", "Give every part at least one sample")
    if labels.shape != (len(frames),):
        raise DataError(
            f"The {part} data has {len(frames)} frames and labels of shape {labels.shape}",
            "Give one label a frame",
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"The {part} labels are {labels.dtype}", "Give class numbers as integers")
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f"The {part} labels reach from {labels.min()} to {labels.max()}, there are {classes} class names",
            "Number the classes from 0 and name every one in data.labels",
        )
    _check_frames(part, frames, recipe)
    return Split(
        frames=frames,
        prepared=prepare(frames, logical_input(recipe)),
        labels=labels.astype(np.int64),
    )


def _check_frames(part: str, frames: Frames, recipe: Recipe) -> None:
    """Refuse frames that the input of the recipe cannot take."""
    if isinstance(recipe.input.preprocess, ImagePreprocess):
        if frames.dtype != np.uint8:
            raise DataError(
                f"The {part} frames are {frames.dtype}, images are uint8", "Give pixels as 0 to 255"
            )
        if frames.ndim != 3 and not (frames.ndim == 4 and frames.shape[3] == 3):  # noqa: PLR2004 - n, h, w, bgr
            raise DataError(
                f"The {part} frames have shape {frames.shape}",
                "Give images as (n, h, w) grey or (n, h, w, 3) BGR",
            )
        return
    if not np.issubdtype(frames.dtype, np.number):
        raise DataError(f"The {part} frames are {frames.dtype}", "Give features as numbers")
    if frames.shape[1:] != recipe.input.shape[1:]:
        raise DataError(
            f"The {part} frames have shape {frames.shape[1:]}, the input has {recipe.input.shape[1:]}",
            "Correct input.shape or the data",
        )
    bad = int((~np.isfinite(frames.reshape(len(frames), -1)).all(1)).sum())
    if bad:
        raise DataError(f"{bad} of the {part} frames hold NaN or infinity", "Remove or repair them")
