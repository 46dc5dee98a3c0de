"""ONNX without ballast, in two files: the graph, and its weights in name order.

The weights lie apart so that a small change to a model is a small transfer: recalibration changes the
graph file little and moves no weight. int64 tensors (shapes, axes) and what sets the shape of an output,
such as the scales of a Resize, stay in the graph: ONNX Runtime needs them for shape inference. Outputs are
bit-identical to those of the source.
"""

from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, inliner
from onnx.external_data_helper import load_external_data_for_model

from outrider_bundle.errors import DataError
from outrider_converter.loading import describe

ALIGN = 64
"""Bytes; a cache line, and the alignment of blobs in a bundle."""

MOST_BYTES = 2**31 - 1
"""What one ONNX file may hold."""

SHAPING = frozenset({"OneHot", "Pad", "Range", "Resize", "Slice", "TopK", "Upsample"})
"""Operators whose later inputs may be other than int64 and yet set the shape of what they make."""

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def strip(source: Path, graph: Path, weights: Path) -> None:
    """Write `graph` and `weights` from `source`.

    Args:
        source: any ONNX file of up to 2 GB; functions are inlined, bodies of If and Loop stay in the graph.
        graph: without metadata, doc strings, intermediate shapes and long names.
        weights: all initializers but those that set shapes, each 64-byte aligned; must lie beside `graph`.

    Raises:
        DataError: the file cannot be read, or holds what cannot be laid out: sparse weights, more than 2 GB.
    """
    model = _read(source)
    clean = ModelProto(ir_version=max(model.ir_version, 4))
    clean.graph.CopyFrom(model.graph)
    clean.opset_import.extend(o for o in model.opset_import if _used(o.domain, clean.graph))
    _constants(clean.graph)
    for part in _graphs(clean.graph):
        _bare(part)
    _share(clean.graph)
    _rename(clean.graph)
    blob = _externalize(clean.graph, weights.name)
    weights.write_bytes(blob)
    graph.write_bytes(clean.SerializeToString(deterministic=True))


def _read(source: Path) -> ModelProto:
    try:
        model = onnx.load(source, load_external_data=False)
        load_external_data_for_model(model, str(source.parent))
        if model.functions:
            model = inliner.inline_local_functions(model)
    except Exception as error:
        raise DataError(
            f"{source.name} cannot be read as ONNX: {describe(error)}", "Export it again"
        ) from error
    if any(part.sparse_initializer for part in _graphs(model.graph)):
        raise DataError(f"{source.name} holds sparse weights", "Export it with dense ones")
    if sum(len(t.raw_data) for t in model.graph.initializer) > MOST_BYTES:
        raise DataError(f"{source.name} holds more than 2 GB", "Convert a smaller network")
    return model


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """Yield a graph and the bodies of its nodes, however deep."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for body in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _graphs(body)


def _used(domain: str, graph: GraphProto) -> bool:
    return domain in ("", "ai.onnx") or any(n.domain == domain for g in _graphs(graph) for n in g.node)


def _constants(graph: GraphProto) -> None:
    """Take weights out of the inputs, where files before IR version 4 list them."""
    weights = {t.name for t in graph.initializer}
    kept = [v for v in graph.input if v.name not in weights]
    if len(kept) < len(graph.input):
        copies = [ValueInfoProto.FromString(v.SerializeToString()) for v in kept]
        del graph.input[:]
        graph.input.extend(copies)


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
    kept, public = [], _public(graph)
    for tensor in sorted(graph.initializer, key=lambda t: t.name):
        key = tensor.data_type, tuple(tensor.dims), onnx.numpy_helper.to_array(tensor).tobytes()
        first = tensor.name if tensor.name in public else seen.setdefault(key, tensor.name)
        if first == tensor.name:
            kept.append(tensor)
        else:
            alias[tensor.name] = first
    _replace_names(graph, alias)
    _set_initializers(graph, kept)


def _public(graph: GraphProto) -> set[str]:
    return {v.name for v in (*graph.input, *graph.output)}


def _rename(graph: GraphProto) -> None:
    """Give tensors short names; the order of initializers by name stays what it was. I/O keeps its names.

    Names are unique over a graph and the bodies in it (ONNX IR, "Names Within a Graph"), so one table does.
    """
    public = _public(graph)
    weights = sorted(t.name for t in graph.initializer if t.name not in public)
    values = sorted(_inner(graph) - public - set(weights))
    for first, second in (("w", "v"), ("x", "y"), ("weight", "value"), ("ww", "vv")):
        shorts = _shorts(first, len(weights)), _shorts(second, len(values))
        if not public & {*shorts[0], *shorts[1]}:
            break
    alias = dict(zip(weights, shorts[0], strict=True)) | dict(zip(values, shorts[1], strict=True))
    _replace_names(graph, alias)


def _inner(graph: GraphProto) -> set[str]:
    """Return the names of all that nodes make, and of all that bodies hold."""
    found = {o for part in _graphs(graph) for n in part.node for o in n.output if o}
    for body in list(_graphs(graph))[1:]:
        found |= _public(body) | {t.name for t in body.initializer}
    return found


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
    """Rename tensors wherever they are made or used, in bodies too."""
    for part in _graphs(graph):
        for node in part.node:
            node.input[:] = [alias.get(name, name) for name in node.input]
            node.output[:] = [alias.get(name, name) for name in node.output]
        ends = () if part is graph else (*part.input, *part.output)
        for named in (*part.initializer, *ends):
            named.name = alias.get(named.name, named.name)


def _set_initializers(graph: GraphProto, tensors: list[TensorProto]) -> None:
    copies = [TensorProto.FromString(t.SerializeToString()) for t in tensors]
    del graph.initializer[:]
    graph.initializer.extend(copies)


def _externalize(graph: GraphProto, location: str) -> bytes:
    """Move all initializers but those that set shapes into one blob, in name order; return it."""
    blob, shaping = bytearray(), _shaping(graph)
    tensors = sorted(graph.initializer, key=lambda t: t.name)
    for tensor in tensors:
        tensor.ClearField("doc_string")
        tensor.ClearField("metadata_props")
        if tensor.data_type == TensorProto.INT64 or tensor.name in shaping:
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


def _shaping(graph: GraphProto) -> set[str]:
    """Return the names of tensors on which the shape of another one depends."""
    nodes = (node for part in _graphs(graph) for node in part.node if node.op_type in SHAPING)
    return {name for node in nodes for name in node.input[node.op_type != "Range" :]}
