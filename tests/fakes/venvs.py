"""Virtual environments that tests share, each made once for each state of its requirements."""

import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
QUIET = ("-m", "pip", "install", "-q", "--disable-pip-version-check")


def tflite_runtime(folder: Path = ROOT / "build" / "tflite-runtime") -> Path:
    """Return the Python of an environment with `tflite_runtime` and numpy 1; 536 MB, half a minute to make.

    The project is installed there as it lies here, so changed code is at work at once.
    """
    wanted = ROOT / "requirements" / "tflite-runtime.txt"
    digest = hashlib.sha256(wanted.read_bytes() + (ROOT / "pyproject.toml").read_bytes()).hexdigest()
    made, python = folder / f"made-{digest[:16]}", folder / "bin" / "python"
    if not made.exists():
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True, symlinks=True)
        subprocess.run([python, *QUIET, "-r", wanted], check=True)
        subprocess.run([python, *QUIET, "--no-deps", "--no-build-isolation", "-e", ROOT], check=True)
        made.touch()
    return python


def has_tflite_runtime() -> bool:
    """Whether there is a wheel of `tflite_runtime` for this Python."""
    return sys.version_info[:2] == (3, 11)
