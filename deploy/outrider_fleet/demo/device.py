"""The environments of a device: what they pull in, how big they are, and the agent that runs in one.

Two of them, since the size that counts is the smallest useful one: `device-venv` holds
`outrider[agent,onnx]` and is only measured; `agent-venv` holds TFLite's runtime as well, so that the
agent can run whichever variant the converter finds fastest. Neither sees this environment.
"""

import hashlib
import os
import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

from outrider_fleet.demo.commands import StepError, capture

MEASURED = ".[agent,onnx]"
RUN = ".[agent,onnx,tflite]"
STAMP = "outrider-stamp"
# As PyPI's rule has it (PEP 503): lower case, one dash for any run of `-_.`.
TRAINING = frozenset({
    "ai-edge-quantizer",
    "ai-edge-torch",
    "jax",
    "jaxlib",
    "keras",
    "litert-torch",
    "nncf",
    "onnx",
    "onnxscript",
    "tensorflow",
    "tensorflow-cpu",
    "torch",
    "torch-pruning",
    "torchvision",
    "transformers",
    "triton",
})  # fmt: skip
TRAINING_PREFIXES = ("nvidia-",)


class Device(Struct, frozen=True, kw_only=True):
    """What was measured of a device's installation, and the command of the one to run.

    Args:
        training: packages of a training stack that it resolves; there should be none.
        size_mb: of the whole environment with `agent` and `onnx`, 10^6 bytes, as allocated on disk.
        outrider: the command in the environment that the agent runs in.
    """

    training: tuple[str, ...]
    size_mb: float
    outrider: Path


class _Metadata(Struct, frozen=True):
    name: str


class _Item(Struct, frozen=True):
    metadata: _Metadata


class _Report(Struct, frozen=True):
    install: tuple[_Item, ...]


def resolved(report: str | bytes) -> tuple[str, ...]:
    """Return the normalized names in pip's installation report, sorted.

    Raises:
        StepError: it is not one.
    """
    try:
        items = msgspec.json.decode(report, type=_Report).install
    except msgspec.DecodeError as error:
        raise StepError(f"pip's report cannot be read: {error}", "Use pip 23 or newer") from error
    return tuple(sorted(re.sub(r"[-_.]+", "-", item.metadata.name).lower() for item in items))


def training_stack(names: Iterable[str]) -> tuple[str, ...]:
    """Return those of `names` that belong to a training stack."""
    return tuple(n for n in names if n in TRAINING or n.startswith(TRAINING_PREFIXES))


def size_bytes(folder: Path) -> int:
    """Return the bytes that `folder` takes on disk: files with several names once, links not followed."""
    seen: dict[tuple[int, int], int] = {}
    for where, folders, files in os.walk(folder):
        for name in (*folders, *files, "."):
            status = os.lstat(os.path.join(where, name))  # noqa: PTH118 - tens of thousands of files
            seen[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(seen.values())


def stamp(checkout: Path) -> str:
    """Return what decides whether an environment must be made anew: interpreter, requirements, versions."""
    digest = hashlib.sha256(sys.version.encode())
    for path in (checkout / "pyproject.toml", *constraints(checkout)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def constraints(checkout: Path) -> tuple[Path, ...]:
    """Return the constraints file of the project if it has one."""
    path = checkout / "requirements" / "constraints.txt"
    return (path,) if path.is_file() else ()


def install(checkout: Path, requirement: str, venv: Path) -> Path:
    """Install `requirement` into `venv` and return its interpreter.

    An environment with the right stamp is kept, but the project itself is always installed again:
    its sources may have changed.

    Raises:
        StepError: it could not be made.
    """
    mark, python = venv / STAMP, venv / "bin" / "python"
    wanted, log = stamp(checkout), venv.with_name(f"{venv.name}.log")
    if not mark.is_file() or mark.read_text(encoding="utf-8") != wanted:
        shutil.rmtree(venv, ignore_errors=True)
        capture("make a device environment", [sys.executable, "-m", "venv", venv.resolve()], log)
    pip: list[str | Path] = [python.absolute(), "-m", "pip", "--disable-pip-version-check", "-q", "install"]
    for path in constraints(checkout):
        pip += ["-c", path.resolve()]
    capture("install the device environment", [*pip, requirement], log, cwd=checkout)
    mark.write_text(wanted, encoding="utf-8")
    return python


def resolve(checkout: Path, log: Path) -> tuple[str, ...]:
    """Return what pip would install for `MEASURED` into an empty environment; downloads no more than it must.

    Raises:
        StepError: pip fails.
    """
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "install"]
    dry = ["--dry-run", "--ignore-installed", "--report", "-", MEASURED]
    return resolved(capture("resolve the device's packages", [*pip, *dry], log, cwd=checkout))


def prepare(checkout: Path, build: Path) -> Device:
    """Make both environments under `build` and measure.

    Raises:
        StepError: pip fails.
    """
    install(checkout, MEASURED, build / "device-venv")
    runner = install(checkout, RUN, build / "agent-venv")
    return Device(
        training=training_stack(resolve(checkout, build / "device-resolve.log")),
        size_mb=size_bytes(build / "device-venv") / 1e6,
        outrider=runner.with_name("outrider").absolute(),
    )
