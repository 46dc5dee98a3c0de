"""Weight scales with which the 16-bit sums of an x86 CPU without VNNI cannot overflow.

Such CPUs multiply uint8 activations by int8 weights with `vpmaddubsw`, which adds two neighbouring products
in 16 bits and saturates. Seven-bit weights avoid it at the cost of half of the resolution. Here a channel's
scale grows only as far as its worst pair of neighbours needs: two weights of one sign may add up to 128,
since 255 * 128 < 2**15. Depthwise kernels do not use the instruction and keep all eight bits.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

LARGEST_PAIR = 128
"""Of two int8 weights of one sign next to one another: 255 * 128 = 32,640 fits into 16 bits."""

WEIGHTY = ("Conv", "Gemm", "MatMul")

Array = NDArray[np.float32]


def attribute(node: NodeProto, name: str, default: int) -> int:
    """Return an integer attribute."""
    return next((int(a.i) for a in node.attribute if a.name == name), default)


def channel_axis(node: NodeProto) -> int:
    """Return which axis of a node's weight is its output channel."""
    return 0 if node.op_type == "Conv" or attribute(node, "transB", 0) else 1


def depthwise(weight: NDArray[Any], groups: int) -> bool:
    """Return whether kernels give a convolution's channels one filter each, and so add no two products.

    Several filters a channel, or one channel for all filters, are computed as any other convolution.
    """
    return weight.shape[1] == 1 and groups == len(weight) > 1


def rows(node: NodeProto, weight: NDArray[Any]) -> NDArray[Any] | None:
    """Return a weight as `(channels out, k)` with k in the order in which kernels walk it.

    Returns:
        For a convolution k is (kernel..., channels in); None if the kernel adds no neighbours: depthwise
        convolutions, and weights of other ranks.
    """
    if node.op_type == "Conv":
        if depthwise(weight, attribute(node, "group", 1)):
            return None
        return np.moveaxis(weight, 1, -1).reshape(len(weight), -1)
    if weight.ndim != 2:  # noqa: PLR2004 - a matrix
        return None
    return weight if channel_axis(node) == 0 else weight.T


def pairs(walked: NDArray[Any], channels: int) -> list[NDArray[Any]]:
    """Return the neighbours `(rows, pairs, 2)` that are added in 16 bits.

    Args:
        walked: `(rows, k)`.
        channels: in; if odd, kernels either go on in the next position or begin anew, so both count.
    """
    found = [_pairs(walked)]
    if channels % 2 and walked.shape[1] > channels:
        found.append(_pairs(walked.reshape(-1, channels)).reshape(len(walked), -1, 2))
    return found


def _pairs(walked: NDArray[Any]) -> NDArray[Any]:
    if walked.shape[1] % 2:
        walked = np.pad(walked, ((0, 0), (0, 1)))
    return walked.reshape(len(walked), -1, 2)


def worst_pair(walked: NDArray[Any], channels: int) -> NDArray[np.float64]:
    """Return for each row the largest sum of two neighbours, parts of one sign only."""
    worst = np.zeros(len(walked))
    for found in pairs(walked.astype(np.float64), channels):
        for sign in (1, -1):
            worst = np.maximum(worst, np.maximum(sign * found, 0).sum(2).max(1))
    return worst


def scales(node: NodeProto, weight: Array) -> Array | None:
    """Return one scale for each output channel of `node`, or None if its weight is no case for this."""
    if node.op_type == "Conv":
        flat, channels = weight.reshape(len(weight), -1), weight.shape[1]
    elif weight.ndim == 2:  # noqa: PLR2004 - a matrix
        flat, channels = (weight if channel_axis(node) == 0 else weight.T), 2
    else:
        return None
    found = np.abs(flat).max(1) / 127
    walked = rows(node, weight)
    if walked is not None:
        # Half a step less, because each of two weights may be rounded up by half a step.
        found = np.maximum(found, worst_pair(walked, channels) / (LARGEST_PAIR - 0.5))
    used = found[found > 0]
    found[found == 0] = np.median(used) if used.size else 1.0
    return np.asarray(found, np.float32)


def overrides(model: ModelProto) -> dict[str, list[dict[str, object]]]:
    """Return the quantizer's `TensorQuantOverrides` with safe scales for all weights that are constants."""
    from onnxruntime.quantization import QuantType  # noqa: PLC0415 - so that the arithmetic imports alone

    constants = {t.name: t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT}
    found: dict[str, list[dict[str, object]]] = {}
    for node in model.graph.node:
        if node.op_type not in WEIGHTY or node.input[1] not in constants:
            continue
        steps = scales(node, numpy_helper.to_array(constants[node.input[1]]))
        if steps is None:
            continue
        entries = [{"quant_type": QuantType.QInt8, "scale": s, "zero_point": np.int8(0)} for s in steps]
        entries[0]["axis"] = channel_axis(node)
        found[node.input[1]] = entries
    return found
