"""Trainings that survive being killed: their state on disk, beside the folder of the results.

A state is written whole or not at all. It belongs to one recipe, data and teacher: another key starts anew.
"""

import fcntl
import io
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch

from outrider_bundle import atomic
from outrider_bundle.errors import BudgetError, UsageError

Saved = dict[str, Any]
"""Tensors, numbers, texts, and lists and dictionaries of them."""

INTERVAL_S = 5.0
"""Seconds of training between two states within an epoch: what a kill may cost, and less is no loss."""

SHARE = 20
"""Seconds of training for each second of writing; a large network is saved less often."""


class Checkpoints(Protocol):
    """Keeps the state of each training by its purpose."""

    def load(self, purpose: str) -> Saved | None:
        """Return what was saved last, or None."""
        ...

    def save(self, purpose: str, state: Saved) -> None:
        """Keep `state`."""
        ...

    def due(self) -> bool:
        """Return whether enough has been done since the last `save` to be worth keeping."""
        ...


class NullCheckpoints:
    """Keeps nothing."""

    def load(self, purpose: str) -> Saved | None:  # noqa: ARG002 - the seam's signature
        """Return None."""
        return None

    def save(self, purpose: str, state: Saved) -> None:
        """Do nothing."""

    def due(self) -> bool:
        """Return False."""
        return False


class FolderCheckpoints:
    """One file for each purpose in `folder`."""

    def __init__(
        self,
        folder: Path,
        key: str,
        say: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Forget what lies in `folder` if it is of another key.

        Raises:
            OSError: nothing can be written there.
        """
        self._folder, self._say, self._clock = folder, say, clock
        self._last, self._wait = clock(), INTERVAL_S
        label = folder / "key"
        same = label.is_file() and label.read_bytes() == key.encode()
        for path in folder.iterdir():
            if not same or path.suffix == ".part":  # of a write that was killed
                path.unlink()
        if not same:
            _write(label, key.encode())

    def load(self, purpose: str) -> Saved | None:
        """Return what was saved last; a broken file is set aside and counts as none."""
        path = self._path(purpose)
        if not path.exists():
            return None
        try:
            state: Saved = torch.load(path, weights_only=True)
        except Exception:  # noqa: BLE001 - the library raises whatever the bytes lead it to
            path.replace(path.with_suffix(".broken"))
            self._say(f"{path.name} is broken, set aside; '{purpose}' starts anew")
            return None
        return state

    def save(self, purpose: str, state: Saved) -> None:
        """Write `state` beside the last one, to the disk itself, then replace it.

        Raises:
            OSError: the disk is full; the last state stays.
        """
        start = self._clock()
        memory = io.BytesIO()  # so that a full disk is an OSError, and not torch's own word for it
        torch.save(state, memory)
        _write(self._path(purpose), memory.getbuffer())
        self._last = self._clock()
        self._wait = max(INTERVAL_S, SHARE * (self._last - start))

    def due(self) -> bool:
        """Return whether enough time has passed since the last `save`."""
        return self._clock() - self._last >= self._wait

    def discard(self) -> None:
        """Remove everything; idempotent."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, purpose: str) -> Path:
        return self._folder / f"{re.sub(r'[^A-Za-z0-9.=]+', '-', purpose)}.pt"


@contextmanager
def open_checkpoints(
    out: Path, key: str, say: Callable[[str], object], clock: Callable[[], float] = time.monotonic
) -> Iterator[FolderCheckpoints]:
    """Yield the states of the conversion `key` into `out`; they go once it has come to a verdict.

    After any other error they stay, so that the same command goes on where it was.

    Args:
        out: folder of the results; the states lie beside it.
        key: of recipe, data, teacher and versions.
        say: is told of a broken file.
        clock: seconds, never set back.

    Raises:
        UsageError: another conversion into `out` is running.
    """
    folder = out.parent / f".{out.name}.resume"
    descriptor = _hold(folder, out)
    try:
        kept = FolderCheckpoints(folder, key, say, clock)
        try:
            yield kept
        except BudgetError:
            kept.discard()
            raise
        kept.discard()
    finally:
        if not any(folder.glob("*.pt")):
            shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _hold(folder: Path, out: Path) -> int:
    """Make `folder` and lock it; return what to close to let go. The kernel lets go of a killed process's."""
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:  # its last holder has just removed it
            continue
        except (FileExistsError, PermissionError) as error:
            raise UsageError(f"{folder} cannot be used: {error.strerror}", "Remove it") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise UsageError(
                f"Another conversion into {out} is running", "Wait for its end, or name another folder"
            ) from error
        if folder.exists() and os.path.samestat(os.fstat(descriptor), folder.stat()):
            return descriptor
        os.close(descriptor)


def _write(path: Path, content: bytes | memoryview) -> None:
    part = atomic.begin(path)
    try:
        atomic.write_part(part, [content])
        atomic.commit(part, path)
    finally:
        atomic.discard(part)
