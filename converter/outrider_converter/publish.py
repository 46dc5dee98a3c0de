"""Results appear in the output folder complete or not at all."""

import errno
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from outrider_bundle.errors import OutriderError, UsageError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@contextmanager
def scratch(out: Path) -> Iterator[Path]:
    """Yield a new folder on the same disk as `out`; it is removed at the end.

    Raises:
        UsageError: `out` is a file, or no folder can be made beside it.
        OutriderError: the disk is full.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file", "Name a folder for the results")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise UsageError(
            f"Nothing can be written beside {out}: {error.strerror}", "Name another folder"
        ) from error
    try:
        yield folder
    except OSError as error:
        if error.errno not in FULL:
            raise
        what = f"Nothing more can be written to {out.parent}: {error.strerror}"
        raise OutriderError(what, "Free space or name another folder") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(out: Path, own: Path) -> None:
    """Remove scratch folders that killed conversions into `out` have left; only for who has `out` to himself.

    Args:
        out: folder of the results.
        own: a scratch folder to keep.
    """
    name = re.compile(rf"\.{re.escape(out.name)}-[a-z0-9_]{{8}}")  # as tempfile makes them
    for path in out.parent.iterdir():
        if name.fullmatch(path.name) and path != own and (path / "work").is_dir():
            shutil.rmtree(path, ignore_errors=True)


def publish(results: Path, out: Path) -> None:
    """Move the folder `results` to `out`.

    A new `out` appears by one rename. Into one that exists each file moves by a rename of its own:
    every file is whole at any time, and files of other origin stay.
    """
    results.chmod(0o755)
    if not out.exists():
        results.rename(out)
        return
    for path in sorted(results.iterdir()):
        path.replace(out / path.name)
