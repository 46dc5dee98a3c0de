"""Files whose int8 kernels saturate on x86 CPUs without VNNI, found on any machine.

Measured: the int8 kernels of this machine against the same file in float arithmetic; where this CPU has
the fault it shows. Emulated: real activations of each layer are multiplied by its weights as `vpmaddubsw`
does, two neighbours at a time, and sums that 16 bits cannot hold are counted; that finds it anywhere.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from msgspec import Struct
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, numpy_helper

from outrider_converter.quantization.deviation import Deviation, compare
from outrider_converter.quantization.ranges import open_with_outputs
from outrider_converter.quantization.safe import WEIGHTY, attribute, pairs, rows
from outrider_converter.quantization.windows import windows

SHORT = np.iinfo(np.int16)
EMULATED = 8
"""Samples whose sums are counted."""

MEASURED = 32
"""Samples on which the kernels are compared."""

POSITIONS = 256
"""Most positions of an image that are looked at, evenly spread."""

GAP = 0.1
"""Relative difference of the outputs that rounding does not explain; deep networks come to 0.05."""


class Overflow(Struct, frozen=True, kw_only=True):
    """A layer's weight, and the share of its outputs that at least one overflowing sum goes into."""

    layer: str
    share: float


class Saturation(Struct, frozen=True, kw_only=True):
    """What was found in a file.

    Args:
        flagged: whether it computes something else on a CPU without VNNI.
        layers: those that overflow, the worst first.
        measured: this machine's int8 kernels against float arithmetic.
        note: the same as a sentence.
    """

    flagged: bool
    layers: tuple[Overflow, ...]
    measured: Deviation
    note: str


def detect(path: Path, samples: NDArray[np.float32], name: str) -> Saturation:
    """Look for sums that overflow in an int8 QDQ file.

    Args:
        path: the file, its weights inside or beside it.
        samples: model inputs without batch `(n, ...)` float32, as the file takes them.
        name: of the input.
    """
    model = onnx.load(path)
    found = tuple(sorted(_overflows(model, samples[:EMULATED], name), key=lambda o: -o.share))
    measured = _measure(path, samples[:MEASURED], name)
    flagged = bool(found) or measured.relative > GAP
    worst = f", most in {found[0].layer}: {found[0].share:.2%} of its outputs" if found else ""
    note = (
        f"16-bit sums overflow in {len(found)} layers{worst}; this machine's int8 kernels are "
        f"{measured.relative:.2g} from float arithmetic and agree on {measured.agreement:.1%} of answers"
    )
    return Saturation(flagged=flagged, layers=found, measured=measured, note=note)


def _measure(path: Path, samples: NDArray[np.float32], name: str) -> Deviation:
    """Compare the file as it runs here with itself in float arithmetic."""
    levels = onnxruntime.GraphOptimizationLevel
    answers = []
    for level in (levels.ORT_ENABLE_ALL, levels.ORT_DISABLE_ALL):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = level
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        rows = [np.concatenate([np.ravel(o) for o in _run(session, {name: s[None]})]) for s in samples]
        answers.append(np.stack(rows).astype(np.float32))
    return compare(answers[0], answers[1])


def _run(session: Any, feed: dict[str, Any]) -> list[NDArray[Any]]:  # noqa: ANN401 - untyped library
    answers: list[NDArray[Any]] = session.run(None, feed)
    return answers


class _Layer(Struct, kw_only=True):
    """A node with its quantized activation (a tensor's name) and its int8 weight."""

    node: NodeProto
    activation: str
    weight: NDArray[np.int8]
    weight_name: str
    zero_point: int
    signed: bool


def _overflows(model: ModelProto, samples: NDArray[np.float32], name: str) -> Iterator[Overflow]:
    layers = [layer for layer in _layers(model) if _can_overflow(layer)]
    if not layers:
        return
    tensors = sorted({layer.activation for layer in layers})
    session = open_with_outputs(model, tensors, optimize=False)
    over, seen = np.zeros(len(layers), np.int64), np.zeros(len(layers), np.int64)
    for sample in samples:
        values = dict(zip(tensors, session.run(tensors, {name: sample[None]}), strict=True))
        for place, layer in enumerate(layers):
            hit, total = _count(layer, values[layer.activation])
            over[place] += hit
            seen[place] += total
    for layer, hits, looked_at in zip(layers, over, seen, strict=True):
        if hits:
            yield Overflow(layer=layer.node.name or layer.weight_name, share=float(hits / looked_at))


def _layers(model: ModelProto) -> Iterator[_Layer]:
    """Yield convolutions and products of a quantized activation and a constant int8 weight."""
    constants = {t.name: t for t in model.graph.initializer}
    sources = {n.output[0]: n for n in model.graph.node if n.op_type == "DequantizeLinear"}
    for node in model.graph.node:
        if node.op_type not in WEIGHTY or any(i not in sources for i in node.input[:2]):
            continue
        left, right = sources[node.input[0]], sources[node.input[1]]
        weight = constants.get(right.input[0])
        if weight is None or weight.data_type != onnx.TensorProto.INT8 or left.input[0] in constants:
            continue
        zero = numpy_helper.to_array(constants[left.input[2]]) if len(left.input) > 2 else np.uint8(0)  # noqa: PLR2004
        yield _Layer(
            node=node,
            activation=left.input[0],
            weight=numpy_helper.to_array(weight),
            weight_name=right.input[0],
            zero_point=int(np.asarray(zero).ravel()[0]),
            signed=np.asarray(zero).dtype == np.int8,
        )


def _walked(layer: _Layer) -> NDArray[Any] | None:
    return rows(layer.node, layer.weight)


def _channels(layer: _Layer) -> int:
    return layer.weight.shape[1] if layer.node.op_type == "Conv" else 2


def _can_overflow(layer: _Layer) -> bool:
    """Return whether the largest activations could overflow with these weights at all."""
    walked = _walked(layer)
    return walked is not None and bool(_risky(walked.astype(np.int32)).any())


def _risky(walked: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return which pairs `(rows, pairs)` may overflow with activations of up to 255."""
    (both, *_) = pairs(walked, 2)
    high, low = np.maximum(both, 0).sum(2) * 255, np.minimum(both, 0).sum(2) * 255
    return np.asarray((high > SHORT.max) | (low < SHORT.min))


def _count(layer: _Layer, values: NDArray[Any]) -> tuple[int, int]:
    """Return how many of the layer's outputs have a sum that overflows, and how many were looked at."""
    walked = _walked(layer)
    if walked is None:
        return 0, 0
    groups = attribute(layer.node, "group", 1) if layer.node.op_type == "Conv" else 1
    parts = np.split(walked.astype(np.int32), groups)
    raised = values.astype(np.int32) + (128 if layer.signed else 0)
    if layer.node.op_type == "Conv":
        inputs = windows(
            layer.node,
            layer.weight.shape[2:],
            raised,
            layer.zero_point + (128 if layer.signed else 0),
            POSITIONS,
        )
    else:
        inputs = _matrix(layer, raised)[None]
    hit, total = 0, 0
    for group, part in enumerate(parts):
        seen = inputs[group if len(inputs) > 1 else 0]
        hit += _hits(part, seen)
        total += len(part) * len(seen)
    return hit, total


def _matrix(layer: _Layer, values: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the rows `(positions, k)` that a matrix product multiplies."""
    if layer.node.op_type == "Gemm" and attribute(layer.node, "transA", 0):
        values = values.T
    flat = values.reshape(-1, values.shape[-1])
    chosen = np.linspace(0, len(flat) - 1, min(POSITIONS, len(flat))).astype(int)
    return np.asarray(flat[chosen], np.int32)


def _hits(weights: NDArray[np.int32], inputs: NDArray[np.int32]) -> int:
    """Return how many of weights `(rows, k)` times inputs `(positions, k)` meet an overflow."""
    risky = _risky(weights)
    (weight_pairs, *_), (input_pairs, *_) = pairs(weights, 2), pairs(inputs, 2)
    hits = 0
    for row in np.flatnonzero(risky.any(1)):
        places = np.flatnonzero(risky[row])
        sums = (input_pairs[:, places] * weight_pairs[row, places]).sum(2)
        hits += int(((sums > SHORT.max) | (sums < SHORT.min)).any(1).sum())
    return hits
