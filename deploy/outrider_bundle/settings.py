"""Settings: TOML into frozen structs, with all faults at once."""

import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from outrider_bundle.errors import OutriderError
from outrider_bundle.faults import find, make

MAX_BYTES = 1 << 20
"""No settings file is longer."""

CURE = "Add or correct the keys named"

S = TypeVar("S", bound=Struct)


def read(path: str | Path, kind: type[S], error: type[OutriderError]) -> S:
    """Read the TOML file `path` as a `kind`; every unknown key is a fault.

    Raises:
        error: it is missing, no TOML, or its values are wrong; the message lists all faults.
    """
    made, faults = convert(table(Path(path), error), kind, "")
    if made is None:
        raise error(summary(str(path), faults), CURE)
    return made


def convert(data: Mapping[str, Any], kind: type[S], where: str) -> tuple[S | None, list[str]]:
    """Return `data` as a `kind` and no fault, or None and all faults, with their paths below `where`."""
    try:
        faults = find(data, kind, where)
        return (None, faults) if faults else (make(data, kind), [])
    except (msgspec.ValidationError, OverflowError, RecursionError) as error:
        return None, [f"{where or 'file'}: {error}"]


def summary(what: str, faults: list[str]) -> str:
    """Return one message for all `faults` of `what`."""
    lines = [unstopped(fault) for fault in faults]
    if len(lines) == 1:
        return f"{what}: {lines[0]}"
    return "\n  ".join([f"{what} has {len(lines)} faults:", *lines])


def unstopped(fault: str) -> str:
    """Return a fault without the full stop that an error's text ends with; more follows it in a message."""
    return fault if fault.endswith("..") else fault.removesuffix(".")


def table(path: Path, error: type[OutriderError]) -> dict[str, Any]:
    """Return the TOML file `path` as it is, for a reader with checks of its own.

    Raises:
        error: it is missing, too long or no TOML.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise error(f"{path} is not a file")
        if status.st_size > MAX_BYTES:
            raise error(f"{path} has {status.st_size} bytes", f"Settings have at most {MAX_BYTES}")
        return tomllib.loads(path.read_bytes().decode())
    except FileNotFoundError as fault:
        raise error(f"There is no file {path}", "Correct the path") from fault
    except OSError as fault:
        raise error(f"{path} cannot be read: {fault.strerror}") from fault
    except UnicodeDecodeError as fault:
        raise error(f"{path} is not UTF-8 at byte {fault.start}") from fault
    except (ValueError, RecursionError) as fault:
        raise error(f"{path} is not TOML: {fault}", "Correct that line") from fault
