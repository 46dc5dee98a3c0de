"""A runtime that fails in every way a real one has failed, when a test says so.

It answers like the runtime `null` (one-hot at the sum of the input's bytes) until it is told a fault:

- by its **trigger file**, option `trigger`: the text in it names the fault; without the file all is well.
  Write it with `tell`, take it back with `tell(path, "")`. It is read before every run, and once by
  `load`, where `load-...` faults strike.
- by its **input**, option `by_input = true`: the first number of the first input is the index of a fault
  in `FAULTS`; 0 is none.

| fault | what the run does |
|---|---|
| `hang` | waits for ever in C, without the interpreter lock (a driver call that never returns) |
| `hang-gil` | the same, holding the lock: no Python thread of the process goes on |
| `hang-python` | loops for ever in Python |
| `slow` | takes `slow_s` seconds and answers right |
| `segfault`, `abort`, `kill` | the process dies by SIGSEGV, SIGABRT, SIGKILL (as when memory is out) |
| `exit` | the process exits with code 7 |
| `raise`, `refuse` | raises RuntimeError, EngineError |
| `nan` | answers NaN (float outputs only) |
| `wrong` | answers one-hot at the next index |
| `allocate` | takes `allocate_mb` more MiB, touched and never given back, and answers right |
| `chatter` | writes 256 KiB to stderr and answers right |
| `modules` | writes the names of all imported modules to `trigger` + `.modules`, and answers right |
| `talk` | writes "the delegate lost its device" to stderr, then dies by SIGABRT |

| fault of `load` | |
|---|---|
| `load-hang`, `load-segfault`, `load-exit`, `load-raise`, `load-talk`, ... | as above |
| `load-chatter` | as above, and loads |
| `load-refuse`, `load-missing` | raises EngineError, MissingExtraError |
| `load-shape` | the session's output has another shape than the options say |

With `device = "NPU"` its placement says so (of one of its two nodes with `half = true`); while the file
`gone` exists that device cannot be opened, and `fallback` offers to do without it. The runtime
`faulty-exclusive` is the same and holds its device alone.

`install(folder)` makes `folder` a path entry with both runtimes; put it on PYTHONPATH for other processes.
`use(monkeypatch, folder)` does that for a test: this process, its engine children and its agents.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from outrider_bundle.errors import EngineError, MissingExtraError
from outrider_bundle.manifest import Scalar, Tensor
from outrider_runtime import options as opts
from outrider_runtime.checked import CheckedSession
from outrider_runtime.runtimes import null
from outrider_runtime.session import Array, Placement

if TYPE_CHECKING:
    import pytest

FAULTS = (
    "",
    "hang",
    "hang-gil",
    "hang-python",
    "slow",
    "segfault",
    "abort",
    "kill",
    "exit",
    "raise",
    "refuse",
    "nan",
    "wrong",
    "allocate",
    "chatter",
    "modules",
    "talk",
)
DEFAULTS: dict[str, Scalar] = {
    **null.DEFAULTS,
    "trigger": "",
    "by_input": False,
    "slow_s": 0.3,
    "allocate_mb": 64,
    "device": "",
    "gone": "",
    "half": False,
}
EXIT = 7
CHATTER = b"WARNING: slow path\n" * (262144 // 19)
WORDS = "the delegate lost its device"
POINTS = """[outrider.runtimes]
faulty = faulty_runtime:FaultyRuntime
faulty-exclusive = faulty_runtime:ExclusiveFaultyRuntime
"""


class FaultyRuntime:
    """See the module."""

    exclusive: ClassVar[bool] = False

    @staticmethod
    def example(folder: Path) -> tuple[dict[str, Path], dict[str, Scalar]]:
        """Return a model to load; without a trigger it works."""
        (folder / "faulty").write_bytes(b"any")
        return {"model": folder / "faulty"}, {}

    def load(self, files: Mapping[str, Path], options: Mapping[str, Scalar]) -> "FaultySession":
        """Return a session, or fail as the trigger file says."""
        chosen = opts.known("faulty", options, DEFAULTS)
        opts.threads("faulty", chosen)
        for path in files.values():
            if not path.is_file():
                raise EngineError(f"There is no file {path.name}")
        if chosen["device"] and chosen["gone"] and Path(str(chosen["gone"])).exists():
            raise EngineError(f"The device {chosen['device']} cannot be opened", "Plug it in again")
        shapes = null.NullRuntime().load(files, {key: chosen[key] for key in null.DEFAULTS})
        fault = _told(chosen)
        if fault == "load-shape":
            return FaultySession(
                shapes.inputs, [Tensor(name="output", shape=(1, 9), dtype="float32")], chosen
            )
        if fault == "load-refuse":
            raise EngineError("The delegate refuses the model", "Convert it again")
        if fault == "load-missing":
            raise MissingExtraError("'faulty' needs nonesuch, which is not installed", "faulty")
        if fault == "load-chatter":
            os.write(2, CHATTER)
        elif fault.startswith("load-"):
            _strike(fault.removeprefix("load-"))
        return FaultySession(shapes.inputs, shapes.outputs, chosen)

    def fallback(self, options: Mapping[str, Scalar]) -> tuple[str, dict[str, Scalar]] | None:
        """Return the asked device and the option that does without it."""
        device = str(options.get("device", ""))
        return (device, {"device": ""}) if device else None


class ExclusiveFaultyRuntime(FaultyRuntime):
    """The same, alone on its device."""

    exclusive: ClassVar[bool] = True


class FaultySession(CheckedSession):
    """See the module."""

    def __init__(
        self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], options: Mapping[str, Scalar]
    ) -> None:
        """Remember what it is told by."""
        super().__init__(inputs, outputs)
        self._options = options
        self._taken: list[bytearray] = []

    def placement(self) -> Placement:
        """Return the device of the options."""
        device, threads = str(self._options["device"]), int(self._options["threads"])
        if not device:
            return Placement(device="cpu", backend="CPU", nodes={"CPU": 2}, threads=threads)
        nodes = {device: 1, "CPU": 1} if self._options["half"] else {device: 2}
        return Placement(device=device.lower(), backend=device, nodes=nodes, threads=threads, asked=device)

    def run(self, inputs: Sequence[Array], out: Sequence[Array] | None = None) -> Sequence[Array]:
        """Run once; the fault `raise` gets out as a careless plug-in's would."""
        fault = _told(self._options)
        if not fault and self._options["by_input"]:
            fault = FAULTS[int(inputs[0].flat[0])]
        if fault == "slow":
            time.sleep(float(self._options["slow_s"]))
        elif fault == "allocate":
            self._taken.append(bytearray(b"\1" * (int(self._options["allocate_mb"]) << 20)))
        elif fault == "chatter":
            os.write(2, CHATTER)
        elif fault == "modules":
            Path(f"{self._options['trigger']}.modules").write_text("\n".join(sorted(sys.modules)))
        elif fault and fault not in {"nan", "wrong"}:
            _strike(fault)
        answers = super().run(inputs, out)
        if fault == "nan":
            answers[0][...] = np.nan
        elif fault == "wrong":
            answers[0][...] = np.roll(answers[0], 1)
        return answers

    def _infer(self, inputs: Sequence[Array], out: Sequence[Array] | None) -> Sequence[Array]:
        out = out or self._allocate()
        flat = out[0].reshape(-1)
        flat[:] = 0
        flat[int(inputs[0].view("uint8").sum(dtype="uint64")) % flat.size] = 1
        return out


def tell(trigger: Path, fault: str) -> None:
    """Make every session with this trigger fail in this way from its next run on; "" makes it work again."""
    if not fault:
        trigger.unlink(missing_ok=True)
        return
    written = trigger.with_suffix(".new")
    written.write_text(fault)
    written.replace(trigger)


def install(folder: Path) -> Path:
    """Make `folder` a path entry in which both runtimes are installed, and return it."""
    info = folder / "faulty_runtime-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty-runtime\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    shutil.copy(__file__, folder / "faulty_runtime.py")
    return folder


def use(monkeypatch: "pytest.MonkeyPatch", folder: Path) -> None:
    """Install into `folder` for this process and those it starts, until the test ends."""
    install(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    )


def _told(options: Mapping[str, Scalar]) -> str:
    if not options["trigger"]:
        return ""
    with contextlib.suppress(FileNotFoundError):
        return Path(str(options["trigger"])).read_text().strip()
    return ""


def _strike(fault: str) -> None:
    """Fail; the faults that let a run go on are not among these."""
    if fault not in STRIKES:
        raise ValueError(f"there is no fault '{fault}'")
    STRIKES[fault]()


def _spin() -> None:
    while True:
        pass


def _raise() -> None:
    raise RuntimeError("the driver says no")


def _refuse() -> None:
    raise EngineError("The delegate gave up")


def _talk() -> None:
    os.write(2, f"INFO: a line before\n{WORDS}\n".encode())
    os.abort()


STRIKES: Mapping[str, Callable[[], object]] = {
    "hang": lambda: ctypes.CDLL(None).sleep(1 << 30),
    "hang-gil": lambda: ctypes.PyDLL(None).sleep(1 << 30),
    "hang-python": _spin,
    "segfault": lambda: ctypes.string_at(1),
    "abort": os.abort,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda: os._exit(EXIT),
    "raise": _raise,
    "refuse": _refuse,
    "talk": _talk,
}
