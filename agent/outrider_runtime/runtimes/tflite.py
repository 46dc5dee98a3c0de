"""TensorFlow Lite files in LiteRT. Files: `model`, which LiteRT maps by its path.

LiteRT says once per process, on stderr, that it made the XNNPACK delegate; it knows no switch for it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast, get_args

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import Dtype, Quantization, Scalar, Tensor
from outrider_runtime import options as opts
from outrider_runtime.checked import CheckedSession, first_line
from outrider_runtime.session import Array, Placement

DEFAULTS: dict[str, Scalar] = {"threads": 1, "xnnpack": True}
"""Without `xnnpack` LiteRT's own kernels run: slower, and a second opinion on an int8 model."""


class TfliteRuntime:
    """Loads TensorFlow Lite files into LiteRT."""

    exclusive: ClassVar[bool] = False

    def load(self, files: Mapping[str, Path], options: Mapping[str, Scalar]) -> "TfliteSession":
        """Load `files["model"]`; see `Runtime.load`.

        Raises:
            EngineError: the file is missing or broken, or a shape is dynamic.
        """
        chosen = opts.known("tflite", options, DEFAULTS)
        threads = opts.threads("tflite", chosen)
        if set(files) != {"model"}:
            what = f"A TFLite variant has the files {', '.join(sorted(files)) or 'none'}"
            raise EngineError(what, "Give one of the role 'model'")
        own = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        kernels = OpResolverType.AUTO if chosen["xnnpack"] else own
        try:
            interpreter = Interpreter(
                model_path=str(files["model"]), num_threads=threads, experimental_op_resolver_type=kernels
            )
            interpreter.allocate_tensors()
        except Exception as error:
            what = f"LiteRT does not load {files['model'].name}: {first_line(error)}"
            raise EngineError(what) from error
        return TfliteSession(interpreter, threads)


class TfliteSession(CheckedSession):
    """A model in LiteRT."""

    def __init__(self, interpreter: Any, threads: int) -> None:  # noqa: ANN401 - untyped library
        """Hold an interpreter and describe its tensors."""
        ins, outs = interpreter.get_input_details(), interpreter.get_output_details()
        super().__init__([_tensor(details) for details in ins], [_tensor(details) for details in outs])
        self._interpreter: Any = interpreter
        self._placement = _placement(interpreter, threads)
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


def _placement(interpreter: Any, threads: int) -> Placement:  # noqa: ANN401 - untyped library
    # The only list that shows a delegate is private: without it the default is what LiteRT documents.
    listed = getattr(interpreter, "_get_ops_details", lambda: [{"op_name": "DELEGATE"}])
    delegated = any(op["op_name"] == "DELEGATE" for op in listed())
    return Placement(device="cpu", backend="XNNPACK" if delegated else "CPU", threads=threads)


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
