"""TensorFlow Lite files in LiteRT. Files: `model`, which LiteRT maps by its path.

LiteRT says once per process, on stderr, that it made the XNNPACK delegate; it knows no switch for it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast, get_args

import numpy as np

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import Dtype, Quantization, Scalar, Tensor
from outrider_runtime import delegates, litert, partitions
from outrider_runtime import options as opts
from outrider_runtime.checked import CheckedSession, first_line
from outrider_runtime.session import Array, Placement

lite = litert.find()

DEFAULTS: dict[str, Scalar] = {
    "threads": 1,
    "xnnpack": True,
    "delegate": "",
    "delegate_options": "",
    "delegate_exclusive": True,
}
"""Without `xnnpack` LiteRT's own kernels run: slower, and a second opinion on an int8 model. `delegate` is
an external one, a soname or an absolute path, and takes what it can before XNNPACK does; `delegate_options`
is `key=value;key=value`; `delegate_exclusive` is false if its device serves several processes at once."""


class TfliteRuntime:
    """Loads TensorFlow Lite files into LiteRT."""

    exclusive: ClassVar[bool] = False

    def load(self, files: Mapping[str, Path], options: Mapping[str, Scalar]) -> "TfliteSession":
        """Load `files["model"]`; see `Runtime.load`.

        Raises:
            EngineError: the file is missing or broken, a shape is dynamic, or the delegate is not to be had.
        """
        chosen = _chosen(options)
        threads = opts.threads("tflite", chosen)
        if set(files) != {"model"}:
            what = f"A TFLite variant has the files {', '.join(sorted(files)) or 'none'}"
            raise EngineError(what, "Give one of the role 'model'")
        path = files["model"]
        delegate = _delegate(chosen, path)
        kernels = lite.OpResolverType
        try:
            interpreter = lite.Interpreter(
                model_path=str(path),
                num_threads=threads,
                experimental_op_resolver_type=(
                    kernels.AUTO if chosen["xnnpack"] else kernels.BUILTIN_WITHOUT_DEFAULT_DELEGATES
                ),
                experimental_delegates=[delegate] if delegate else None,
            )
            external = partitions.total(_ops(interpreter))
            interpreter.allocate_tensors()
        except Exception as error:
            raise _refusal(path, str(chosen["delegate"]), error) from error
        placement = _placement(_ops(interpreter), external, chosen)
        return TfliteSession(interpreter, placement)

    def fallback(self, options: Mapping[str, Scalar]) -> tuple[str, dict[str, Scalar]] | None:
        """Return the delegate that `options` ask for, and what to lay over them to do without.

        Args:
            options: of manifest and device together.

        Returns:
            None if they ask for none.
        """
        asked = str(_chosen(options)["delegate"])
        return (delegates.name(asked), {"delegate": "", "delegate_options": ""}) if asked else None

    def holds(self, options: Mapping[str, Scalar]) -> bool:
        """Return whether a session with these options keeps its device from other processes.

        Args:
            options: of manifest and device together.
        """
        chosen = _chosen(options)
        return bool(chosen["delegate"] and chosen["delegate_exclusive"])


class TfliteSession(CheckedSession):
    """A model in LiteRT."""

    def __init__(self, interpreter: Any, placement: Placement) -> None:  # noqa: ANN401 - untyped library
        """Hold an interpreter and describe its tensors."""
        ins, outs = interpreter.get_input_details(), interpreter.get_output_details()
        super().__init__([_tensor(details) for details in ins], [_tensor(details) for details in outs])
        self._interpreter: Any = interpreter
        self._placement = placement
        # Functions that return a fresh view: a view that is kept makes the interpreter refuse to run.
        self._write = tuple(interpreter.tensor(details["index"]) for details in ins)
        self._read = tuple(interpreter.tensor(details["index"]) for details in outs)

    def placement(self) -> Placement:
        """Return where the session runs."""
        return self._placement

    def close(self) -> None:
        """Free the model; idempotent."""
        super().close()
        self._read = self._write = ()
        self._interpreter = None

    def _infer(self, inputs: Sequence[Array], out: Sequence[Array] | None) -> Sequence[Array]:
        for view, array in zip(self._write, inputs, strict=True):
            np.copyto(view(), array)
        self._interpreter.invoke()
        out = out or self._allocate()
        for view, array in zip(self._read, out, strict=True):
            np.copyto(array, view())
        return out


def _chosen(options: Mapping[str, Scalar]) -> dict[str, Scalar]:
    chosen = opts.known("tflite", options, DEFAULTS)
    if chosen["delegate_options"] and not chosen["delegate"]:
        what = "Option 'delegate_options' of the runtime tflite is given without 'delegate'"
        raise EngineError(what, "Name the delegate's library, or set delegate_options = '' too")
    return chosen


def _delegate(chosen: Mapping[str, Scalar], model: Path) -> object | None:
    name, settings = str(chosen["delegate"]), delegates.parse(str(chosen["delegate_options"]))
    return delegates.load(name, settings, lite.load_delegate, model) if name else None


def _refusal(path: Path, delegate: str, error: Exception) -> EngineError:
    said = first_line(error)
    what = f"LiteRT does not load {path.name}: {said}"
    if "unresolved custom op" in said:
        return EngineError(
            what, "It was compiled for an accelerator: set the option 'delegate' to its library"
        )
    if delegate:
        what = f"LiteRT does not load {path.name} with the delegate {delegates.name(delegate)}: {said}"
        return EngineError(what, "Use a library that was built for this LiteRT, or set delegate = ''")
    return EngineError(what)


def _ops(interpreter: Any) -> list[partitions.Op]:  # noqa: ANN401 - untyped library
    # Private in both libraries, and the only list there is.
    listed: list[partitions.Op] = getattr(interpreter, "_get_ops_details", list)()
    return listed


def _placement(ops: Sequence[partitions.Op], external: int, chosen: Mapping[str, Scalar]) -> Placement:
    asked = delegates.name(str(chosen["delegate"])) if chosen["delegate"] else ""
    unit = delegates.parse(str(chosen["delegate_options"])).get("device", "")
    own = partitions.total(ops) - external
    nodes = partitions.count(ops, [asked] * external + ["XNNPACK"] * own)
    # Without a list nothing is known of a delegate, and nothing is claimed of it.
    unlisted = "XNNPACK" if chosen["xnnpack"] else "CPU"
    backend = max(nodes, key=lambda name: (nodes[name], name == asked), default=unlisted)
    return Placement(
        device=f"{asked}:{unit}".rstrip(":") if backend == asked else "cpu",
        backend=backend,
        nodes=nodes,
        threads=int(chosen["threads"]),
        asked=asked,
    )


def _tensor(details: Mapping[str, Any]) -> Tensor:
    name, dtype = str(details["name"]), np.dtype(details["dtype"]).name
    shape = tuple(int(size) for size in details["shape"])
    if dtype not in get_args(Dtype):
        raise EngineError(f"The tensor '{name}' is {dtype}", "Export it with a plain dtype")
    if not shape or any(size < 1 for size in details["shape_signature"]):
        what = f"The tensor '{name}' has the dynamic shape {tuple(map(int, details['shape_signature']))}"
        raise EngineError(what, "Export it with static shapes, batch 1")
    return Tensor(
        name=name, shape=shape, dtype=cast("Dtype", dtype), quantization=_quantization(name, details)
    )


def _quantization(name: str, details: Mapping[str, Any]) -> Quantization | None:
    scales, zeros = (details["quantization_parameters"][key] for key in ("scales", "zero_points"))
    if len(scales) > 1:
        raise EngineError(
            f"The tensor '{name}' is quantized per channel", "Quantize inputs and outputs as a whole"
        )
    return Quantization(scale=float(scales[0]), zero_point=int(zeros[0])) if len(scales) else None
