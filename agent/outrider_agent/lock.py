"""One agent to a state directory: two with one id would push each other off the broker for ever."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from outrider_bundle import atomic
from outrider_bundle.errors import OutriderError, UsageError


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold `folder`, made if it is not there, for this process; the kernel lets go when it ends.

    Raises:
        UsageError: another agent holds it, or it cannot be written to.
    """
    path = folder / "agent.lock"
    try:
        atomic.make_folder(folder)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise UsageError(
            f"The state directory {folder} cannot be used: {error.strerror}", "Set device.state_dir"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise OutriderError(
            f"Another agent runs with the state directory {folder}", "Stop it, or give this one its own"
        ) from error
    finally:
        os.close(descriptor)
