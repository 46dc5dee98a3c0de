"""Readings of the board, from trees as the kernels of several boards show them."""

from pathlib import Path

import pytest

from outrider_agent.telemetry.board import Board
from outrider_bundle.messages.telemetry import BoardMetrics

PI = {
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
    "sys/class/thermal/thermal_zone0/temp": "61835",
    "sys/class/thermal/cooling_device0/type": "pwm-fan",
    "sys/class/thermal/cooling_device0/cur_state": "3",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "d0005",
    "sys/class/hwmon/hwmon1/name": "rpi_volt",
    "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "1",
    "proc/loadavg": "1.25 0.80 0.40 2/150 4321",
    "proc/meminfo": "MemTotal:  3884384 kB\nMemFree:  100 kB\nMemAvailable:  1000000 kB\n",
}
JETSON = {
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
    "sys/class/thermal/thermal_zone0/temp": "48500",
    "sys/class/thermal/thermal_zone1/type": "gpu-thermal",
    "sys/class/thermal/thermal_zone1/temp": "52250",
    "sys/class/thermal/thermal_zone2/type": "PMIC-Die",
    "sys/class/thermal/thermal_zone2/temp": "100000",
    "sys/class/thermal/thermal_zone3/type": "cv0-thermal",
    "sys/class/thermal/cooling_device0/type": "thermal-cpufreq-0",
    "sys/class/thermal/cooling_device0/cur_state": "2",
    "sys/class/thermal/cooling_device1/type": "devfreq-17000000.gpu",
    "sys/class/thermal/cooling_device1/cur_state": "0",
    "sys/class/hwmon/hwmon3/name": "soctherm_oc",
    "sys/class/hwmon/hwmon3/oc1_event_cnt": "2",
    "sys/class/hwmon/hwmon3/oc3_event_cnt": "40",
}
PC = {
    "sys/class/thermal/thermal_zone0/type": "acpitz",
    "sys/class/thermal/thermal_zone0/temp": "27800",
    "sys/class/thermal/thermal_zone1/type": "acpitz",
    "sys/class/thermal/thermal_zone1/temp": "29800",
    "sys/class/thermal/thermal_zone2/type": "INT3400 Thermal",
    "sys/class/thermal/thermal_zone2/temp": "-274000",
    "sys/class/thermal/cooling_device0/type": "Processor",
    "sys/class/thermal/cooling_device0/cur_state": "0",
    "sys/class/thermal/cooling_device1/type": "intel_powerclamp",
    "sys/class/thermal/cooling_device1/cur_state": "-1",
    "sys/class/apex/apex_0/temp": "43050",
    "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "5",
    "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "1",
}


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    return root


def test_a_raspberry_pi_says_that_it_lacks_volts(tmp_path: Path) -> None:
    found = Board(tmp_path, tree(tmp_path, PI)).read()
    assert (found.temperature_c, found.temperatures_c) == (61.835, {"cpu-thermal": 61.835})
    assert found.throttled == ("under-voltage", "throttled")
    assert (found.load_1m, found.memory_available_mb) == (1.25, 1024.0)


def test_a_jetson_says_what_is_slowed_down_and_how_often(tmp_path: Path) -> None:
    board = Board(tmp_path, tree(tmp_path, JETSON))
    assert board.read().throttles == 0  # what was before the agent is not counted
    tree(
        tmp_path, {"sys/class/hwmon/hwmon3/oc3_event_cnt": "43", "sys/class/hwmon/hwmon3/oc1_event_cnt": "3"}
    )
    found = board.read()
    assert found.temperatures_c == {"cpu-thermal": 48.5, "gpu-thermal": 52.25}
    assert (found.temperature_c, found.throttled, found.throttles) == (52.25, ("thermal-cpufreq-0",), 4)
    assert board.read().throttles == 0


def test_a_pc_has_zones_of_one_name_and_sensors_that_are_off(tmp_path: Path) -> None:
    found = Board(tmp_path, tree(tmp_path, PC)).read()
    assert found.temperatures_c == {"acpitz": 29.8, "apex_0": 43.05}
    assert (found.throttled, found.throttles) == ((), 0)


def test_counters_that_begin_anew_count_nothing(tmp_path: Path) -> None:
    board = Board(tmp_path, tree(tmp_path, PC))
    tree(tmp_path, {"sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "0"})
    assert board.read().throttles == 0


def test_a_board_that_shows_nothing_is_no_fault(tmp_path: Path) -> None:
    assert Board(tmp_path / "gone", tmp_path).read() == BoardMetrics()


@pytest.mark.parametrize("text", ["", "high", "1.5", "\x00\x00"])
def test_nonsense_is_left_out(tmp_path: Path, text: str) -> None:
    tree(tmp_path, dict.fromkeys([*PI, *JETSON, *PC], text))
    found = Board(tmp_path, tmp_path).read()
    assert (found.temperatures_c, found.throttled, found.throttles) == ({}, (), 0)


def test_this_machine_has_memory_and_a_disk(tmp_path: Path) -> None:
    found = Board(tmp_path).read()
    assert (found.memory_available_mb or 0) > 1
    assert (found.disk_free_mb or 0) > 1
    assert found.load_1m is not None
