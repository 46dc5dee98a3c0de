"""What an ONNX or TFLite file says of itself: its inputs, its outputs, and what its last node is."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime as ort
from msgspec import Struct

from outrider_bundle.errors import DataError
from outrider_converter.loading import describe
from outrider_converter.quiet import quiet
from outrider_runtime.session import Array

SIGMOIDS = ("Sigmoid", "LOGISTIC")
PASSING = {"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast", "RESHAPE", "SQUEEZE"}
"""Operators that leave the numbers as they are."""

NEAR = 1e-3
"""How far from 1 a sum of probabilities may be."""

RANKS = (2, 3, 4)
"""Dimensions of inputs that frames can become: features, windows, images."""

Runtime = Literal["onnx", "tflite"]


class Port(Struct, frozen=True, kw_only=True):
    """An input or output; dimensions that the file leaves open are None."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    def __str__(self) -> str:
        """Return it for people."""
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"'{self.name}' {self.dtype} ({sizes})"


class ModelFile(Struct, frozen=True, kw_only=True):
    """A file's ports; `sigmoid` tells whether the first output is made by one."""

    path: Path
    runtime: Runtime
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    sigmoid: bool


def read(path: Path) -> ModelFile:
    """Read a file.

    Raises:
        DataError: it is missing, broken, or has an input that is not one of floats.
    """
    if not path.is_file():
        raise DataError(f"There is no file {path}", "Name an .onnx or a .tflite file")
    try:
        with quiet():
            model = _onnx(path) if path.suffix == ".onnx" else _tflite(path)
    except Exception as error:
        raise DataError(
            f"{path} cannot be read as {path.suffix[1:]}: {describe(error)}", "Export the model again"
        ) from error
    if len(model.inputs) != 1:
        named = ", ".join(port.name for port in model.inputs)
        raise DataError(
            f"{path} has {len(model.inputs)} inputs ({named})", "Only models of one input run here"
        )
    if model.inputs[0].dtype != "float32":
        raise DataError(
            f"The input {model.inputs[0]} of {path} is not float32",
            "Give the float model: quantizing it is what this command does",
        )
    if len(model.inputs[0].shape) not in RANKS:
        raise DataError(
            f"The input {model.inputs[0]} of {path} has {len(model.inputs[0].shape)} dimensions",
            "Inputs of images have 4, of windows 3, of features 2, with the batch",
        )
    return model


def answers(model: ModelFile, shape: tuple[int, ...]) -> tuple[Array, ...]:
    """Run a file once on noise of `shape` and return its outputs.

    Raises:
        DataError: it does not take that.
    """
    noise = np.random.default_rng(0).standard_normal(shape, np.float32)
    try:
        with quiet():
            return _run_onnx(model.path, noise) if model.runtime == "onnx" else _run_tflite(model.path, noise)
    except Exception as error:
        raise DataError(
            f"{model.path} does not take an input of {shape}: {describe(error)}",
            "Correct shape or layout in the file of --preprocess",
        ) from error


def are_probabilities(scores: Array) -> bool:
    """Return whether `(1, N)` scores are a distribution, as a softmax makes it."""
    return bool((scores >= 0).all()) and abs(float(scores.sum()) - 1) <= NEAR


def _session(path: Path) -> Any:  # noqa: ANN401 - untyped library
    settings = ort.SessionOptions()
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    settings.log_severity_level = 4
    return ort.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])


def _onnx(path: Path) -> ModelFile:
    session = _session(path)
    return ModelFile(
        path=path,
        runtime="onnx",
        inputs=tuple(_onnx_port(node) for node in session.get_inputs()),
        outputs=tuple(_onnx_port(node) for node in session.get_outputs()),
        sigmoid=_onnx_ending(path) in SIGMOIDS,
    )


def _onnx_port(node: Any) -> Port:  # noqa: ANN401 - untyped library
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in node.shape)
    kind = node.type.removeprefix("tensor(").removesuffix(")")
    known = {"float": "float32", "double": "float64"}
    return Port(name=node.name, shape=shape, dtype=known.get(kind) or kind)


def _onnx_ending(path: Path) -> str:
    graph = onnx.load(str(path), load_external_data=False).graph
    makers = {name: node for node in graph.node for name in node.output}
    node = makers.get(graph.output[0].name)
    while node is not None and node.op_type in PASSING:
        node = makers.get(node.input[0])
    return node.op_type if node is not None else ""


def _run_onnx(path: Path, noise: Array) -> tuple[Array, ...]:
    session = _session(path)
    return tuple(session.run(None, {session.get_inputs()[0].name: noise}))


def _tflite(path: Path) -> ModelFile:
    interpreter = _interpreter(path)
    return ModelFile(
        path=path,
        runtime="tflite",
        inputs=tuple(_tflite_port(one) for one in interpreter.get_input_details()),
        outputs=tuple(_tflite_port(one) for one in interpreter.get_output_details()),
        sigmoid=_tflite_ending(path) in SIGMOIDS,
    )


def _interpreter(path: Path) -> Any:  # noqa: ANN401 - untyped library
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 - slow to import, ONNX needs none

    return Interpreter(str(path))


def _tflite_port(details: dict[str, Any]) -> Port:
    signature = details.get("shape_signature")
    sizes = details["shape"] if signature is None or len(signature) == 0 else signature
    shape = tuple(int(size) if size > 0 else None for size in sizes)
    return Port(name=details["name"], shape=shape, dtype=np.dtype(details["dtype"]).name)


def _tflite_ending(path: Path) -> str:
    from ai_edge_litert import schema_py_generated as schema  # noqa: PLC0415 - see _interpreter

    model: Any = schema.ModelT.InitFromPackedBuf(bytearray(path.read_bytes()))
    graph = model.subgraphs[0]
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    makers = {index: op for op in graph.operators for index in op.outputs}
    op, kind = makers.get(graph.outputs[0]), ""
    while op is not None:
        code = model.operatorCodes[op.opcodeIndex]
        kind = names.get(max(code.builtinCode, code.deprecatedBuiltinCode), "")
        if kind not in PASSING:
            break
        op = makers.get(op.inputs[0])
    return kind


def _run_tflite(path: Path, noise: Array) -> tuple[Array, ...]:
    interpreter = _interpreter(path)
    entry = interpreter.get_input_details()[0]
    if tuple(entry["shape"]) != noise.shape:
        interpreter.resize_tensor_input(entry["index"], noise.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(entry["index"], noise)
    interpreter.invoke()
    return tuple(interpreter.get_tensor(one["index"]) for one in interpreter.get_output_details())
