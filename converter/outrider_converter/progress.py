"""Progress of long work: a seam of two methods, shown by Rich or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Task(Protocol):
    """A running piece of work."""

    def advance(self, count: int = 1, note: str = "") -> None:
        """Say that `count` more units are done; `note` replaces what is shown beside them."""
        ...


class Reporter(Protocol):
    """Where progress goes."""

    def start(self, name: str, total: int) -> Task:
        """Begin a piece of work of `total` units."""
        ...


class _NullTask:
    def advance(self, count: int = 1, note: str = "") -> None:
        """Do nothing."""


class NullReporter:
    """Shows nothing."""

    def start(self, name: str, total: int) -> Task:  # noqa: ARG002 - the seam's signature
        """Return a task that shows nothing."""
        return _NullTask()


class _RichTask:
    def __init__(self, bars: Progress, task: int) -> None:
        self._bars, self._task = bars, task

    def advance(self, count: int = 1, note: str = "") -> None:
        """Move the bar."""
        if note:
            self._bars.update(self._task, note=note)  # type: ignore[arg-type]
        self._bars.advance(self._task, count)  # type: ignore[arg-type]


class RichReporter:
    """A bar for each piece of work, one below the other."""

    def __init__(self, bars: Progress) -> None:
        """Draw on `bars`."""
        self._bars = bars

    def start(self, name: str, total: int) -> Task:
        """Add a bar."""
        return _RichTask(self._bars, self._bars.add_task(name, total=total, note=""))


@contextmanager
def bars(console: Console) -> Iterator[Reporter]:
    """Show progress on `console` until the block ends."""
    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(elapsed_when_finished=False),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        yield RichReporter(progress)
