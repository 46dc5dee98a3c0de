"""Samples of sensors as messages hold them: bytes in, numbered rows of numbers out; bad ones are counted."""

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, Literal

import msgspec
import numpy as np
from msgspec import Struct

from outrider_bundle.errors import MissingExtraError
from outrider_runtime.session import Array

MAX_BYTES = 1 << 20
"""No longer message is read."""
LARGEST = float(np.finfo(np.float32).max)
"""Windows are float32."""
FAR = 1 << 62
"""No place is farther from 0."""

Format = Literal["json", "cbor"]

log = logging.getLogger(__name__)


class Layout(Struct, frozen=True, kw_only=True):
    """Where in a message things are; names with dots lead into tables within tables.

    Args:
        fields: the numbers of a sample, in the order of the model's channels.
        seq: a running number; empty if samples have none.
        time: seconds, in place of `seq`.
        period_s: seconds from one sample to the next, for `time`.
    """

    fields: tuple[str, ...]
    seq: str = ""
    time: str = ""
    period_s: float = 0.0


class Sample(Struct, frozen=True):
    """The place of a sample on the grid, and its numbers, float64 `(channels,)`."""

    place: int
    values: Array


class BadError(Exception):
    """A message or sample is of no use; the text is one of a few, fit to be counted by."""


class Samples:
    """Reads messages: each holds one sample or a list of them.

    Times get the places nearest to them on a grid that begins with the first one that comes: were it fixed,
    a sensor whose times lie between two of its places would jump from one to the other.

    Args:
        form: of the messages.
        layout: of a sample.
        name: of the source, for the log.

    Raises:
        MissingExtraError: what reads CBOR is not installed.
    """

    def __init__(self, form: Format, layout: Layout, name: str) -> None:
        """Choose the decoder."""
        self._decode = msgspec.json.decode if form == "json" else _cbor()
        self._form, self._name = form.upper(), name
        self._period_s = layout.period_s
        self._where = (layout.seq or layout.time).split(".")
        self._place = self._number if layout.seq else self._nearest
        self._fields = [field.split(".") for field in layout.fields]
        self._zero_s: float | None = None
        self.bad: Counter[str] = Counter()
        """How many messages and samples were of no use, by reason."""

    def read(self, payload: bytes) -> list[Sample]:
        """Return the good samples of a message, in its order."""
        try:
            held = self._open(payload)
        except BadError as error:
            self.refuse(str(error))
            return []
        return list(self._each(held))

    def refuse(self, reason: str) -> None:
        """Count something that is of no use; the first of each reason is said."""
        self.bad[reason] += 1
        if self.bad[reason] == 1:
            log.warning(
                "A message for %s is dropped: %s; others like it are only counted", self._name, reason
            )

    def label(self, place: int) -> str:
        """Return what the sample of `place` is called: its number, or its time in seconds."""
        if self._zero_s is None:
            return str(place)
        return f"{self._zero_s + place * self._period_s:.6f}"

    def _open(self, payload: bytes) -> list[object]:
        if len(payload) > MAX_BYTES:
            raise BadError(f"it has more than {MAX_BYTES} bytes")
        try:
            held = self._decode(payload)
        except Exception as error:  # a decoder fails in any way on bytes of any kind
            raise BadError(f"it is no {self._form}") from error
        return held if isinstance(held, list) else [held]

    def _each(self, held: list[object]) -> Iterator[Sample]:
        for one in held:
            try:
                values = np.array([_value(_find(one, path), path) for path in self._fields])
                yield Sample(self._place(_find(one, self._where)), values)
            except BadError as error:
                self.refuse(str(error))

    def _number(self, found: object) -> int:
        if isinstance(found, float) and found.is_integer():
            found = int(found)
        if not isinstance(found, int) or isinstance(found, bool) or abs(found) > FAR:
            raise BadError(f"its '{'.'.join(self._where)}' is no running number")
        return found

    def _nearest(self, found: object) -> int:
        time_s = _value(found, self._where)
        if self._zero_s is None:
            self._zero_s = time_s
        place = (time_s - self._zero_s) / self._period_s
        if abs(place) > FAR:
            raise BadError(f"its '{'.'.join(self._where)}' is no time in seconds")
        return round(place)


def _find(table: object, path: Sequence[str]) -> object:
    """Return what is at `path`."""
    for name in path:
        if not isinstance(table, Mapping) or name not in table:
            raise BadError(f"it has no '{'.'.join(path)}'")
        table = table[name]
    return table


def _value(found: object, path: Sequence[str]) -> float:
    if not isinstance(found, int | float) or isinstance(found, bool):
        raise BadError(f"its '{'.'.join(path)}' is no number")
    if isinstance(found, float) and not math.isfinite(found):
        raise BadError(f"its '{'.'.join(path)}' is not finite")
    if abs(found) > LARGEST:
        raise BadError(f"its '{'.'.join(path)}' is too large")
    return float(found)


def _cbor() -> Callable[[bytes], Any]:
    try:
        return import_module("cbor2").loads  # type: ignore[no-any-return]
    except ModuleNotFoundError as error:
        raise MissingExtraError("Samples in CBOR need cbor2, which is not installed", "cbor") from error
