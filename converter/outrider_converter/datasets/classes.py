"""Class names: from the recipe, or from what the data calls its classes."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from outrider_bundle.errors import DataError, UsageError
from outrider_converter import loading
from outrider_converter.recipe import DataOptions


def told(options: DataOptions, folder: Path) -> tuple[str, ...]:
    """Return the class names that the recipe tells; none if it tells none.

    Raises:
        UsageError: it tells them twice.
        DataError: what it names is no list of names, or two are the same.
    """
    if options.labels is None:
        return _distinct(options.classes, "data.classes")
    if options.classes:
        raise UsageError("The recipe has both data.labels and data.classes", "Leave one of them out")
    value = loading.load_object(options.labels, folder, options.cure)
    if not isinstance(value, list | tuple) or not value or not all(isinstance(v, str) for v in value):
        raise DataError("data.labels is not a list of class names", "Name a tuple of strings")
    return _distinct(tuple(value), "data.labels")


def _distinct(names: tuple[str, ...], key: str) -> tuple[str, ...]:
    if len(set(names)) != len(names):
        raise DataError(f"{key} holds a name twice", "Give every class a name of its own")
    return names


def found(values: Iterable[str]) -> tuple[str, ...]:
    """Return the names among `values`, in order: as numbers if all of them are, else by the alphabet."""
    names = sorted(set(values))
    try:
        return tuple(sorted(names, key=float))
    except ValueError:
        return tuple(names)


def encode(values: Sequence[str], names: tuple[str, ...], where: str) -> NDArray[np.int64]:
    """Return the class number of each name.

    Raises:
        DataError: one is not among the names.
    """
    places = {name: index for index, name in enumerate(names)}
    strange = found(set(values) - set(places))
    if strange:
        raise DataError(
            f"{where} has the class '{strange[0]}', which is not among the {len(names)} class names",
            "Add it to the class names, or remove its samples",
        )
    return np.array([places[value] for value in values], np.int64)
