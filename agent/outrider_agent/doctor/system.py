"""The system that the agent lives in: who restarts it, and whether its clock can be believed."""

import ctypes
from collections.abc import Callable
from pathlib import Path

from outrider_agent import sysfs
from outrider_agent.doctor.row import Row

TIMEX_BYTES = 512
"""More than `struct timex` has anywhere; all zeros ask and set nothing."""
TIME_ERROR = 5
"""adjtimex(2): the clock is not synchronized."""


def clock() -> int:
    """Return the state of the kernel's clock, as adjtimex(2) does; -1 if it may not be asked."""
    adjtimex = getattr(ctypes.CDLL(None), "adjtimex", None)
    return int(adjtimex(ctypes.create_string_buffer(TIMEX_BYTES))) if adjtimex else -1


def system(root: Path = sysfs.ROOT, ask: Callable[[], int] = clock) -> list[Row]:
    """Return rows for the init system and the clock."""
    return [_init(root), _clock(ask())]


def _init(root: Path) -> Row:
    if (root / "run/systemd/system").is_dir():
        return Row(part="system", name="systemd", state="ok", detail="can start and watch the agent")
    cure = "Have something else start 'outrider agent run' again when it ends"
    return Row(
        part="system", name="systemd", state="missing", detail="this system runs without it", cure=cure
    )


def _clock(state: int) -> Row:
    if state < 0:
        return Row(
            part="system", name="clock", state="problem", detail="the kernel does not say if it is right"
        )
    if state == TIME_ERROR:
        cure = "sudo timedatectl set-ntp true, or sudo apt-get install chrony"
        detail = "not synchronized: certificates may count as expired, and times of events are wrong"
        return Row(part="system", name="clock", state="problem", detail=detail, cure=cure)
    return Row(part="system", name="clock", state="ok", detail="synchronized")
