"""What each position of a convolution sees, in the order in which int8 kernels walk it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper


def windows(
    node: NodeProto, kernel: Sequence[int], values: NDArray[np.int32], zero: int, most: int
) -> NDArray[np.int32]:
    """Return the inputs of a convolution's sums.

    Args:
        node: Conv, of any rank.
        kernel: sizes of its filters; not every exporter writes them into the node.
        values: `(1, c, ...)`.
        zero: value of the padding.
        most: positions to return, evenly spread.

    Returns:
        `(groups, positions, kernel * c / groups)`, channels innermost.
    """
    how = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    groups = how.get("group", 1)
    rank = len(kernel)
    strides, dilations = how.get("strides", [1] * rank), how.get("dilations", [1] * rank)
    spans = [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]
    padded = np.pad(values[0], [(0, 0), *_pads(how, values.shape[2:], spans, strides)], constant_values=zero)
    axes = tuple(range(1, rank + 1))
    seen = np.lib.stride_tricks.sliding_window_view(padded, spans, axes)
    places = tuple(slice(None, None, step) for step in strides)
    inside = tuple(slice(None, None, step) for step in dilations)
    steps: Any = (slice(None), *places, *inside)
    seen = seen[steps]
    channels, size = seen.shape[0], seen.shape[1 : rank + 1]
    count = int(np.prod(size))
    chosen = np.unravel_index(np.linspace(0, count - 1, min(most, count)).astype(int), size)
    picked = np.moveaxis(seen[slice(None), *chosen], 0, -1)  # (positions, kernel..., c)
    split = picked.reshape(len(picked), -1, groups, channels // groups)
    return np.ascontiguousarray(np.moveaxis(split, 2, 0).reshape(groups, len(picked), -1))


def _pads(
    how: dict[str, Any], sizes: tuple[int, ...], spans: list[int], strides: list[int]
) -> list[tuple[int, int]]:
    """Return what is added before and behind each axis of the image."""
    rank = len(spans)
    kind = how.get("auto_pad", b"NOTSET").decode()
    if kind == "VALID":
        return [(0, 0)] * rank
    if kind == "NOTSET":
        pads = how.get("pads", [0] * (2 * rank))
        return [(pads[axis], pads[axis + rank]) for axis in range(rank)]
    found = []
    for size, span, stride in zip(sizes, spans, strides, strict=True):
        total = max((-(-size // stride) - 1) * stride + span - size, 0)
        half = total // 2
        found.append((half, total - half) if kind == "SAME_UPPER" else (total - half, half))
    return found
