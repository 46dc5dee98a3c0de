"""OpenVINO's IR. Files: `model`, the graph as XML, and `weights`, which OpenVINO maps.

Everything is computed in float32 or, where the file says so, in int8: left to itself OpenVINO takes
bfloat16 on CPUs that have it and float16 on GPUs, and answers differ from machine to machine. AUTO, left to
itself, runs on the CPU until a GPU is ready and again when that fails: neither would be what placement says.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import Dtype, Scalar, Tensor
from outrider_runtime import options as opts
from outrider_runtime.cache import Cache
from outrider_runtime.checked import CheckedSession
from outrider_runtime.session import Array, Placement
from outrider_runtime.untracked import openvino as ov

DEFAULTS: dict[str, Scalar] = {"threads": 1, "device": "CPU", "precision": "f32", "cache": ""}
"""`device` is CPU, GPU, GPU.1 and so on, AUTO, or AUTO:GPU,CPU in order of preference; `precision` that of
float layers; `threads` a CPU's; `cache` a folder for compiled models, empty for none."""

AUTO = "AUTO"
KINDS = ("CPU", "GPU")
NO_WORK = frozenset({"Constant", "Parameter", "Result"})
"""Operations of the file that are nothing to run."""

PRECISIONS = ("f32", "f16", "bf16")
ROLES = {"model", "weights"}
DTYPES: dict[str, Dtype] = {
    "boolean": "bool",
    "f16": "float16",
    "f32": "float32",
    "f64": "float64",
    "i16": "int16",
    "i32": "int32",
    "i64": "int64",
    "i8": "int8",
    "u8": "uint8",
}


class OpenvinoRuntime:
    """Loads OpenVINO's files."""

    exclusive: ClassVar[bool] = False

    def load(self, files: Mapping[str, Path], options: Mapping[str, Scalar]) -> "OpenvinoSession":
        """Load `files["model"]` with `files["weights"]`; see `Runtime.load`.

        Raises:
            EngineError: a file is missing or broken, a shape is dynamic, or the device is not there.
        """
        chosen = opts.known("openvino", options, DEFAULTS)
        threads, device = opts.threads("openvino", chosen), str(chosen["device"])
        candidates = _candidates(device)
        _demand(candidates)
        settings = _settings(device, candidates, threads, str(chosen["precision"]))
        if set(files) != ROLES:
            what = f"An OpenVINO variant has the files {', '.join(sorted(files)) or 'none'}"
            raise EngineError(what, "Give 'model' and 'weights'")
        try:
            model = _core().read_model(str(files["model"]), str(files["weights"]))
            compiled = _compile(model, files, device, settings, str(chosen["cache"]))
        except Exception as error:
            what = f"OpenVINO does not load {files['model'].name} on {device}: {_said(error)}"
            raise EngineError(what) from error
        return OpenvinoSession(compiled, _placement(compiled, _count(model), threads, _asked(candidates)))

    def fallback(self, options: Mapping[str, Scalar]) -> tuple[str, dict[str, Scalar]] | None:
        """Return the device that `options` ask for, and what to ask for if it cannot be had.

        Args:
            options: of manifest and device together.

        Returns:
            its name, and options to lay over these: the CPU. None if nothing else was asked for.
        """
        asked = _asked(_candidates(str(opts.known("openvino", options, DEFAULTS)["device"])))
        return (asked, {"device": "CPU"}) if asked else None


class OpenvinoSession(CheckedSession):
    """A model in OpenVINO."""

    def __init__(self, compiled: Any, placement: Placement) -> None:  # noqa: ANN401 - untyped library
        """Hold a compiled model and describe its tensors."""
        super().__init__([_tensor(p) for p in compiled.inputs], [_tensor(p) for p in compiled.outputs])
        self._placement = placement
        self._request: Any = compiled.create_infer_request()
        # Views of memory that the request owns. Binding the caller's arrays instead saves 1 us at best,
        # and costs 10 where they are new.
        self._write = tuple(self._request.get_input_tensor(at).data for at in range(len(self.inputs)))
        self._read = tuple(self._request.get_output_tensor(at).data for at in range(len(self.outputs)))

    def placement(self) -> Placement:
        """Return the device that runs it."""
        return self._placement

    def close(self) -> None:
        """Free the model; idempotent."""
        super().close()
        self._read = self._write = ()
        self._request = None

    def _infer(self, inputs: Sequence[Array], out: Sequence[Array] | None) -> Sequence[Array]:
        for view, array in zip(self._write, inputs, strict=True):
            np.copyto(view, array)
        self._request.infer()
        out = out or self._allocate()
        for view, array in zip(self._read, out, strict=True):
            np.copyto(array, view)
        return out


@cache
def _core() -> Any:  # noqa: ANN401 - untyped library
    return ov.Core()


def _candidates(device: str) -> tuple[str, ...]:
    """Return the devices that may run the model, best first; none if any may."""
    name, colon, listed = device.partition(":")
    found = tuple(part.strip() for part in (listed if name == AUTO and colon else device).split(","))
    if found == (AUTO,):
        return ()
    wrong = next((one for one in found if one.partition(".")[0] not in KINDS), None)
    if wrong is not None or (len(found) > 1 and name != AUTO):
        what = f"Option 'device' of the runtime openvino is '{device}'"
        raise EngineError(what, f"Give one of {', '.join(KINDS)}, {AUTO}, or a list such as {AUTO}:GPU,CPU")
    return found


def _demand(candidates: Sequence[str]) -> None:
    here = list(_core().available_devices)
    kinds = {name.partition(".")[0] for name in here}
    for name in candidates:
        if name not in here and name not in kinds:
            what = f"OpenVINO has no device '{name}' here, but {', '.join(here) or 'none'}"
            raise EngineError(what, "Install its driver, or ask for device = 'CPU'")


def _asked(candidates: Sequence[str]) -> str:
    """Return the device that should take the model; empty if that is the CPU, or any will do."""
    return candidates[0] if candidates and candidates[0] != "CPU" else ""


def _settings(device: str, candidates: Sequence[str], threads: int, precision: str) -> dict[str, object]:
    if precision not in PRECISIONS:
        what = f"Option 'precision' of the runtime openvino is '{precision}'"
        raise EngineError(what, f"Give one of {', '.join(PRECISIONS)}")
    settings: dict[str, object] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    # Pinned threads of two processes would share one core and leave the others idle.
    cpu = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
    if device == "CPU":
        return settings | cpu
    if device.startswith(AUTO):
        if not candidates or "CPU" in candidates:
            settings["DEVICE_PROPERTIES"] = {"CPU": cpu}
        if candidates != ("CPU",):  # without these it finds no device in a list of the CPU alone
            settings |= {"ENABLE_STARTUP_FALLBACK": False, "ENABLE_RUNTIME_FALLBACK": False}
    return settings


def _compile(
    model: Any,  # noqa: ANN401 - untyped library
    files: Mapping[str, Path],
    device: str,
    settings: Mapping[str, object],
    folder: str,
) -> Any:  # noqa: ANN401 - untyped library
    def into(cache: Path | None) -> Any:  # noqa: ANN401 - untyped library
        # OpenVINO looks into the folder first, by a hash of its own, and adds what it does not find.
        kept = {"CACHE_DIR": str(cache)} if cache else {}
        return _core().compile_model(model, device, {**settings, **kept})

    facts = ("openvino", ov.get_version(), device, repr(sorted(settings.items())))
    return into(Cache(Path(folder)).entry(facts, files, into) if folder else None)


def _count(model: Any) -> int:  # noqa: ANN401 - untyped library
    return sum(operation.get_type_name() not in NO_WORK for operation in model.get_ops())


def _placement(compiled: Any, count: int, threads: int, asked: str) -> Placement:  # noqa: ANN401 - untyped library
    names = [str(name).strip("()") for name in compiled.get_property("EXECUTION_DEVICES")]
    backend = names[0]
    if backend.partition(".")[0] == asked:  # the first of its kind
        asked = backend
    # A model is compiled for one device as a whole.
    nodes = {backend: count} if len(names) == 1 else {}
    return Placement(
        device=",".join(names).lower(), backend=backend, nodes=nodes, threads=threads, asked=asked
    )


def _tensor(port: Any) -> Tensor:  # noqa: ANN401 - untyped library
    name, kind = min(port.get_names(), default=""), port.get_element_type().get_type_name()
    if kind not in DTYPES:
        raise EngineError(f"The tensor '{name}' is {kind}", "Export it with a plain dtype")
    if port.get_partial_shape().is_dynamic:
        what = f"The tensor '{name}' has the dynamic shape {port.get_partial_shape()}"
        raise EngineError(what, "Export it with static shapes, batch 1")
    return Tensor(name=name, shape=tuple(map(int, port.get_shape())), dtype=DTYPES[kind])


def _said(error: Exception) -> str:
    """Return what OpenVINO says, without where in its own code it happened."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith(("Exception from ", "Check '"))]
    return said[-1] if said else type(error).__name__
