"""Arrays in an `.npz` file: `x` and `y`, or `x_train`, `y_train`, `x_validation` and so on."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from outrider_bundle.errors import DataError
from outrider_converter.datasets import classes
from outrider_converter.datasets.loaded import Loaded, Pair
from outrider_converter.datasets.split import complete
from outrider_converter.recipe import Recipe

Arrays = Mapping[str, NDArray[Any]]


MOST = 65_536
"""Classes that numbers alone may mean; more are ids or times."""


def load(recipe: Recipe, folder: Path, names: tuple[str, ...]) -> Loaded:
    """Read the file in `data.npz`; nothing in it is unpickled.

    Args:
        recipe: tells the file.
        folder: the recipe's.
        names: of the classes, if the recipe tells them; else they are what `y` holds.

    Raises:
        DataError: the file is missing, broken or without frames, or a class has no name.
    """
    path = folder / (recipe.data.npz or "")
    arrays = _read(path, recipe.data.cure)
    suffixes = {"train": "_train", "validation": "_validation", "test": "_test"}
    if "x_train" not in arrays:
        suffixes = {"train": ""}
    parts: dict[str, Pair] = {}
    for part, suffix in suffixes.items():
        if f"x{suffix}" in arrays:
            parts[part] = _pair(arrays, suffix, path)
    if "train" not in parts:
        raise DataError(
            f"{path.name} holds {', '.join(arrays) or 'nothing'}", "Save the frames as x, or as x_train"
        )
    names, parts = _named(parts, names, path)
    return Loaded(classes=names, parts=complete(parts, recipe.data, recipe.seed))


def _read(path: Path, cure: str) -> Arrays:
    if not path.is_file():
        raise DataError(f"There is no file {path}", cure or "Correct data.npz")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, TypeError, EOFError, BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path} cannot be read: {error}", "Write it with numpy.savez, plain arrays only"
        ) from error


def _pair(arrays: Arrays, suffix: str, path: Path) -> Pair:
    frames, labels = arrays[f"x{suffix}"], arrays.get(f"y{suffix}")
    if frames.ndim == 0:
        raise DataError(f"x{suffix} in {path.name} is a single number", "Save frames as (n, ...)")
    if labels is not None and labels.shape != (len(frames),):
        raise DataError(
            f"{path.name} has {len(frames)} frames in x{suffix}, and y{suffix} has shape {labels.shape}",
            "Give one class a frame",
        )
    return frames, labels


def _named(
    parts: dict[str, Pair], names: tuple[str, ...], path: Path
) -> tuple[tuple[str, ...], dict[str, Pair]]:
    """Return class names and numbers: texts become numbers, and numbers without names get their own."""
    labels = [y for _, y in parts.values() if y is not None]
    if any(y.dtype.kind == "U" for y in labels):
        names = names or classes.found(str(v) for y in labels for v in y)
        texts = {p: (x, y if y is None else [str(v) for v in y]) for p, (x, y) in parts.items()}
        return names, {
            part: (x, None if y is None else classes.encode(y, names, path.name))
            for part, (x, y) in texts.items()
        }
    whole = [y for y in labels if y.dtype.kind in "iu" and len(y)]
    if whole and not names:
        low, high = int(min(y.min() for y in whole)), int(max(y.max() for y in whole))
        if low < 0 or high >= MOST:
            raise DataError(
                f"y in {path.name} reaches from {low} to {high}, and no class has a name",
                "Number the classes from 0, or name them in data.classes; -1 is no label then",
            )
        names = tuple(str(number) for number in range(high + 1))
    return names, parts
