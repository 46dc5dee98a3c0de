"""The board, its processor, memory and disk, and its FPGA."""

import os
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path

from outrider_agent import sysfs
from outrider_agent.doctor.row import Row
from outrider_runtime.requirements import isa

FAMILIES = {
    "nvidia,tegra": "Jetson",
    "raspberrypi,": "Raspberry Pi",
    "xlnx,zynqmp": "Zynq UltraScale+",
    "xlnx,zynq-7000": "Zynq 7000",
}
"""What a board's `compatible` holds, by which it is known."""

SHOWN = (
    "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16",
    "asimd", "neon", "asimdhp", "asimddp", "i8mm", "bf16", "sve",
)  # fmt: skip
"""The instruction sets by which kernels for models are chosen, out of some hundred that are listed."""

LEAST_FREE = 500_000_000
"""Bytes of disk: two bundles of a large model."""


def boards(root: Path = sysfs.ROOT, machine: str | None = None) -> list[Row]:
    """Return rows for board, processor, memory and FPGA; `machine` is as `uname -m` says."""
    return [_board(root), _processor(root, machine or platform.machine()), _memory(root), *_fpgas(root)]


def disk(state_dir: Path) -> Row:
    """Return the row of the disk that an agent's state is on, or will be."""
    folder = state_dir.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        cure = "Make it the agent's own: sudo install -d -o USER STATE_DIR, or set device.state_dir"
        detail = f"{folder} is no folder that may be written to"
        return Row(part="board", name=f"disk of {state_dir}", state="problem", detail=detail, cure=cure)
    free = shutil.disk_usage(folder).free
    few = free < LEAST_FREE
    return Row(
        part="board",
        name=f"disk of {state_dir}",
        state="problem" if few else "ok",
        detail=f"{free / 1e9:.1f} GB free",
        cure="Free some space: a new bundle is unpacked beside the old one" if few else "",
    )


def _board(root: Path) -> Row:
    tree = root / "proc/device-tree"
    compatible = sysfs.read(tree / "compatible")
    if model := sysfs.read(tree / "model"):
        families = [name for mark, name in FAMILIES.items() if mark in compatible]
        release = sysfs.read(root / "etc/nv_tegra_release").partition(", GCID")[0].lstrip("# ")
        detail = "; ".join([*families[:1], *([f"L4T {release}"] if release else [])])
        return Row(part="board", name=model, state="ok", detail=detail or compatible)
    made = [sysfs.read(root / "sys/class/dmi/id" / name) for name in ("sys_vendor", "product_name")]
    name = " ".join(filter(None, made)) or "unknown"
    return Row(part="board", name=name, state="ok", detail="no device tree: no Raspberry Pi, Jetson or Zynq")


def _processor(root: Path, machine: str) -> Row:
    cpuinfo = root / "proc/cpuinfo"
    models = _fields(cpuinfo).get("model name", "")
    have = isa(cpuinfo)
    sets = " ".join(name for name in SHOWN if name in have)
    detail = ", ".join(filter(None, [models, f"{os.cpu_count()} cores", sets]))
    if not have:
        cure = "A variant that needs an instruction set is tried without knowing of it"
        return Row(
            part="board",
            name=machine,
            state="problem",
            detail=f"{detail}; the kernel hides the sets",
            cure=cure,
        )
    return Row(part="board", name=machine, state="ok", detail=detail)


def _memory(root: Path) -> Row:
    fields = _fields(root / "proc/meminfo")
    total, free = (_megabytes(fields.get(name, "")) for name in ("MemTotal", "MemAvailable"))
    if not total:
        return Row(part="board", name="memory", state="problem", detail="the kernel does not tell")
    return Row(part="board", name="memory", state="ok", detail=f"{free:.0f} of {total:.0f} MB free")


def _fpgas(root: Path) -> list[Row]:
    rows = []
    for manager in sysfs.found(root / "sys/class/fpga_manager", "fpga*"):
        state = sysfs.read(manager / "state") or "unknown"
        good = state in {"operating", "unknown", "power up", "power off"}
        rows.append(
            Row(
                part="board",
                name=manager.name,
                state="ok" if good else "problem",
                detail=f"{sysfs.read(manager / 'name') or 'FPGA manager'}: {state}",
                cure=""
                if good
                else "Load a bitstream that fits the device; dmesg says what was wrong with the last",
            )
        )
    if rows:
        return rows
    compatible = sysfs.read(root / "proc/device-tree/compatible")
    detail, cure = "no /sys/class/fpga_manager/fpga0", ""
    if "xlnx," in compatible:
        cure = "Use a kernel with CONFIG_FPGA and the FPGA manager of this device"
    return [Row(part="board", name="FPGA", state="problem" if cure else "missing", detail=detail, cure=cure)]


def _fields(path: Path) -> Mapping[str, str]:
    """Return the first value of each `name : value` line."""
    fields: dict[str, str] = {}
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return fields
    for line in lines:
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    return fields


def _megabytes(text: str) -> float:
    number = text.partition(" ")[0]
    return int(number) * 1024 / 1e6 if number.isdigit() else 0.0
