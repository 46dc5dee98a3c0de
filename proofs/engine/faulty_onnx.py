"""The runtime onnx with a switch: a file says how the next run fails, once.

A real model, a real driver's faults: what a replacement costs is loading that model again. The faults are
those of `tests/fakes/faulty_runtime.py`.
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from outrider_bundle.manifest import Scalar
from outrider_runtime.runtimes.onnx import OnnxRuntime
from outrider_runtime.session import Array

NAME = "faulty-onnx"
TRIGGER = "trigger"
MOST_MB = 1024
POINTS = f"[outrider.runtimes]\n{NAME} = faulty_onnx:FaultyOnnxRuntime\n"


class FaultyOnnxRuntime:
    """Loads what `onnx` loads. Its option `trigger` is the path of the file."""

    exclusive: ClassVar[bool] = False

    def load(self, files: Mapping[str, Path], options: Mapping[str, Scalar]) -> "FaultySession":
        """Return the library's session behind the switch."""
        rest = {key: value for key, value in options.items() if key != TRIGGER}
        return FaultySession(OnnxRuntime().load(files, rest), Path(str(options[TRIGGER])))


class FaultySession:
    """Runs as the session it holds, until it is told a fault."""

    def __init__(self, session: Any, trigger: Path) -> None:  # noqa: ANN401 - whatever the runtime returns
        """Hold both."""
        self._session, self._trigger = session, trigger

    def run(self, inputs: Sequence[Array], out: Sequence[Array] | None = None) -> Sequence[Array]:
        """Run once, or fail as the file says, which is gone then."""
        with contextlib.suppress(FileNotFoundError):
            fault = self._trigger.read_text(encoding="ascii")
            self._trigger.unlink()
            _strike(fault)
        answers: Sequence[Array] = self._session.run(inputs, out)
        return answers

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - all else is the session's
        """Return the session's own."""
        return getattr(self._session, name)


def use(folder: Path) -> None:
    """Install this runtime into `folder`, for this process and those that it starts."""
    info = folder / "faulty_onnx-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty-onnx\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    shutil.copy(__file__, folder / "faulty_onnx.py")
    shutil.copy(
        Path(__file__).parents[2] / "tests" / "fakes" / "faulty_runtime.py", folder / "faulty_runtime.py"
    )
    os.environ["PYTHONPATH"] = str(folder)
    sys.path.insert(0, str(folder))


def tell(trigger: Path, fault: str) -> None:
    """Let the next run of the session with this trigger fail."""
    draft = trigger.with_suffix(".new")
    draft.write_text(fault, encoding="ascii")
    draft.rename(trigger)


def _strike(fault: str) -> None:
    if fault == "allocate":
        _allocate()
    import_module("faulty_runtime").STRIKES[fault]()  # it lies beside the installed copy of this file


def _allocate() -> None:
    """Take memory until the kernel ends that."""
    taken = []
    while len(taken) < MOST_MB:
        taken.append(bytearray(b"\1" * (1 << 20)))
