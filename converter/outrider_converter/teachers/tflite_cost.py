"""What a TFLite graph costs: its weights, and multiply-accumulates of convolutions and matrix products."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from outrider_converter.measure import Cost

Shape = tuple[int, ...]
FLOATS = (schema.TensorType.FLOAT32, schema.TensorType.FLOAT16, schema.TensorType.FLOAT64)

MACS: dict[int, Callable[[Shape, Shape, Shape], int]] = {
    schema.BuiltinOperator.CONV_2D: lambda _, weight, out: math.prod(out) * math.prod(weight[1:]),
    schema.BuiltinOperator.DEPTHWISE_CONV_2D: lambda _, weight, out: math.prod(out) * math.prod(weight[1:3]),
    schema.BuiltinOperator.FULLY_CONNECTED: lambda _, weight, out: math.prod(out) * weight[-1],
    schema.BuiltinOperator.BATCH_MATMUL: lambda left, _, out: math.prod(out) * left[-1],
}
"""Operator to its count, of the shapes of its first two inputs and of its output."""


def cost(raw: bytes, shapes: Sequence[Shape]) -> Cost:
    """Count, for one whole batch.

    Args:
        raw: a TFLite file.
        shapes: of the tensors of its first subgraph, in order.
    """
    model: Any = schema.ModelT.InitFromPackedBuf(bytearray(raw))
    graph = model.subgraphs[0]
    params = sum(math.prod(shapes[i]) for i, t in enumerate(graph.tensors) if _is_weight(t, model))
    macs = 0
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        kind = max(code.builtinCode, code.deprecatedBuiltinCode)  # which one is set depends on the file's age
        if kind in MACS:
            macs += MACS[kind](*(shapes[i] for i in (*operator.inputs[:2], operator.outputs[0])))
        elif kind == schema.BuiltinOperator.TRANSPOSE_CONV:
            weight, entry = (shapes[i] for i in operator.inputs[1:3])
            macs += math.prod(entry) * math.prod(weight[:3])
    return Cost(params=params, macs=macs)


def _is_weight(tensor: Any, model: Any) -> bool:  # noqa: ANN401 - the generated types are wrong
    buffer = model.buffers[tensor.buffer]
    filled = buffer.offset > 1 or (buffer.data is not None and len(buffer.data) > 0)
    return tensor.type in FLOATS and filled
