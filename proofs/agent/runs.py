"""What the claims share: the machine's clock of other processes, work in processes of their own, progress."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from proofs.agent.video import ROOT, WORK

NAMES = ("mobilenet", "detector")
OUTRIDER = Path(sys.executable).with_name("outrider")


def say(line: str) -> None:
    """Show progress on standard error; standard output is the rows'."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stderr.flush()


def bundles() -> dict[str, Path]:
    """Return the proofs' bundles; they are made in a process of its own, since that needs torch."""
    subprocess.run([sys.executable, "-m", "proofs.agent.models"], check=True, cwd=ROOT)
    return {name: WORK / f"{name}.orb" for name in NAMES}


def apart(module: str, function: str, *arguments: object) -> Any:  # noqa: ANN401 - any plain value
    """Return what a function of `module` returns in a process of its own, as plain values; NaN stays NaN.

    Raises:
        RuntimeError: it failed; its error went to standard error.
    """
    code = (
        f"import sys, msgspec; from {module} import {function} as call; "
        "sys.stdout.buffer.write(msgspec.msgpack.encode(call(*msgspec.json.decode(sys.argv[1]))))"
    )
    argv = [sys.executable, "-c", code, msgspec.json.encode(arguments).decode()]
    done = subprocess.run(argv, stdout=subprocess.PIPE, check=False, cwd=ROOT, env=one_thread())
    if done.returncode:
        raise RuntimeError(f"{module}.{function} ended with {done.returncode}")
    return msgspec.msgpack.decode(done.stdout)


def one_thread() -> dict[str, str]:
    """Return the environment with one thread for every library, and bytecode kept as after an install."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {**environment, **threads, "PYTHONPYCACHEPREFIX": str(WORK / "bytecode")}


def family(pid: int) -> list[int]:
    """Return a process and all that it has started, as far as they live."""
    while True:
        found = [pid]
        try:
            for parent in found:
                for path in Path(f"/proc/{parent}/task").glob("*/children"):
                    found += [int(word) for word in path.read_text(encoding="ascii").split()]
        except (FileNotFoundError, ProcessLookupError):  # a thread has ended; others have its children
            continue
        return found


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of another process so far."""
    return time.clock_gettime((~pid << 3) | 2)
