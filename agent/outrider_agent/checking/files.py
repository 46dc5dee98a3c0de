"""Files that a configuration names beside its bundles: are they there, and what they should be?"""

import pwd
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from outrider_agent.broker import BrokerOptions
from outrider_agent.config import Trust
from outrider_bundle import signing
from outrider_bundle.errors import OutriderError
from outrider_bundle.faults import join

SECRETS = ("password_file", "ca", "cert", "key")
"""Files of a broker's options."""


def keys(trust: Trust) -> tuple[list[Path], list[str]]:
    """Return the keys that can be read, and what is wrong with the others."""
    good: list[Path] = []
    faults: list[str] = []
    for at, path in enumerate(trust.keys):
        try:
            signing.public_key(path)
        except OutriderError as error:
            faults.append(f"trust.keys[{at}]: {error}")
        else:
            good.append(path)
    return good, faults


def broker(options: BrokerOptions, where: str) -> Iterator[str]:
    """Yield which files of a broker's options cannot be read."""
    for name in SECRETS:
        path = getattr(options, name)
        if path is not None and (why := unreadable(path)):
            yield f"{join(where, name)}: {why}"


def brokers(options: Struct, where: str) -> Iterator[str]:
    """Yield the same for all brokers within a plug-in's options."""
    for field in msgspec.structs.fields(options):
        value = getattr(options, field.name)
        if isinstance(value, BrokerOptions):
            yield from broker(value, join(where, field.encode_name))


def unreadable(path: Path) -> str:
    """Return why the file `path` cannot be read; empty if it can."""
    try:
        with path.open("rb"):
            return ""
    except FileNotFoundError:
        return f"there is no file {path}"
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"


def known_user(name: str) -> bool:
    """Tell whether this machine has a user `name`."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
