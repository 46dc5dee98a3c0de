"""What the other programs write and the demo reads; fields it has no use for are ignored."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Struct

from outrider_bundle import settings
from outrider_bundle.errors import DataError, UsageError
from outrider_fleet.demo.summary import Teacher, Variant

T = TypeVar("T")


class Truth(Struct, frozen=True, kw_only=True):
    """The images of the sorting line: `labels` by frame id, which is the number in the test set."""

    schema: Literal[1]
    name: str
    test_images: int
    labels: dict[str, str]


class Bins(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Labels by bin."""

    bins: dict[str, tuple[str, ...]]


class Skipped(Struct, frozen=True, kw_only=True):
    """A variant that the agent passed over."""

    variant: str
    reason: str


class AgentReport(Struct, frozen=True, kw_only=True):
    """What the agent says of itself when it ends; `placement` as its runtime reports it."""

    run: str
    frames: int
    dropped: int
    late: int
    decisions: int
    events: int
    p50_ms: float
    p99_ms: float
    variant: str
    placement: str | dict[str, Any]
    exit: int | str = 0
    reconnects: int = 0
    errors: int = 0
    skipped: tuple[Skipped, ...] = ()

    @property
    def where(self) -> str:
        """Where the session ran, in one phrase."""
        if isinstance(self.placement, str):
            return self.placement
        return f"{self.placement.get('device', '?')} ({self.placement.get('backend', '?')})"


class ConverterReport(Struct, frozen=True, kw_only=True):
    """The converter's `report.json`, as far as the demo asks."""

    teacher: Teacher
    variants: tuple[Variant, ...]


Predictions = dict[str, tuple[int, ...]]
"""By variant: the class index of each test image."""


def read(path: Path, kind: type[T]) -> T:
    """Read a JSON document.

    Raises:
        DataError: it is missing or not of this kind.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be used: {error}", "The step that writes it is at fault") from error


def read_bins(path: Path, labels: Iterable[str]) -> dict[str, str]:
    """Return the bin of each label.

    Raises:
        UsageError: the file is missing or wrong, or a label is in no bin or in two.
    """
    table = settings.read(path, Bins, UsageError).bins
    faults = contradictions(table, set(labels))
    if faults:
        raise UsageError(f"{path}: {'; '.join(faults)}", "Put every label of the model into one bin")
    return {label: name for name, group in table.items() for label in group}


def contradictions(table: Mapping[str, Iterable[str]], labels: set[str]) -> list[str]:
    """Return what is wrong with a table of bins."""
    placed = [label for group in table.values() for label in group]
    twice = sorted({label for label in placed if placed.count(label) > 1})
    return [
        *(f"'{label}' is in no bin" for label in sorted(labels - set(placed))),
        *(f"the model has no label '{label}'" for label in sorted(set(placed) - labels)),
        *(f"'{label}' is in two bins" for label in twice),
    ]
