"""Cameras by Video4Linux: what the driver of each device says of itself (V4L2 API, VIDIOC_QUERYCAP)."""

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Callable
from pathlib import Path

from outrider_agent import sysfs
from outrider_agent.doctor.row import Row

CAPABILITY = struct.Struct("=16s32s32s3I12x")
"""`struct v4l2_capability`: driver, card, bus, version, capabilities, those of this very device."""
QUERYCAP = 0x80685600
"""`_IOR('V', 0, struct v4l2_capability)`."""
CAPTURES = 0x00000001 | 0x00001000
"""V4L2_CAP_VIDEO_CAPTURE and its multi-planar kin."""
OWN = 0x80000000
"""V4L2_CAP_DEVICE_CAPS: a driver makes several devices, some of which only bring metadata."""

Query = Callable[[Path], bytes]

PLUG_IN = "Plug one in; a CSI camera must be enabled in the board's configuration"
JOIN = "sudo usermod -aG video $USER, then log in again; in a container pass the device in"


def query(device: Path) -> bytes:
    """Return the `v4l2_capability` of a device.

    Raises:
        OSError: it cannot be opened, or is no video device.
    """
    descriptor = os.open(device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        buffer = bytearray(CAPABILITY.size)
        fcntl.ioctl(descriptor, QUERYCAP, buffer)
        return bytes(buffer)
    finally:
        os.close(descriptor)


def cameras(root: Path = sysfs.ROOT, ask: Query = query) -> list[Row]:
    """Return a row for each camera, and for each video device that does not say if it is one."""
    devices = sysfs.found(root / "dev", "video[0-9]*")
    rows = [row for device in devices if (row := _row(root, device, ask)) is not None]
    if rows:
        return rows
    detail = f"{len(devices)} video devices, none of which captures" if devices else "no /dev/video*"
    return [Row(part="camera", name="V4L2", state="missing", detail=detail, cure=PLUG_IN)]


def _row(root: Path, device: Path, ask: Query) -> Row | None:
    """Return the row of `device`; None if it is something else, like a codec."""
    name = f"/{device.relative_to(root)}"
    called = sysfs.read(root / "sys/class/video4linux" / device.name / "name")
    try:
        driver, card, bus, _, every, own = CAPABILITY.unpack(ask(device))
    except OSError as error:
        cure = JOIN if error.errno in {errno.EACCES, errno.EPERM} else "Unplug it and plug it in again"
        detail = f"{called or 'a video device'}: {error.strerror or error}"
        return Row(part="camera", name=name, state="problem", detail=detail, cure=cure)
    if not (own if every & OWN else every) & CAPTURES:
        return None
    with contextlib.suppress(OSError):
        name += _link(root, device)
    detail = f"{_text(card)}, driver {_text(driver)}, {_text(bus)}"
    return Row(part="camera", name=name, state="ok", detail=detail)


def _link(root: Path, device: Path) -> str:
    """Return the name that stays the same after a restart, where udev gives one."""
    for link in sysfs.found(root / "dev/v4l/by-id", "*"):
        if link.resolve() == device.resolve():
            return f" ({link.name})"
    return ""


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("utf-8", "replace")
