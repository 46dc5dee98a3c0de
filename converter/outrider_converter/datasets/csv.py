"""Tables with a header: a row is a sample, or a window of rows is."""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from outrider_bundle.errors import DataError, UsageError
from outrider_converter.datasets import classes
from outrider_converter.datasets.loaded import Loaded, take
from outrider_converter.datasets.split import by_group, draw
from outrider_converter.datasets.windows import cut, stretches
from outrider_converter.recipe import DataOptions, Recipe


class Table(Struct, frozen=True, kw_only=True):
    """The rows of all files, one below the other.

    Args:
        values: float32 `(rows, columns)`.
        targets: the class of each row, as text; empty without such a column.
        groups: the group of each row; empty without such a column.
        files: the number of each row's file.
    """

    values: NDArray[np.float32]
    targets: tuple[str, ...]
    groups: tuple[str, ...]
    files: NDArray[np.int64]


def load(recipe: Recipe, folder: Path, names: tuple[str, ...]) -> Loaded:
    """Read the files of `data.csv`.

    Args:
        recipe: tells files, columns, windows and how to divide.
        folder: the recipe's.
        names: of the classes, if the recipe tells them; else those in the column `target`, in order.

    Raises:
        UsageError: groups are named, and no column of them.
        DataError: a file or column is missing, or a cell of a numeric column is no finite number.
    """
    options = recipe.data
    if options.group is None and (options.validation_groups or options.test_groups):
        raise UsageError(
            "Groups are named for validation or test, and no column tells them", "Give data.group"
        )
    table = read(_files(folder, options), options)
    labels = None
    if table.targets:
        names = names or classes.found(table.targets)
        labels = classes.encode(table.targets, names, f"Column '{options.target}'")
    frames: NDArray[np.float32] = table.values
    units = first = np.arange(len(frames))
    if options.window is not None:
        keys = (table.files, _numbers(table.groups), labels)
        runs = stretches([key for key in keys if key is not None], options.window)
        frames, first, units = cut(table.values, runs, options.window)
        labels = None if labels is None else labels[first]
    if table.groups:
        rows = by_group([table.groups[row] for row in first], options, recipe.seed)
    else:
        shares = {"validation": options.validation, "test": options.test}
        rows = draw(units, units * 0 if labels is None else labels, shares, recipe.seed)
    return Loaded(classes=names, parts={part: take((frames, labels), row) for part, row in rows.items()})


def _files(folder: Path, options: DataOptions) -> list[Path]:
    pattern = folder / (options.csv or "")
    root = Path(pattern.anchor)
    found = sorted(path for path in root.glob(str(pattern.relative_to(root))) if path.is_file())
    if not found:
        raise DataError(f"There is no file {options.csv}", options.cure or "Correct data.csv")
    return found


def _numbers(values: Sequence[str]) -> NDArray[np.int64] | None:
    return np.unique(np.array(values), return_inverse=True)[1].astype(np.int64) if values else None


def read(paths: Sequence[Path], options: DataOptions) -> Table:
    """Read files of the same columns.

    Raises:
        DataError: see `load`.
    """
    columns = options.columns
    rows: list[tuple[list[float], str, str, int]] = []
    for number, path in enumerate(paths):
        for line, row in _lines(path):
            columns = columns or _numeric(row, options, path)
            _check_columns(row, (*columns, *_marks(options)), path)
            values = [_number(row, name, path, line) for name in columns]
            target, group = (row[name].strip() if name else "" for name in (options.target, options.group))
            if options.target and not target:
                raise DataError(
                    f"Row {line} of {path} has nothing in the column '{options.target}'",
                    "Give its class, or remove the row",
                )
            rows.append((values, target, group, number))
    if not rows:
        raise DataError(f"{paths[0]} holds no rows", "Give a header and at least one row")
    numbers, targets, groups, files = zip(*rows, strict=True)
    return Table(
        values=np.array(numbers, np.float32),
        targets=targets if options.target else (),
        groups=groups if options.group else (),
        files=np.array(files, np.int64),
    )


def _lines(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each row by column, and the number of its line."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, strict=True, skipinitialspace=True)
            header = next(reader, [])
            _check_header(header, path)
            for cells in reader:
                if not cells:
                    continue  # an empty line
                if len(cells) != len(header):
                    raise DataError(
                        f"Row {reader.line_num} of {path} has {len(cells)} cells, its header {len(header)}",
                        "Correct the row",
                    )
                yield reader.line_num, dict(zip(header, cells, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path} cannot be read: {error}", "Save it as CSV in UTF-8, with a header"
        ) from error


def _marks(options: DataOptions) -> tuple[str, ...]:
    return tuple(name for name in (options.target, options.group) if name is not None)


def _check_header(header: Sequence[str], path: Path) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"{path} has the column '{twice[0]}' twice", "Give every column a name of its own")


def _numeric(row: Mapping[str, str], options: DataOptions, path: Path) -> tuple[str, ...]:
    """Return the columns whose first cell is a number, without class and group."""
    found = tuple(name for name in row if name not in _marks(options) and _is_number(row[name]))
    if not found:
        raise DataError(f"{path} has no column of numbers", "Name them in data.columns")
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_columns(row: Mapping[str, str], wanted: Sequence[str], path: Path) -> None:
    absent = [name for name in wanted if name not in row]
    if absent:
        raise DataError(f"{path} has no column '{absent[0]}'", f"It has: {', '.join(row)}")


def _number(row: Mapping[str, str], column: str, path: Path, line: int) -> float:
    text = row[column]
    value = float(text) if _is_number(text) else math.nan
    if not math.isfinite(value):
        raise DataError(
            f"Row {line} of {path} has '{text}' in column '{column}', which is no finite number",
            "Correct or remove the row, or leave the column out of data.columns",
        )
    return value
