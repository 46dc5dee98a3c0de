"""ONNX Runtime. Files: `graph`, and `weights` in the same folder where they are apart.

Arrays that come again are bound (IOBinding): nothing is looked up by name, checked again or copied,
1.4 us of 11 for a tiny model. Spinning is off: it doubles the CPU time of a frame on shared cores.
"""

import os
import re
import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read on import; it would report its use to a server

import onnxruntime as ort

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import Dtype, Scalar, Tensor
from outrider_runtime import options as opts
from outrider_runtime.checked import CheckedSession, first_line
from outrider_runtime.session import Array, Placement

CPU = "CPUExecutionProvider"
DEFAULTS: dict[str, Scalar] = {"threads": 1, "providers": CPU, "optimization": "full"}
"""`providers` is a comma-separated list in order of preference; all of it must be there. `optimization`
is full or disabled: without it a quantized file is computed node by node in float arithmetic, slowly,
and free of what int8 kernels of this CPU might do to it."""

LEVELS = {
    "full": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "disabled": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}

ROLES = {"graph", "weights"}
MAX_BINDINGS = 16
"""An engine has a few slots; a caller with fresh arrays for every frame must not fill memory."""

DTYPES: dict[str, Dtype] = {
    "tensor(bool)": "bool",
    "tensor(double)": "float64",
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
}


class OnnxRuntime:
    """Loads ONNX files into ONNX Runtime."""

    exclusive: ClassVar[bool] = False

    def load(self, files: Mapping[str, Path], options: Mapping[str, Scalar]) -> "OnnxSession":
        """Load `files["graph"]`; see `Runtime.load`.

        Raises:
            EngineError: a file is missing or broken, a shape is dynamic, or a provider is not there.
        """
        chosen = opts.known("onnx", options, DEFAULTS)
        threads, providers = opts.threads("onnx", chosen), _providers(str(chosen["providers"]))
        graph = _graph(files)
        settings = _settings(graph, threads, providers)
        settings.graph_optimization_level = _level(str(chosen["optimization"]))
        try:
            session = ort.InferenceSession(graph.read_bytes(), settings, providers=providers)
        except Exception as error:
            raise EngineError(f"ONNX Runtime does not load {graph.name}: {_said(error)}") from error
        if session.get_providers()[: len(providers)] != providers:
            # The library prints a warning and goes on without the provider.
            what = f"ONNX Runtime has {', '.join(session.get_providers())} and not {', '.join(providers)}"
            raise EngineError(what, f"Mend its driver, or ask for providers = '{CPU}'")
        return OnnxSession(session, threads)


class _Binding:
    """Arrays whose addresses are bound, known again by weak references.

    An id or an address alone would be given again after its array died. A weak reference also keeps
    numpy from moving the array's memory, so a binding that fits is never stale.
    """

    def __init__(self, io: Any, arrays: Sequence[Array]) -> None:  # noqa: ANN401 - untyped library
        self.io = io
        self._arrays = tuple(weakref.ref(array) for array in arrays)

    def fits(self, arrays: Sequence[Array]) -> bool:
        """Whether these are the very arrays."""
        for ref, array in zip(self._arrays, arrays, strict=True):  # noqa: SIM110 - a generator costs 0.5 us
            if ref() is not array:
                return False
        return True


class OnnxSession(CheckedSession):
    """A model in ONNX Runtime."""

    def __init__(self, session: Any, threads: int) -> None:  # noqa: ANN401 - untyped library
        """Hold a session and describe its tensors."""
        super().__init__(
            [_tensor(node) for node in session.get_inputs()],
            [_tensor(node) for node in session.get_outputs()],
        )
        self._session: Any = session
        self._placement = _placement(session, threads)
        self._names = [tensor.name for tensor in self.inputs], [tensor.name for tensor in self.outputs]
        self._bindings: dict[tuple[int, ...], _Binding] = {}

    def run(self, inputs: Sequence[Array], out: Sequence[Array] | None = None) -> Sequence[Array]:
        """Run once; see `Session.run`. Arrays that were checked and bound before go the short way."""
        if out is not None and len(out) == len(self.outputs):
            arrays = (*inputs, *out)
            binding = self._bindings.get(tuple(map(id, arrays)))
            if binding is not None and binding.fits(arrays):
                self._run_bound(binding)
                return out
        return super().run(inputs, out)

    def placement(self) -> Placement:
        """Return the providers that took the nodes; what fell back is not hidden."""
        return self._placement

    def close(self) -> None:
        """Free the model; idempotent."""
        super().close()
        self._bindings.clear()
        self._session = None

    def _infer(self, inputs: Sequence[Array], out: Sequence[Array] | None) -> Sequence[Array]:
        if out is None:
            feed = dict(zip(self._names[0], inputs, strict=True))
            fresh: list[Array] = self._session.run(self._names[1], feed)
            return fresh
        self._run_bound(self._bind(inputs, out))
        return out

    def _run_bound(self, binding: _Binding) -> None:
        try:
            self._session.run_with_iobinding(binding.io)
        except Exception as error:
            raise EngineError(f"ONNX Runtime failed: {_said(error)}") from error

    def _bind(self, inputs: Sequence[Array], out: Sequence[Array]) -> _Binding:
        if not all(array.flags.writeable for array in out):
            raise EngineError("An output array is read-only")
        io = self._session.io_binding()
        for tensor, array in zip(self.inputs, inputs, strict=True):
            io.bind_input(tensor.name, "cpu", 0, array.dtype.type, tensor.shape, array.ctypes.data)
        for tensor, array in zip(self.outputs, out, strict=True):
            io.bind_output(tensor.name, "cpu", 0, array.dtype.type, tensor.shape, array.ctypes.data)
        if len(self._bindings) >= MAX_BINDINGS:
            self._bindings.clear()
        arrays = (*inputs, *out)
        binding = self._bindings[tuple(map(id, arrays))] = _Binding(io, arrays)
        return binding


def _graph(files: Mapping[str, Path]) -> Path:
    if "graph" not in files or files.keys() - ROLES:
        what = f"An ONNX variant has the files {', '.join(sorted(files)) or 'none'}"
        raise EngineError(what, "Give 'graph', and 'weights' if they are apart")
    graph = files["graph"].absolute()
    if files.get("weights", graph).absolute().parent != graph.parent:
        # The graph names its weights without a folder, and a path out of its own is refused.
        raise EngineError("Graph and weights lie in different folders", "Put them into one")
    return graph


def _settings(graph: Path, threads: int, providers: Sequence[str]) -> Any:  # noqa: ANN401 - untyped library
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 4  # its errors reach us as exceptions; they need not be printed too
    entries = {
        "session.intra_op.allow_spinning": "0",
        "session.model_external_initializers_file_folder_path": str(graph.parent),
        "session.record_ep_graph_assignment_info": "1",
    }
    if CPU not in providers:
        entries["session.disable_cpu_ep_fallback"] = "1"
    for key, value in entries.items():
        settings.add_session_config_entry(key, value)
    return settings


def _providers(text: str) -> list[str]:
    asked = [name.strip() for name in text.split(",") if name.strip()]
    available = ort.get_available_providers()
    for name in asked:
        if name not in available:
            cure = f"Here are: {', '.join(available)}. Install the onnxruntime build that has it"
            raise EngineError(f"ONNX Runtime has no provider '{name}' here", cure)
    if not asked:
        raise EngineError("Option 'providers' of the runtime onnx is empty", f"Give for example '{CPU}'")
    return asked


def _level(name: str) -> Any:  # noqa: ANN401 - untyped library
    if name not in LEVELS:
        raise EngineError(f"Option 'optimization' of the runtime onnx is '{name}'", "Give full or disabled")
    return LEVELS[name]


def _placement(session: Any, threads: int) -> Placement:  # noqa: ANN401 - untyped library
    nodes: Counter[str] = Counter()
    # Not in every version; recording costs no measurable time at load.
    for part in getattr(session, "get_provider_graph_assignment_info", list)():
        nodes[part.ep_name] += len(part.get_nodes())
    backend = nodes.most_common(1)[0][0] if nodes else session.get_providers()[0]
    device = backend.removesuffix("ExecutionProvider").lower()
    return Placement(device=device, backend=backend, nodes=dict(nodes), threads=threads)


def _tensor(node: Any) -> Tensor:  # noqa: ANN401 - untyped library
    if node.type not in DTYPES:
        raise EngineError(f"The tensor '{node.name}' is a {node.type}", "Export it with a plain dtype")
    if not all(isinstance(size, int) and size > 0 for size in node.shape):
        what = f"The tensor '{node.name}' has the dynamic shape {node.shape}"
        raise EngineError(what, "Export it with static shapes, batch 1")
    return Tensor(name=node.name, shape=tuple(node.shape), dtype=DTYPES[node.type])


def _said(error: Exception) -> str:
    """Return what ONNX Runtime says, without its own codes."""
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", first_line(error))
