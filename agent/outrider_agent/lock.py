"""One agent to a state directory, and to an id at a broker.

Two with one id would push each other off the broker for ever: it ends a session when another client of its
name connects (MQTT 5, 3.1.4).
"""

import contextlib
import fcntl
import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from outrider_agent.config import Config
from outrider_bundle import atomic
from outrider_bundle.errors import OutriderError, UsageError


@contextlib.contextmanager
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


@contextlib.contextmanager
def alone(config: Config) -> Iterator[None]:
    """Hold the device's id at its broker for this process, on this machine; nothing without a broker.

    A name in the abstract namespace of sockets is the kernel's: no file can be left behind or forgotten, and
    it needs no folder that agents of different users share.

    Raises:
        OutriderError: another agent holds it.
    """
    with contextlib.ExitStack() as stack:
        if config.link is not None:
            device, (host, port) = config.device, config.link.address
            name = f"{device.fleet}/{device.id} at {host}:{port}"
            stack.enter_context(_bound(name))
        yield


@contextlib.contextmanager
def _bound(name: str) -> Iterator[None]:
    holder = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with holder:
        try:
            # Hashed, for the kernel takes 107 bytes.
            holder.bind(f"\0outrider-agent-{hashlib.sha256(name.encode()).hexdigest()}")
        except OSError as error:
            raise OutriderError(
                f"Another agent runs as {name}", "Stop it, or give this one its own device.id"
            ) from error
        yield
