"""Any ONNX file to one that the quantizer takes: batch 1, opset 13 or later, one flat graph, named nodes."""

import tempfile
from pathlib import Path

import onnx
import onnxruntime
from msgspec import Struct
from onnx import GraphProto, ModelProto, NodeProto, inliner, version_converter
from onnxruntime.quantization.quant_utils import load_model_with_shape_infer
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry
from onnxruntime.quantization.shape_inference import quant_pre_process

from outrider_bundle.errors import DataError
from outrider_converter.loading import describe
from outrider_converter.quantization.sizes import fix_sizes, not_run
from outrider_converter.quiet import quiet

OLDEST_OPSET = 13
"""The first whose QuantizeLinear takes a scale for each channel."""

MOST_BYTES = 2**31 - 1
"""What one ONNX file may hold; the quantizer keeps the whole model in one message."""

LEFT_FLOAT = frozenset({"Softmax", "EmbedLayerNormalization", "ArgMax", "Attention", "LSTM"})
"""Never quantized: a softmax in steps of 1/256 ties what it should tell apart, and costs nothing in float."""

QUANTIZED = tuple(sorted({*QDQRegistry, *QLinearOpsRegistry} - LEFT_FLOAT))

FOLLOWERS = frozenset(
    {
        *("Clip", "CumSum", "Flatten", "Gather", "GatherElements", "MaxPool", "Pad", "Relu", "Reshape"),
        *("Resize", "Slice", "Split", "Squeeze", "TopK", "Transpose", "Unsqueeze", "Where"),
    }
)
"""Operators that have the steps of their input, or none: no layers of their own."""

INT8 = frozenset(
    ["DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "QuantizeLinear"]
)


def prepare(source: Path) -> ModelProto:
    """Return the model in `source`, ready to be calibrated and quantized.

    Args:
        source: a float32 ONNX file; weights beside it are read as well.

    Returns:
        A model of one flat graph with a batch of 1, an opset of at least 13, unique node names, known
        shapes, and batch normalization folded into convolutions.

    Raises:
        DataError: it is too large, of variable size, int8 already, or ONNX Runtime does not know an operator.
    """
    model = _read(source)
    _check(model, source)
    if model.functions:
        model = inliner.inline_local_functions(model)
    _constant_initializers(model.graph)
    fix_sizes(model, source.name)
    model = _modern(model, source)
    with tempfile.TemporaryDirectory() as scratch, quiet():
        plain, ready = Path(scratch, "plain.onnx"), Path(scratch, "ready.onnx")
        onnx.save(model, plain)
        _check_loads(plain, source)
        try:
            quant_pre_process(str(plain), str(ready), skip_symbolic_shape=True)
            model = load_model_with_shape_infer(ready)
        except Exception as error:
            raise DataError(
                f"{source.name} cannot be prepared for quantization: {describe(error)}",
                "Export it again with a newer exporter, opset 17 or later",
            ) from error
    _name(model.graph)
    return model


def layers(model: ModelProto) -> tuple[str, ...]:
    """Return the names of the nodes that quantization changes, in order.

    Args:
        model: prepared.
    """
    return tuple(
        n.name
        for n in model.graph.node
        if n.op_type in QUANTIZED and n.op_type not in FOLLOWERS and n.domain in ("", "ai.onnx")
    )


class Entry(Struct, frozen=True, kw_only=True):
    """A model's input."""

    name: str
    shape: tuple[int, ...]


def entry(model: ModelProto, wanted: str) -> Entry:
    """Return the input called `wanted`, or the only one there is.

    Args:
        model: prepared.
        wanted: its name in the recipe.

    Raises:
        DataError: there are several, and none is called so.
    """
    values = {v.name: v for v in model.graph.input}
    name = wanted if wanted in values or len(values) != 1 else next(iter(values))
    if name not in values or len(values) != 1:
        raise DataError(
            f"The file has the inputs {', '.join(values) or 'none'}, one is wanted",
            "Export it again with one input",
        )
    return Entry(name=name, shape=tuple(d.dim_value for d in values[name].type.tensor_type.shape.dim))


def _read(source: Path) -> ModelProto:
    size = source.stat().st_size if source.exists() else 0
    if size > MOST_BYTES:
        raise _too_large(source)
    try:
        model = onnx.load(source)
    except Exception as error:
        raise DataError(
            f"{source.name} cannot be read as ONNX: {describe(error)}", "Export it again"
        ) from error
    if sum(len(t.raw_data) for t in model.graph.initializer) > MOST_BYTES:
        raise _too_large(source)
    return model


def _too_large(source: Path) -> DataError:
    return DataError(f"{source.name} holds more than 2 GB", "Convert a smaller network")


def _check(model: ModelProto, source: Path) -> None:
    if not model.graph.node:
        raise DataError(f"{source.name} holds no operator", "Export it again")
    found = sorted({n.op_type for n in model.graph.node} & INT8)
    if found:
        raise DataError(
            f"{source.name} is quantized already, it holds {', '.join(found)}", "Give the float32 file"
        )


def _constant_initializers(graph: GraphProto) -> None:
    """Take weights out of the inputs, where files before IR version 4 list them."""
    weights = {t.name for t in graph.initializer}
    kept = [v for v in graph.input if v.name not in weights]
    if len(kept) < len(graph.input):
        del graph.input[:]
        graph.input.extend(kept)


def _modern(model: ModelProto, source: Path) -> ModelProto:
    """Bring an old opset to the oldest one that per-channel scales need."""
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if opset < OLDEST_OPSET:
        try:
            with quiet():
                model = version_converter.convert_version(model, OLDEST_OPSET)
        except Exception as error:
            raise DataError(
                f"{source.name} has opset {opset} and cannot be brought to {OLDEST_OPSET}: {describe(error)}",
                f"Export it again with opset {OLDEST_OPSET} or later",
            ) from error
    model.ir_version = max(model.ir_version, 7)
    return model


def _check_loads(path: Path, source: Path) -> None:
    try:
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise not_run(source.name, error) from error


def _name(graph: GraphProto) -> None:
    """Give every node a name of its own; layers are left out by it."""
    seen: set[str] = set()
    for index, node in enumerate(graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}_{index}"
        seen.add(node.name)


def followers(model: ModelProto, layer: str) -> tuple[NodeProto, ...]:
    """Return the activation functions that the quantizer merges into `layer`: those that alone read it."""
    graph = model.graph
    node = next(n for n in graph.node if n.name == layer)
    found: list[NodeProto] = []
    while True:
        readers = [n for n in graph.node if node.output[0] in n.input]
        if len(readers) != 1 or readers[0].op_type not in ("Relu", "Clip"):
            return tuple(found)
        node = readers[0]
        found.append(node)
