"""What an ONNX graph costs: its weights, and multiply-accumulates of convolutions and matrix products."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from outrider_bundle.errors import DataError
from outrider_converter.loading import describe
from outrider_converter.measure import Cost

KINDS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
WEIGHTS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
Shapes = Mapping[str, tuple[int, ...]]


def cost(model: ModelProto, name: str, shape: tuple[int, ...]) -> Cost:
    """Count, for one sample.

    Args:
        model: a float network; it is changed.
        name: of its input.
        shape: of its input; multiply-accumulates are divided by the batch.

    Raises:
        DataError: ONNX Runtime does not run it.
    """
    params = sum(math.prod(t.dims) for t in _constants(model.graph) if t.data_type in WEIGHTS)
    shapes = _shapes(model, name, shape)
    macs = sum(_macs(node, shapes) for node in model.graph.node if node.op_type in KINDS)
    return Cost(params=params, macs=macs // shape[0])


def _constants(graph: GraphProto) -> list[TensorProto]:
    """Return initializers and the tensors of nodes of type Constant."""
    nodes = [a.t for n in graph.node if n.op_type == "Constant" for a in n.attribute if a.name == "value"]
    return [*graph.initializer, *nodes]


def _shapes(model: ModelProto, name: str, shape: tuple[int, ...]) -> Shapes:
    """Run the graph once and look: shape inference stops at the first Reshape it cannot follow."""
    graph = model.graph
    shapes = {t.name: tuple(t.dims) for t in graph.initializer} | {name: shape}
    wanted = {v for n in graph.node if n.op_type in KINDS for v in (*n.input[:2], n.output[0])}
    wanted -= set(shapes)
    del graph.output[:]
    graph.output.extend(helper.make_empty_tensor_value_info(value) for value in sorted(wanted))
    if not wanted:
        return shapes
    settings = ort.SessionOptions()
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    settings.log_severity_level = 4
    try:
        session: Any = ort.InferenceSession(
            model.SerializeToString(), settings, providers=["CPUExecutionProvider"]
        )
        answers = session.run(sorted(wanted), {name: np.zeros(shape, np.float32)})
    except Exception as error:
        raise DataError(
            f"The cost of the teacher cannot be counted: {describe(error)}", "Export it again"
        ) from error
    return shapes | {value: tuple(a.shape) for value, a in zip(sorted(wanted), answers, strict=True)}


def _macs(node: NodeProto, shapes: Shapes) -> int:
    first, second, output = (shapes[value] for value in (node.input[0], node.input[1], node.output[0]))
    if node.op_type == "Conv":
        return math.prod(output) * math.prod(second[1:])
    if node.op_type == "ConvTranspose":
        return math.prod(first) * math.prod(second[1:])
    transposed = node.op_type == "Gemm" and any(a.name == "transA" and a.i for a in node.attribute)
    return math.prod(output) * first[0 if transposed else -1]
