"""A real memory limit for one process, where the machine lets root set one: a group of cgroup v2.

Where it does not (no root, or the memory controller belongs to cgroup v1), SIGKILL stands in for the kernel's
own: what the agent sees is the same signal.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
SPARE = 64 << 20


def there(root: Path = ROOT) -> bool:
    """Whether a group below `root` can limit memory."""
    try:
        enabled = (root / "cgroup.subtree_control").read_text(encoding="ascii").split()
    except OSError:
        return False
    return "memory" in enabled and os.access(root, os.W_OK)


def how() -> str:
    """Return by what a process is killed here that takes too much."""
    return "a cgroup's limit, by the kernel" if there() else "SIGKILL stands in, no cgroup v2 limit here"


@contextlib.contextmanager
def limited(pid: int, root: Path = ROOT) -> Iterator[None]:
    """Let the process `pid` take little more than it has, until it has ended."""
    group = Path(tempfile.mkdtemp(prefix="outrider-proof-", dir=root))
    try:
        resident = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
        # What it has stays charged where it was: in the group only what is new counts.
        (group / "memory.max").write_text(str(min(SPARE, resident * os.sysconf("SC_PAGE_SIZE"))))
        with contextlib.suppress(OSError):
            (group / "memory.swap.max").write_text("0")
        (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        group.rmdir()
