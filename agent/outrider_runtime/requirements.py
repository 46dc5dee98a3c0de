"""What a variant asks of the machine, against what the kernel says of it."""

import os
from pathlib import Path

from outrider_bundle.manifest import Requirements

CPUINFO = Path("/proc/cpuinfo")
FLAGS = ("flags", "Features")
"""How x86 and ARM kernels call the list of instruction sets."""


def lacking(requirements: Requirements, cpuinfo: Path = CPUINFO) -> str:
    """Return what this machine lacks; empty if nothing. What the kernel hides is taken for given."""
    have = isa(cpuinfo)
    missing = [name for name in requirements.isa if name not in have] if have else []
    if missing:
        return f"this processor has no {', '.join(missing)}"
    memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e6
    if requirements.memory_mb > memory_mb:
        return f"it needs {requirements.memory_mb} MB of memory, this machine has {memory_mb:.0f}"
    return ""


def isa(cpuinfo: Path = CPUINFO) -> frozenset[str]:
    """Return the instruction sets of the first processor; empty if the kernel does not tell."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in FLAGS:
            return frozenset(value.split())
    return frozenset()
