"""OpenVINO's IR. Files: `model`, the graph as XML, and `weights`, which OpenVINO maps.

Everything is computed in float32 or, where the file says so, in int8: left to itself OpenVINO takes
bfloat16 on CPUs that have it and float16 on GPUs, and answers differ from machine to machine.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import Dtype, Scalar, Tensor
from outrider_runtime import options as opts
from outrider_runtime.checked import CheckedSession
from outrider_runtime.session import Array, Placement
from outrider_runtime.untracked import openvino as ov

DEFAULTS: dict[str, Scalar] = {"threads": 1, "device": "CPU", "precision": "f32"}
"""`device` is CPU, GPU, GPU.1 and so on, or AUTO; `precision` that of float layers; `threads` a CPU's."""

DEVICES = ("CPU", "GPU", "AUTO")
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
        threads, device = opts.threads("openvino", chosen), _device(str(chosen["device"]))
        settings = _settings(device, threads, str(chosen["precision"]))
        if set(files) != ROLES:
            what = f"An OpenVINO variant has the files {', '.join(sorted(files)) or 'none'}"
            raise EngineError(what, "Give 'model' and 'weights'")
        try:
            model = _core().read_model(str(files["model"]), str(files["weights"]))
            compiled = _core().compile_model(model, device, settings)
        except Exception as error:
            what = f"OpenVINO does not load {files['model'].name} on {device}: {_said(error)}"
            raise EngineError(what) from error
        return OpenvinoSession(compiled, threads)


class OpenvinoSession(CheckedSession):
    """A model in OpenVINO."""

    def __init__(self, compiled: Any, threads: int) -> None:  # noqa: ANN401 - untyped library
        """Hold a compiled model and describe its tensors."""
        super().__init__([_tensor(p) for p in compiled.inputs], [_tensor(p) for p in compiled.outputs])
        self._placement = _placement(compiled, threads)
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


def _device(name: str) -> str:
    kind = name.partition(".")[0]
    if kind not in DEVICES:
        what = f"Option 'device' of the runtime openvino is '{name}'"
        raise EngineError(what, f"Give one of {', '.join(DEVICES)}")
    here = list(_core().available_devices)
    if kind != "AUTO" and name not in here and kind not in {one.partition(".")[0] for one in here}:
        what = f"OpenVINO has no device '{name}' here, but {', '.join(here) or 'none'}"
        raise EngineError(what, "Install its driver, or ask for device = 'CPU'")
    return name


def _settings(device: str, threads: int, precision: str) -> dict[str, object]:
    if precision not in PRECISIONS:
        what = f"Option 'precision' of the runtime openvino is '{precision}'"
        raise EngineError(what, f"Give one of {', '.join(PRECISIONS)}")
    common: dict[str, object] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    # Pinned threads of two processes would share one core and leave the others idle.
    cpu = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
    if device == "CPU":
        return common | cpu
    return common | {"DEVICE_PROPERTIES": {"CPU": cpu}} if device == "AUTO" else common


def _placement(compiled: Any, threads: int) -> Placement:  # noqa: ANN401 - untyped library
    # AUTO puts a device in brackets while it only stands in for a better one that still compiles.
    names = [str(name).strip("()") for name in compiled.get_property("EXECUTION_DEVICES")]
    return Placement(device=",".join(names).lower(), backend=names[0], threads=threads)


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
