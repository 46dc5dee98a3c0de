"""Data in three parts, checked before anything is computed."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from torch import Tensor

from outrider_bundle.errors import DataError, UsageError
from outrider_bundle.manifest import ImagePreprocess
from outrider_converter import loading, tasks
from outrider_converter.datasets import classes, csv, npz
from outrider_converter.datasets import folder as folders
from outrider_converter.datasets.loaded import UNLABELLED, Loaded
from outrider_converter.recipe import DataOptions, Recipe
from outrider_converter.tasks import Metric
from outrider_converter.tensors import logical_input, prepare

PARTS = ("train", "validation", "test")
OF_TABLES = ("columns", "target", "group", "window", "validation_groups", "test_groups")
"""Keys of the recipe's data that only CSV files have."""

Frames = NDArray[Any]


class Split(Struct, frozen=True, kw_only=True):
    """Frames as a camera gives them, the same for torch, and their classes `(n,)` int64, -1 for unknown."""

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
    """Training data, data to decide with, data to report on, and the class names.

    `metric` is what variants are judged by: the share of right answers (accuracy), of answers equal to the
    teacher's (agreement) where validation and test have no labels, or, where there are not even class
    names, the cosine to the teacher's outputs; all classes are 0 then. Numbers and objects are compared with
    the teacher's (r2, dice), and have no classes either.
    """

    name: str
    labels: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    metric: Metric = "accuracy"


def load_dataset(recipe: Recipe, folder: Path) -> Dataset:
    """Load and check the data a recipe names.

    Unlabelled samples have the class -1: in training for good, in validation and test until the teacher
    has answered (`reference.answered`).

    Raises:
        UsageError: keys of the recipe's data contradict one another.
        DataError: it cannot be loaded or does not fit the recipe.
    """
    options = recipe.data
    kind, loader = _source(options)
    found = loader(recipe, folder, tasks.action_names(recipe.output) or classes.told(options, folder))
    told = tasks.metric_of(recipe.output)
    names = () if told else found.classes
    if told:
        _check_unlabelled(recipe, found)
    splits = {part: _split(part, found.parts[part], recipe, len(names)) for part in PARTS}
    return Dataset(
        name=options.name or str(getattr(options, kind)),
        labels=names,
        metric=told or _metric(splits, names),
        **splits,
    )


def _source(options: DataOptions) -> tuple[str, Callable[[Recipe, Path, tuple[str, ...]], Loaded]]:
    """Return which key tells the data, and what loads it."""
    loaders = {"callable": _called, "folder": folders.load, "npz": npz.load, "csv": csv.load}
    kind = next(name for name in loaders if getattr(options, name) is not None)
    default = DataOptions()
    misplaced = [name for name in OF_TABLES if getattr(options, name) != getattr(default, name)]
    if misplaced and kind != "csv":
        raise UsageError(
            f"data.{misplaced[0]} is for tables, and the data comes from data.{kind}", "Leave it out"
        )
    return kind, loaders[kind]


def _called(recipe: Recipe, folder: Path, names: tuple[str, ...]) -> Loaded:
    """Load what the user's own function returns."""
    options = recipe.data
    parts = loading.call(options.callable or "", folder, options.cure)
    if not isinstance(parts, Mapping) or set(PARTS) - set(parts):
        raise DataError(
            f"'{options.callable}' does not return the parts {', '.join(PARTS)}",
            "Return a dictionary of three pairs (frames, labels)",
        )
    return Loaded(classes=names, parts={part: parts[part] for part in PARTS})


def _check_unlabelled(recipe: Recipe, found: Loaded) -> None:
    """Refuse labels that nothing would be done with."""
    for part, pair in found.parts.items():
        if isinstance(pair, tuple | list) and len(pair) == 2 and pair[1] is not None:  # noqa: PLR2004 - a pair
            raise DataError(
                f"The {part} data has labels, and the task {recipe.task} is learned from its teacher alone",
                "Give None for labels, or samples without classes",
            )


def _metric(splits: Mapping[str, Split], names: tuple[str, ...]) -> Metric:
    """Return what the data allows to judge by."""
    if not names:
        return "cosine"
    bare = [part for part in ("validation", "test") if UNLABELLED in splits[part].labels]
    if len(bare) == 1:
        raise DataError(
            f"The {bare[0]} data has no labels, and validation and test must be alike",
            "Label both or neither",
        )
    return "agreement" if bare else "accuracy"


def _split(part: str, pair: object, recipe: Recipe, classes: int) -> Split:
    """Check one part and prepare it."""
    if not isinstance(pair, tuple | list) or len(pair) != 2:  # noqa: PLR2004 - a pair
        raise DataError(f"The {part} data is not a pair (frames, labels)", "Return one pair for each part")
    try:
        frames = np.asarray(pair[0])
    except ValueError as error:
        raise DataError(f"The {part} frames are not all of one shape", "Bring them to one size") from error
    if frames.ndim == 0 or len(frames) == 0:
        raise DataError(f"The {part} data is empty", "Give every part at least one sample")
    labels = _labels(part, pair[1], len(frames), classes)
    _check_frames(part, frames, recipe)
    return Split(frames=frames, prepared=prepare(frames, logical_input(recipe)), labels=labels)


def _labels(part: str, given: object, count: int, classes: int) -> NDArray[np.int64]:
    """Return the class of each of `count` frames, -1 for unknown, 0 where there are no classes."""
    if given is None:
        return np.full(count, UNLABELLED if classes else 0, np.int64)
    try:
        labels = np.asarray(given)
    except ValueError as error:
        raise DataError(f"The {part} labels are not all of one shape", "Give one number a frame") from error
    if labels.shape != (count,):
        raise DataError(
            f"The {part} data has {count} frames and labels of shape {labels.shape}", "Give one label a frame"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"The {part} labels are {labels.dtype}", "Give class numbers as integers")
    if not classes:
        raise DataError(
            f"The {part} data has labels, and there are no class names",
            "Name the classes in data.labels or data.classes, or give None for labels",
        )
    lowest = UNLABELLED if part == "train" else 0
    if labels.min() < lowest or labels.max() >= classes:
        raise DataError(
            f"The {part} labels reach from {labels.min()} to {labels.max()}, there are {classes} class names",
            "Number the classes from 0 and name every one in data.labels; -1 is unlabelled, in training only",
        )
    return labels.astype(np.int64)


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
