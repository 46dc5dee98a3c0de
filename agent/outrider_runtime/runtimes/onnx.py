"""ONNX Runtime. Files: `graph`, and `weights` in the same folder where they are apart.

Arrays that come again are bound (IOBinding): nothing is looked up by name, checked again or copied,
1.4 us of 11 for a tiny model. Spinning is off: it doubles the CPU time of a frame on shared cores.
"""

import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import Dtype, Scalar, Tensor
from outrider_runtime import onnx_loading as loading
from outrider_runtime import onnx_providers as providers
from outrider_runtime import options as opts
from outrider_runtime.checked import CheckedSession
from outrider_runtime.session import Array, Placement

CPU = providers.CPU
DEFAULTS: dict[str, Scalar] = {"threads": 1, "providers": CPU, "optimization": "full", "cache": ""}
"""`providers` is a list in order of preference, see `onnx_providers`; all of it must be there. `optimization`
is full or disabled: without it a quantized file is computed node by node in float arithmetic, slowly,
and free of what int8 kernels of this CPU might do to it. `cache` is a folder for optimized graphs, used where
the CPU is all that is asked for."""

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
        wanted = providers.parse(str(chosen["providers"]))
        providers.demand(wanted, loading.available())
        request = loading.Request(
            files=_together(files),
            providers=wanted,
            threads=opts.threads("onnx", chosen),
            level=_level(str(chosen["optimization"])),
            cache=str(chosen["cache"]),
        )
        return OnnxSession(loading.load(request), request.threads, providers.asked(wanted))

    def fallback(self, options: Mapping[str, Scalar]) -> tuple[str, dict[str, Scalar]] | None:
        """Return the provider that `options` ask for, and what to ask for if it cannot be had.

        Args:
            options: of manifest and device together.

        Returns:
            its name, and options to lay over these: the list without what is not built in or, if all of it
            is, without its first. None if only the CPU was asked for.
        """
        wanted = providers.parse(str(opts.known("onnx", options, DEFAULTS)["providers"]))
        asked = providers.asked(wanted)
        return (asked, {"providers": providers.without(wanted, loading.available())}) if asked else None


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

    def __init__(self, session: Any, threads: int, asked: str) -> None:  # noqa: ANN401 - untyped library
        """Hold a session and describe its tensors; `asked` is the provider that should take the nodes."""
        super().__init__(
            [_tensor(node) for node in session.get_inputs()],
            [_tensor(node) for node in session.get_outputs()],
        )
        self._session: Any = session
        self._placement = _placement(session, threads, asked)
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
            raise EngineError(f"ONNX Runtime failed: {loading.said(error)}") from error

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


def _together(files: Mapping[str, Path]) -> dict[str, Path]:
    if "graph" not in files or files.keys() - ROLES:
        what = f"An ONNX variant has the files {', '.join(sorted(files)) or 'none'}"
        raise EngineError(what, "Give 'graph', and 'weights' if they are apart")
    paths = {role: path.absolute() for role, path in files.items()}
    if len({path.parent for path in paths.values()}) > 1:
        # The graph names its weights without a folder, and a path out of its own is refused.
        raise EngineError("Graph and weights lie in different folders", "Put them into one")
    return paths


def _level(name: str) -> str:
    if name not in loading.LEVELS:
        raise EngineError(f"Option 'optimization' of the runtime onnx is '{name}'", "Give full or disabled")
    return name


def _placement(session: Any, threads: int, asked: str) -> Placement:  # noqa: ANN401 - untyped library
    nodes: Counter[str] = Counter()
    # Not in every version; recording costs no measurable time at load.
    for part in getattr(session, "get_provider_graph_assignment_info", list)():
        nodes[part.ep_name] += len(part.get_nodes())
    backend = nodes.most_common(1)[0][0] if nodes else session.get_providers()[0]
    device = backend.removesuffix("ExecutionProvider").lower()
    return Placement(device=device, backend=backend, nodes=dict(nodes), threads=threads, asked=asked)


def _tensor(node: Any) -> Tensor:  # noqa: ANN401 - untyped library
    if node.type not in DTYPES:
        raise EngineError(f"The tensor '{node.name}' is a {node.type}", "Export it with a plain dtype")
    if not all(isinstance(size, int) and size > 0 for size in node.shape):
        what = f"The tensor '{node.name}' has the dynamic shape {node.shape}"
        raise EngineError(what, "Export it with static shapes, batch 1")
    return Tensor(name=node.name, shape=tuple(node.shape), dtype=DTYPES[node.type])
