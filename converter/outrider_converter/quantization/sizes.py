"""ONNX files of unknown sizes get those of a batch of 1."""

from typing import Any

import numpy as np
import onnxruntime
from onnx import GraphProto, ModelProto

from outrider_bundle.errors import DataError
from outrider_converter.loading import describe
from outrider_converter.quiet import quiet


def fix_sizes(model: ModelProto, name: str) -> None:
    """Give inputs and outputs of unknown size the one that they have for a batch of 1, in place.

    Raises:
        DataError: the size of an input is unknown beyond the batch, or the model cannot be run to see.
    """
    fix_batch(model, name)
    outputs = model.graph.output
    if all(d.dim_value > 0 for v in outputs for d in v.type.tensor_type.shape.dim):
        return
    weights = {t.name for t in model.graph.initializer}
    try:
        with quiet():
            session: Any = onnxruntime.InferenceSession(
                model.SerializeToString(), providers=["CPUExecutionProvider"]
            )
            feed = {
                v.name: np.zeros([d.dim_value for d in v.type.tensor_type.shape.dim], np.float32)
                for v in model.graph.input
                if v.name not in weights
            }
            given = session.run(None, feed)
    except Exception as error:
        raise not_run(name, error) from error
    for value, array in zip(outputs, given, strict=True):
        shape = value.type.tensor_type.shape
        del shape.dim[:]
        for size in np.shape(array):
            shape.dim.add(dim_value=size)


def fix_batch(model: ModelProto, name: str) -> None:
    """Set a batch of unknown size to 1, in place, wherever the graph's inputs and outputs name it.

    Raises:
        DataError: another dimension is unknown, or the batch is fixed to more than 1.
    """
    symbols = set()
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        for place, dim in enumerate(dims):
            known = dim.HasField("dim_value") and dim.dim_value > 0
            if known and (place or dim.dim_value == 1):
                continue
            if known or place:
                what = "a batch of " + str(dim.dim_value) if known else f"no fixed size in dimension {place}"
                raise DataError(
                    f"The input '{value.name}' of {name} has {what}",
                    "Export it again with a batch of 1 and fixed sizes",
                )
            symbols.add(dim.dim_param)
            dim.dim_value = 1
    if symbols:
        _forget_shapes(model.graph, symbols)


def _forget_shapes(graph: GraphProto, symbols: set[str]) -> None:
    """Drop what was inferred for the old batch; outputs that name it have 1 now."""
    graph.ClearField("value_info")
    for value in graph.output:
        for place, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_param in symbols and (dim.dim_param or not place):
                dim.dim_value = 1


def not_run(name: str, error: Exception) -> DataError:
    """Return the error for a file that ONNX Runtime does not take."""
    return DataError(
        f"ONNX Runtime does not load {name}: {describe(error)}",
        "Replace the operator it names, or update onnxruntime",
    )
