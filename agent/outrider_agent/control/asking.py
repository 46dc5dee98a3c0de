"""What all commands have in common that ask a running agent: where it is, which pipeline, how to answer."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from outrider_agent import config
from outrider_bundle import settings
from outrider_bundle.errors import UsageError


def state_dir_of(path: Path) -> Path:
    """Return where the agent of a configuration is; its other tables may have faults by now.

    Raises:
        UsageError: the configuration does not say.
    """
    device, faults = settings.convert(
        settings.table(path, UsageError).get("device", {}), config.Device, "device"
    )
    if device is None:
        raise UsageError(settings.summary(str(path), faults), settings.CURE)
    return device.state_dir


def choose(running: Mapping[str, object], name: str) -> str:
    """Return the pipeline that is meant, of those that are `running`.

    Raises:
        UsageError: there is none of that name, or several and no name.
    """
    if name and name not in running:
        there = ", ".join(running) or "none yet"
        raise UsageError(f"The agent has no pipeline '{name}'", f"There are: {there}")
    if not name and len(running) != 1:
        raise UsageError(
            "It is not clear which pipeline is meant", f"Give --pipeline: {', '.join(running) or 'none runs'}"
        )
    return name or next(iter(running))


def show(answer: dict[str, Any], form: Callable[[dict[str, Any]], str], *, as_json: bool) -> None:
    """Print `answer` for people, or for programs."""
    shown = msgspec.json.format(msgspec.json.encode(answer), indent=2).decode() if as_json else form(answer)
    sys.stdout.write(f"{shown}\n")
