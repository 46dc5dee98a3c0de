"""Runs of `outrider convert` as a user starts it: a process of its own, its report read back."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "fashion"
WORK = ROOT / "build" / "prove-converter"
OUTRIDER = Path(sys.executable).with_name("outrider")
POINTS = 100.0

Report = Mapping[str, Any]


def convert(*arguments: str | Path) -> Report:
    """Convert and return the report.

    Raises:
        RuntimeError: it failed; the message is the command's own.
    """
    done = run(*arguments, "--json")
    if done.returncode:
        raise RuntimeError(f"outrider convert ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    report: Report = json.loads(done.stdout)
    return report


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run `outrider convert` and return what became of it."""
    command = [str(OUTRIDER), "convert", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=os.environ)


def int8(report: Report) -> dict[str, Any]:
    """Return the int8 variants by runtime."""
    return {v["runtime"]: v for v in report["variants"] if v["precision"] != "float32"}


def default(report: Report) -> Any:  # noqa: ANN401 - a part of a JSON document
    """Return the variant that is tried first."""
    return report["variants"][0]


def say(line: str) -> None:
    """Show progress on standard error; standard output is the rows'."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stderr.flush()


def one_thread() -> dict[str, str]:
    """Return the environment with one thread for every library of a child."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
