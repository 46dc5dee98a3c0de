"""What the outputs of a model file are: one score for each of the user's classes, or raw."""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from outrider_bundle.errors import DataError, UsageError
from outrider_converter.modelfile import ModelFile

NO_LABELS = "none"
"""What the user gives for names where outputs are raw."""

SCORES = 2
"""Dimensions of one score a class: `(1, N)`."""


def class_names(given: str | None, model: ModelFile, shapes: tuple[tuple[int, ...], ...]) -> tuple[str, ...]:
    """Return the class names; none for raw outputs.

    Args:
        given: a file with one name a line, `none`, or None if the outputs leave no choice.
        model: the file.
        shapes: of its outputs, batch included.

    Raises:
        UsageError: the file of names cannot be read.
        DataError: names and outputs do not fit.
    """
    scores = len(shapes) == 1 and len(shapes[0]) == SCORES
    shown = " and ".join(f"'{p.name}' {s}" for p, s in zip(model.outputs, shapes, strict=True))
    if any(shape[:1] != (1,) for shape in shapes):
        raise DataError(f"The outputs {shown} are not a batch of 1", "Export the model with a batch")
    if given == NO_LABELS:
        return ()
    if given is None:
        return ()  # there is no other choice
    if not scores:
        raise DataError(
            f"The outputs {shown} are not one score a class",
            "Add --labels none for raw outputs, or say what they are with --task",
        )
    if model.sigmoid:
        raise DataError(
            f"The output {shown} is made by a sigmoid, so several classes may be true at once",
            "Take the sigmoid off the model if only one can be, or add --labels none for raw outputs",
        )
    return _names(Path(given), shapes[0][1], shown)


def _names(path: Path, count: int, shown: str) -> tuple[str, ...]:
    """Read as many class names as there are scores."""
    lines = _lines(path)
    if len(lines) != count:
        raise DataError(
            f"{path} has {len(lines)} class names, the output {shown} has {count} numbers",
            "Give one name a line, in the order of the output",
        )
    return check_names(lines, str(path))


def read_names(path: Path) -> tuple[str, ...]:
    """Read names, one a line; lines without a name are allowed at the end.

    Raises:
        UsageError: the file cannot be read.
        DataError: it is empty, or a name is missing or there twice.
    """
    return check_names(_lines(path), str(path))


def _lines(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} cannot be read: {error}", "Name a UTF-8 text with one class name a line"
        ) from error
    while lines and not lines[-1]:
        lines.pop()
    return lines


def check_names(lines: list[str], where: str) -> tuple[str, ...]:
    """Return names if each is there once.

    Raises:
        DataError: they are not.
    """
    if not lines:
        raise DataError(f"{where} has no names", "Give one name a line")
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not line or line in seen:
            what = (
                f"line {number} is the same as line {seen[line]}: '{line}'"
                if line
                else f"line {number} is empty"
            )
            raise DataError(f"{where}: {what}", "Give every class a name of its own")
        seen[line] = number
    return tuple(lines)


def labelled(calibration: Path, names: tuple[str, ...]) -> bool:
    """Whether the samples come with classes: by their folders' names, or by an array y.

    Raises:
        DataError: they do, and there are no class names; or the file cannot be read.
    """
    found = _arrays_of_classes(calibration) if calibration.is_file() else _folders_of_classes(calibration)
    if found and not names:
        raise DataError(
            f"{calibration} holds classes ({', '.join(found[:3])}), but nobody has named the outputs",
            "Add --labels FILE, or give the samples without classes: all in one folder, or no array y",
        )
    return bool(found)


def _folders_of_classes(calibration: Path) -> list[str]:
    place = calibration / "train" if (calibration / "train").is_dir() else calibration
    return sorted(p.name for p in place.iterdir() if p.is_dir() and not p.name.startswith("."))


def _arrays_of_classes(calibration: Path) -> list[str]:
    try:
        with np.load(calibration, allow_pickle=False) as arrays:
            return [name for name in arrays.files if name.split("_")[0] == "y"]
    except (OSError, ValueError, BadZipFile, AttributeError) as error:
        raise DataError(f"{calibration} is no .npz file: {error}", "Write it with numpy.savez") from error
