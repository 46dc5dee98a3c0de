"""The range of every activation, from one pass over calibration frames, by any of three methods.

Sources: percentile as in Wu et al., "Integer Quantization for Deep Learning Inference", arXiv 2004.09602;
entropy as in Migacz, "8-bit Inference with TensorRT", GTC 2017: the threshold whose 8-bit histogram loses
least information (Kullback-Leibler) about the full one.
"""

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import onnxruntime
from msgspec import Struct
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from outrider_bundle.errors import DataError
from outrider_converter.loading import describe
from outrider_converter.quantization.prepare import QUANTIZED
from outrider_converter.quiet import quiet

Method = Literal["minmax", "entropy", "percentile"]
METHODS: tuple[Method, ...] = ("minmax", "percentile", "entropy")

BINS = 2048
LEVELS = 128
"""Steps of an int8 value on one side of zero."""

PERCENTILE = 0.99999

Ranges = dict[str, tuple[float, float]]
"""Lowest and highest value by tensor; both are float32."""


class Observed(Struct, kw_only=True):
    """What one tensor has held so far; `counts` are of |x| in `BINS` equal bins up to `limit`."""

    low: float = 0.0
    high: float = 0.0
    limit: float = 0.0
    counts: NDArray[np.int64] | None = None


def observe(
    model: ModelProto, samples: NDArray[np.float32], name: str, *, histograms: bool
) -> dict[str, Observed]:
    """Run all samples once and note what each activation holds; one sample is in memory at a time.

    Args:
        model: prepared.
        samples: model inputs without batch `(n, ...)` float32.
        name: of the input.
        histograms: whether entropy and percentile will be asked for.

    Returns:
        By tensor, for the inputs and outputs of all operators that may be quantized.

    Raises:
        DataError: the model cannot be run on the samples, or answers NaN or infinity.
    """
    wanted = _activations(model)
    seen = {tensor: Observed() for tensor in wanted}
    inner = [tensor for tensor in wanted if tensor != name]
    session = open_with_outputs(model, inner)
    for sample in samples:
        for tensor, values in (*_run(session, inner, {name: sample[None]}), (name, sample)):
            if tensor in seen:
                _update(seen[tensor], values, tensor, histograms=histograms)
    return seen


def open_with_outputs(model: ModelProto, tensors: Iterable[str], *, optimize: bool = True) -> Any:  # noqa: ANN401 - the library has no types
    """Return a session of `model` that can be asked for any of `tensors`."""
    shown = ModelProto()
    shown.CopyFrom(model)
    public = {v.name for v in shown.graph.output}
    shown.graph.output.extend(_value(t) for t in tensors if t not in public)
    options = onnxruntime.SessionOptions()
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    with quiet():
        return onnxruntime.InferenceSession(
            shown.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )


def _value(name: str) -> Any:  # noqa: ANN401 - the library has no types
    from onnx import ValueInfoProto  # noqa: PLC0415

    return ValueInfoProto(name=name)


def _run(session: Any, tensors: list[str], feed: dict[str, Any]) -> Iterable[tuple[str, Any]]:  # noqa: ANN401
    try:
        return tuple(zip(tensors, session.run(tensors, feed), strict=True))
    except Exception as error:
        raise DataError(
            f"The network cannot be run on the calibration frames: {describe(error)}",
            "Let input.name, input.shape and input.layout be those of the file",
        ) from error


def _activations(model: ModelProto) -> list[str]:
    """Return the float tensors that operators to be quantized read or make, in order."""
    graph = model.graph
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.input, *graph.output)}
    weights = {t.name for t in graph.initializer}
    found: dict[str, None] = {}
    for node in graph.node:
        if node.op_type in QUANTIZED:
            for tensor in (*node.input, *node.output):
                if kinds.get(tensor) == TensorProto.FLOAT and tensor not in weights:
                    found[tensor] = None
    return list(found)


def _update(seen: Observed, values: NDArray[np.float32], tensor: str, *, histograms: bool) -> None:
    if not values.size:
        return
    low, high = float(values.min()), float(values.max())
    if not np.isfinite((low, high)).all():
        raise DataError(
            f"The activation '{tensor}' holds NaN or infinity on a calibration frame",
            "Check the file's weights and the input's preprocessing",
        )
    seen.low, seen.high = min(seen.low, low), max(seen.high, high)
    if histograms:
        _count(seen, np.abs(values).ravel())


def _count(seen: Observed, values: NDArray[np.float32]) -> None:
    """Add to the histogram; where it is too short, its bins are joined in pairs until it is not."""
    top = float(values.max())
    if top == 0.0:
        values, top = values[:1], seen.limit or 1e-12
    if seen.counts is None:
        seen.counts, seen.limit = np.zeros(BINS, np.int64), top
    while seen.limit < top:
        joined = seen.counts.reshape(-1, 2).sum(1)
        seen.counts = np.concatenate([joined, np.zeros(BINS // 2, np.int64)])
        seen.limit *= 2
    bins = np.minimum((values * np.float32(BINS / seen.limit)).astype(np.int32), BINS - 1)
    seen.counts += np.bincount(bins, minlength=BINS)


def ranges(observed: dict[str, Observed], method: Method) -> Ranges:
    """Return the range of each tensor.

    Args:
        observed: with histograms, unless the method is minmax.
        method: minmax takes all values in, percentile all but 1 of 100,000, entropy as far as it pays.
    """
    cut = {"percentile": _percentile, "entropy": _entropy}.get(method)
    found = {}
    for tensor, seen in observed.items():
        threshold = np.inf if cut is None or seen.counts is None else cut(seen.counts) * seen.limit / BINS
        low, high = max(seen.low, -threshold), min(seen.high, threshold)
        found[tensor] = float(np.float32(low)), float(np.float32(high))
    return found


def _percentile(counts: NDArray[np.int64]) -> int:
    """Return how many bins hold that share of the values."""
    total = np.cumsum(counts)
    return int(np.searchsorted(total, PERCENTILE * total[-1])) + 1


def _entropy(counts: NDArray[np.int64]) -> int:
    """Return after how many bins to cut so that `LEVELS` steps lose the least information."""
    counts = counts.copy()
    counts[0] = counts[1]  # values that are exactly 0 cost nothing in any scale and would outweigh the rest
    used = int(np.flatnonzero(counts)[-1]) + 1 if counts.any() else BINS
    best, best_loss = BINS, np.inf
    for size in range(LEVELS, used + LEVELS, LEVELS // 8):
        loss = _loss(counts, min(size, BINS))
        if loss < best_loss:
            best, best_loss = min(size, BINS), loss
    return best


def _loss(counts: NDArray[np.int64], size: int) -> float:
    """Return the divergence of the first `size` bins, the rest clipped into the last, from `LEVELS` steps."""
    kept = counts[:size].astype(np.float64)
    steps = (np.arange(size) * LEVELS) // size
    alive = kept > 0
    sums = np.bincount(steps, kept, LEVELS)
    members = np.bincount(steps[alive], minlength=LEVELS)
    coarse = np.where(alive, (sums / np.maximum(members, 1))[steps], 0.0)
    kept[-1] += counts[size:].sum()
    both = (kept > 0) & (coarse > 0)
    if not both.any():
        return float(np.inf)
    fine, coarse = kept / kept.sum(), coarse / coarse.sum()
    missing = float(fine[(kept > 0) & ~both].sum())  # clipped mass that no step stands for
    return float((fine[both] * np.log(fine[both] / coarse[both])).sum() + missing * np.log(BINS))
