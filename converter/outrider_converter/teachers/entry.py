"""The input of a teacher's file beside the recipe's: which order of dimensions, how many samples at once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct

from outrider_bundle.errors import DataError

Size = int | None
"""Of a dimension; None if the file leaves it open."""

IMAGE = 4
"""Dimensions of a batch of images."""


class Source(Struct, frozen=True, kw_only=True):
    """A teacher's file and what the recipe says about it.

    Args:
        path: of the file.
        shape: the recipe's input `(1, ...)`, channels before the rest.
        layout: of the file, where the recipe tells it; NHWC also means `(n, time, channels)` of windows.
    """

    path: Path
    shape: tuple[int, ...]
    layout: Literal["NCHW", "NHWC"] | None = None


class Entry(Struct, frozen=True, kw_only=True):
    """How a batch `(n, ...)` of the recipe's becomes the file's.

    Args:
        order: of the dimensions, for `permute`; None leaves them as they are.
        low: fewest samples at once.
        high: most samples at once; None for any number.
        shape: of the file's input for `low` samples.
    """

    order: tuple[int, ...] | None
    low: int
    high: int | None
    shape: tuple[int, ...]


def entry(found: Sequence[Size], source: Source) -> Entry:
    """Return how samples of the recipe fit into a file's input of sizes `found`, batch included.

    Raises:
        DataError: they do not, or two orders are possible and the recipe tells none.
    """
    wanted = source.shape[1:]
    if len(found) != len(source.shape):
        raise _mismatch(found, source)
    plain = tuple(range(len(source.shape)))
    orders = {"NCHW": plain, "NHWC": (0, *plain[2:], 1)}
    fitting = [name for name, order in orders.items() if _fits(found, source.shape, order)]
    if source.layout is not None and len(wanted) > 1:
        fitting = [name for name in fitting if name == source.layout]
    if not fitting:
        raise _mismatch(found, source)
    if len(fitting) > 1 and len(wanted) > 1:
        raise DataError(
            f"The input {shown(found)} of {source.path.name} may have channels first or last",
            'Set teacher.layout = "NCHW" (channels first) or "NHWC" (channels last)',
        )
    order = orders[fitting[0]]
    batch = found[0]
    low = batch or 1
    return Entry(
        order=None if order == plain else order,
        low=low,
        high=batch,
        shape=(low, *(source.shape[place] for place in order[1:])),
    )


def _fits(found: Sequence[Size], wanted: tuple[int, ...], order: tuple[int, ...]) -> bool:
    return all(size in (None, wanted[place]) for size, place in zip(found[1:], order[1:], strict=True))


def _mismatch(found: Sequence[Size], source: Source) -> DataError:
    told = f" as {source.layout}" if source.layout else ""
    return DataError(
        f"The input {shown(found)} of {source.path.name}{told} does not fit input.shape {list(source.shape)}",
        "Correct input.shape" + (" or teacher.layout" if told else ""),
    )


def shown(sizes: Sequence[Size]) -> str:
    """Return sizes for people."""
    return f"({', '.join('?' if size is None else str(size) for size in sizes)})"


def only_input(names: Sequence[str], path: Path) -> None:
    """Refuse a file that has not exactly one input.

    Raises:
        DataError: it has none or several.
    """
    if len(names) != 1:
        raise DataError(
            f"{path.name} has {len(names)} inputs ({', '.join(names) or 'none'}), one is needed",
            "Export the network with a single input",
        )
