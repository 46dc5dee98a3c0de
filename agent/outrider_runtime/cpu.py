"""Which processor this is, for what is made for one and may not run, or answer alike, on another."""

import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
FIELDS = frozenset(
    {
        "vendor_id",
        "cpu family",
        "model",
        "model name",
        "stepping",
        "flags",
        "CPU implementer",
        "CPU architecture",
        "CPU variant",
        "CPU part",
        "CPU revision",
        "Features",
        "isa",
        "uarch",
    }
)
"""What x86, ARM and RISC-V kernels say of model and instruction sets; the rest changes while it runs."""


def identity(cpuinfo: Path = CPUINFO) -> str:
    """Return the models and instruction sets of all kinds of cores; empty if the kernel does not tell."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    kinds = {kind for block in text.split("\n\n") if (kind := _kind(block))}
    return "\n\n".join([platform.machine(), *sorted(kinds)]) if kinds else ""


def _kind(block: str) -> str:
    pairs = (line.partition(":") for line in block.splitlines())
    return "\n".join(f"{name.strip()}: {value.strip()}" for name, _, value in pairs if name.strip() in FIELDS)
