"""How the board is: temperatures, what holds its processors back, load, memory and disk.

All of it is read from files of the kernel, without a library or a program of the board's maker, and without
more rights than any process has. Sources: Documentation/ABI/testing/sysfs-class-thermal of Linux;
`get_throttled` of the firmware driver of the Raspberry Pi and its hwmon `rpi_volt`; `oc*_event_cnt` of
NVIDIA's `soctherm_oc`; `thermal_throttle` of x86 processors; `temp` of Google's apex driver.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from outrider_agent import sysfs
from outrider_bundle.messages.telemetry import BoardMetrics

PI_BITS = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")
"""Bits 0 to 3 of `get_throttled`; those from 16 up tell of the past."""
PI_THROTTLED = "sys/devices/platform/soc*/soc*firmware/get_throttled"

BRAKES = ("thermal-", "cpufreq", "devfreq", "cpu-", "gpu-", "Processor", "intel_powerclamp", "tcc")
"""Cooling devices that slow something down begin so; others are fans."""

FIXED = "PMIC-Die"
"""Boards of NVIDIA's show a constant of 100 degrees under this name."""

COUNTERS = (
    "sys/class/hwmon/hwmon*/oc*_event_cnt",
    "sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count",
)

COLDEST_C, HOTTEST_C = -60.0, 200.0
"""What is not between them is not a temperature, but a sensor that is off."""


class Board:
    """Reads the board; what is counted is counted from one `read` to the next.

    Args:
        state_dir: on the disk whose free space is told.
        root: of the files.
    """

    def __init__(self, state_dir: Path, root: Path = sysfs.ROOT) -> None:
        """Begin to count."""
        self._state_dir, self._root = state_dir, root
        self._throttles = self._counted()

    def read(self) -> BoardMetrics:
        """Return how it is now; never raises, and leaves out what cannot be read."""
        temperatures = _hottest(_temperatures(self._root))
        before, self._throttles = self._throttles, self._counted()
        return BoardMetrics(
            temperature_c=max(temperatures.values(), default=None),
            temperatures_c=temperatures,
            throttled=tuple(dict.fromkeys(_throttled(self._root))),
            throttles=max(0, self._throttles - before),
            load_1m=_load(self._root),
            memory_available_mb=_memory_mb(self._root),
            disk_free_mb=_disk_mb(self._state_dir),
        )

    def _counted(self) -> int:
        paths = (path for pattern in COUNTERS for path in sysfs.found(self._root, pattern))
        return sum(_number(path) or 0 for path in paths)


def _temperatures(root: Path) -> Iterator[tuple[str, float]]:
    """Yield names and degrees Celsius; a name may come more than once."""
    for zone in sysfs.found(root / "sys/class/thermal", "thermal_zone*"):
        yield sysfs.read(zone / "type") or zone.name, _degrees(zone / "temp")
    for chip in sysfs.found(root / "sys/class/apex", "apex_*"):
        yield chip.name, _degrees(chip / "temp")


def _hottest(found: Iterator[tuple[str, float]]) -> dict[str, float]:
    temperatures: dict[str, float] = {}
    for name, degrees in found:
        if COLDEST_C < degrees < HOTTEST_C and name != FIXED:
            temperatures[name] = max(degrees, temperatures.get(name, degrees))
    return temperatures


def _degrees(path: Path) -> float:
    """Return degrees; minus infinity where there are none."""
    number = _number(path)
    return float("-inf") if number is None else number / 1000.0


def _throttled(root: Path) -> Iterator[str]:
    """Yield what holds processors back at the moment."""
    for path in sysfs.found(root, PI_THROTTLED):
        bits = _number(path, 16) or 0
        yield from (name for bit, name in enumerate(PI_BITS) if bits >> bit & 1)
    for chip in sysfs.found(root / "sys/class/hwmon", "hwmon*"):
        if sysfs.read(chip / "name") == "rpi_volt" and _number(chip / "in0_lcrit_alarm"):
            yield PI_BITS[0]
    for device in sysfs.found(root / "sys/class/thermal", "cooling_device*"):
        kind = sysfs.read(device / "type")
        if kind.startswith(BRAKES) and "fan" not in kind and (_number(device / "cur_state") or 0) > 0:
            yield kind


def _load(root: Path) -> float | None:
    words = sysfs.read(root / "proc/loadavg").split()
    try:
        return max(0.0, float(words[0])) if words else None
    except ValueError:
        return None


def _memory_mb(root: Path) -> float | None:
    words = sysfs.read(root / "proc/meminfo").split()
    try:
        return int(words[words.index("MemAvailable:") + 1]) * 1024 / 1e6
    except (ValueError, IndexError):
        return None


def _disk_mb(folder: Path) -> float | None:
    try:
        disk = os.statvfs(folder)
    except OSError:
        return None
    return disk.f_bavail * disk.f_frsize / 1e6


def _number(path: Path, base: int = 10) -> int | None:
    try:
        return int(sysfs.read(path), base)
    except ValueError:
        return None
