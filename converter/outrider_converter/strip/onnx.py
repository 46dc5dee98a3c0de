"""ONNX without ballast, in two files: the graph, and its weights in name order.

The weights lie apart so that a small change to a model is a small transfer: recalibration changes the
graph file little and moves no weight. int64 tensors (shapes, axes) stay in the graph, where ONNX
Runtime needs them for shape inference. Outputs are bit-identical to those of the source.
"""

from pathlib import Path

import onnx
from onnx import GraphProto, ModelProto, TensorProto
from onnx.external_data_helper import load_external_data_for_model

ALIGN = 64
"""Bytes; a cache line, and the alignment of blobs in a bundle."""

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def strip(source: Path, graph: Path, weights: Path) -> None:
    """Write `graph` and `weights` from `source`.

    Args:
        source: any ONNX file with a single graph.
        graph: without metadata, doc strings, intermediate shapes and long names.
        weights: all but int64 initializers, each 64-byte aligned; must lie beside `graph`.
    """
    model = onnx.load(source, load_external_data=False)
    load_external_data_for_model(model, str(source.parent))
    clean = ModelProto(ir_version=model.ir_version)
    clean.opset_import.extend(o for o in model.opset_import if _used(o.domain, model))
    clean.graph.CopyFrom(model.graph)
    _bare(clean.graph)
    _share(clean.graph)
    _rename(clean.graph)
    blob = _externalize(clean.graph, weights.name)
    weights.write_bytes(blob)
    graph.write_bytes(clean.SerializeToString(deterministic=True))


def _used(domain: str, model: ModelProto) -> bool:
    return domain in ("", "ai.onnx") or any(n.domain == domain for n in model.graph.node)


def _bare(graph: GraphProto) -> None:
    """Drop everything that no runtime reads."""
    graph.name = "g"
    for field in ("doc_string", "value_info", "metadata_props", "quantization_annotation"):
        graph.ClearField(field)
    for node in graph.node:
        for field in ("doc_string", "name", "metadata_props"):
            node.ClearField(field)
    for value in (*graph.input, *graph.output):
        value.ClearField("doc_string")
        value.ClearField("metadata_props")


def _share(graph: GraphProto) -> None:
    """Let initializers of equal type, shape and content be one; zero points mostly are."""
    seen: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    alias: dict[str, str] = {}
    kept = []
    for tensor in sorted(graph.initializer, key=lambda t: t.name):
        key = tensor.data_type, tuple(tensor.dims), onnx.numpy_helper.to_array(tensor).tobytes()
        first = seen.setdefault(key, tensor.name)
        if first == tensor.name:
            kept.append(tensor)
        else:
            alias[tensor.name] = first
    _replace_names(graph, alias)
    _set_initializers(graph, kept)


def _rename(graph: GraphProto) -> None:
    """Give tensors short names; the order of initializers by name stays what it was. I/O keeps its names."""
    public = {v.name for v in (*graph.input, *graph.output)}
    weights = sorted(t.name for t in graph.initializer if t.name not in public)
    values = sorted({o for n in graph.node for o in n.output if o} - public)
    alias = dict(zip(weights, _shorts("w", len(weights)), strict=True))
    alias |= dict(zip(values, _shorts("v", len(values)), strict=True))
    _replace_names(graph, alias)


def _shorts(prefix: str, count: int) -> list[str]:
    """Return `count` names whose alphabetical order is their own."""
    width = 1
    while len(DIGITS) ** width < count:
        width += 1
    return [
        prefix + "".join(DIGITS[n // len(DIGITS) ** i % len(DIGITS)] for i in range(width - 1, -1, -1))
        for n in range(count)
    ]


def _replace_names(graph: GraphProto, alias: dict[str, str]) -> None:
    """Rename tensors wherever they are made or used."""
    for node in graph.node:
        node.input[:] = [alias.get(name, name) for name in node.input]
        node.output[:] = [alias.get(name, name) for name in node.output]
    for tensor in graph.initializer:
        tensor.name = alias.get(tensor.name, tensor.name)


def _set_initializers(graph: GraphProto, tensors: list[TensorProto]) -> None:
    copies = [TensorProto.FromString(t.SerializeToString()) for t in tensors]
    del graph.initializer[:]
    graph.initializer.extend(copies)


def _externalize(graph: GraphProto, location: str) -> bytes:
    """Move all but int64 initializers into one blob, in name order; return it."""
    blob = bytearray()
    tensors = sorted(graph.initializer, key=lambda t: t.name)
    for tensor in tensors:
        tensor.ClearField("doc_string")
        tensor.ClearField("metadata_props")
        if tensor.data_type == TensorProto.INT64:
            continue
        data = onnx.numpy_helper.to_array(tensor).tobytes()
        blob.extend(bytes(-len(blob) % ALIGN))
        bare = TensorProto(
            name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, data_location=TensorProto.EXTERNAL
        )
        for key, value in (("location", location), ("offset", str(len(blob))), ("length", str(len(data)))):
            bare.external_data.add(key=key, value=value)
        tensor.CopyFrom(bare)
        blob.extend(data)
    _set_initializers(graph, tensors)
    return bytes(blob)
