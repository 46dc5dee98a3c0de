"""Files in which the kernel describes the machine, below a root: tests bring a tree of their own."""

from pathlib import Path

ROOT = Path("/")


def read(path: Path) -> str:
    """Return a file's text in one line, without the zeros of a device tree; empty if it cannot be read."""
    try:
        return " ".join(path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").split())
    except OSError:
        return ""


def found(folder: Path, pattern: str) -> tuple[Path, ...]:
    """Return what matches in `folder`, by name; nothing if there is no such folder."""
    return tuple(sorted(folder.glob(pattern)))
