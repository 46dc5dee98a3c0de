"""The test delegate (`test_delegate.c`), a model that it takes in part, and its options.

library = delegates.build()
session = TfliteRuntime().load({"model": delegates.mixed(tmp_path)}, delegates.options(library, fault="hang"))
"""

import ctypes
import hashlib
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from outrider_bundle.manifest import Scalar

SOURCE = Path(__file__).with_name("test_delegate.c")
BUILD = Path(__file__).parents[2] / "build" / "test-delegate"
COMPILE = ("cc", "-std=c11", "-D_DEFAULT_SOURCE", "-Wall", "-Wextra", "-O1", "-fPIC", "-shared")
NAME = "test_delegate"
"""What placements call it."""

NODES, TAKEN = 6, 3
"""Of `mixed`: how many there are, and how many the test delegate takes."""

_FULLY_CONNECTED, _LOGISTIC, _RESHAPE, _SOFTMAX = (
    getattr(schema.BuiltinOperator, name) for name in ("FULLY_CONNECTED", "LOGISTIC", "RESHAPE", "SOFTMAX")
)


def build(folder: Path = BUILD) -> Path:
    """Return the library, compiled once for each state of its source; needs a C compiler (gcc)."""
    digest = hashlib.sha256(SOURCE.read_bytes() + " ".join(COMPILE).encode()).hexdigest()[:16]
    library = folder / digest / f"lib{NAME}.so"
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=library.parent) as aside:
            made = Path(aside) / library.name
            subprocess.run([*COMPILE, "-o", made, SOURCE, "-lm"], check=True)
            made.rename(library)
    return library


def opened(library: Path) -> ctypes.CDLL:
    """Return the library for its counters, `test_delegate_runs()` and `test_delegate_alive()`."""
    return ctypes.CDLL(str(library))


def options(library: Path, **settings: object) -> dict[str, Scalar]:
    """Return options of the runtime tflite; `settings` are the delegate's own, see its source."""
    told = ";".join(f"{key}={value}" for key, value in settings.items())
    return {"delegate": str(library), "delegate_options": told}


def mixed(folder: Path, seed: int = 0) -> Path:
    """Write a float32 model: (1, 8, 8, 1) to three scores, with dense layers and other nodes in turn.

    RESHAPE, FULLY_CONNECTED with ReLU, FULLY_CONNECTED, LOGISTIC, FULLY_CONNECTED, SOFTMAX: the test
    delegate takes the dense ones as two partitions, of which the first hands a tensor on within itself.
    """
    net = _Net(np.random.default_rng(seed))
    image = net.tensor("image", (1, 8, 8, 1))
    flat = net.node(_RESHAPE, [image, net.constant("shape", np.array([1, 64], np.int32))], ("flat", 64))
    hidden = net.dense(flat, 64, 16, "hidden", schema.ActivationFunctionType.RELU)
    narrow = net.dense(hidden, 16, 8, "narrow")
    bent = net.node(_LOGISTIC, [narrow], ("bent", 8))
    logits = net.dense(bent, 8, 3, "logits")
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    scores = net.node(_SOFTMAX, [logits], ("scores", 3), softmax)
    path = folder / "mixed.tflite"
    path.write_bytes(net.packed(image, scores))
    return path


class _Net:
    """A TFLite file in the making."""

    def __init__(self, source: np.random.Generator) -> None:
        self._source = source
        self._graph: Any = schema.SubGraphT()
        self._graph.tensors, self._graph.operators = [], []
        self._buffers, self._codes = [schema.BufferT()], list[schema.OperatorCodeT]()

    def tensor(self, name: str, shape: tuple[int, ...], kind: int = schema.TensorType.FLOAT32) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, list(shape), kind, 0
        self._graph.tensors.append(made)
        return len(self._graph.tensors) - 1

    def constant(self, name: str, values: NDArray[np.generic]) -> int:
        buffer: Any = schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self._buffers.append(buffer)
        integer = values.dtype == np.int32
        kind = schema.TensorType.INT32 if integer else schema.TensorType.FLOAT32
        at = self.tensor(name, values.shape, kind)
        self._graph.tensors[at].buffer = len(self._buffers) - 1
        return at

    def node(self, code: int, inputs: list[int], output: tuple[str, int], how: object = None) -> int:
        kind: Any = schema.OperatorCodeT()
        kind.builtinCode = kind.deprecatedBuiltinCode = code
        kind.version = 1
        self._codes.append(kind)
        made: Any = schema.OperatorT()
        made.opcodeIndex, made.inputs = len(self._codes) - 1, inputs
        made.outputs = [self.tensor(output[0], (1, output[1]))]
        if how is not None:
            made.builtinOptionsType = getattr(schema.BuiltinOptions, type(how).__name__[:-1])
            made.builtinOptions = how
        self._graph.operators.append(made)
        return int(made.outputs[0])

    def dense(self, given: int, columns: int, rows: int, name: str, activation: int = 0) -> int:
        weights = self._source.normal(size=(rows, columns)).astype(np.float32) / np.float32(np.sqrt(columns))
        bias = self._source.normal(size=rows).astype(np.float32)
        how = schema.FullyConnectedOptionsT()
        how.fusedActivationFunction = activation
        inputs = [given, self.constant(f"{name}/w", weights), self.constant(f"{name}/b", bias)]
        return self.node(_FULLY_CONNECTED, inputs, (name, rows), how)

    def packed(self, given: int, answer: int) -> bytes:
        self._graph.inputs, self._graph.outputs = [given], [answer]
        model = schema.ModelT()
        model.version, model.subgraphs = 3, [self._graph]
        model.buffers, model.operatorCodes = self._buffers, self._codes
        builder = flatbuffers.Builder(4096)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())
