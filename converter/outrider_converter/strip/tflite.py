"""TFLite without ballast: metadata, ranges, signatures and inner names go; equal vectors become one.

A flatbuffer may refer to one vector from many places. The zero points of per-channel weights are long runs of
zeros of eight bytes each, so sharing them saves more than all names. Outputs are bit-identical.
"""

from pathlib import Path
from typing import Any

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

BUFFER_ALIGN = 16
"""Bytes; what the schema asks for buffer data, and Python's packer does not do by itself."""

IDENTIFIER = b"TFL3"


class SharingBuilder(flatbuffers.Builder):  # type: ignore[misc]  # the library has no types
    """A builder that writes equal numeric vectors and strings once."""

    def __init__(self) -> None:
        """Start empty."""
        super().__init__(1 << 16)
        self._vectors: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: NDArray[Any]) -> int:  # noqa: N802 - the generated code calls it by this name
        """Write a vector, or return where an equal one lies; bytes are aligned as buffer data must be."""
        data = x.astype(x.dtype.newbyteorder("<")).tobytes()
        key = x.dtype.str, data
        if key not in self._vectors:
            align = BUFFER_ALIGN if x.dtype == np.uint8 else x.dtype.itemsize
            self.StartVector(x.dtype.itemsize, x.size, align)
            self.head -= len(data)
            self.Bytes[self.head : self.head + len(data)] = data
            self._vectors[key] = int(self.EndVector())
        return self._vectors[key]


def strip(source: Path, target: Path, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
    """Write `target` from `source`.

    Args:
        source: any TFLite file with a single subgraph.
        target: the same network without metadata, signatures, calibration ranges and inner names.
        inputs: new names of the inputs, in order.
        outputs: new names of the outputs, in order.
    """
    raw = source.read_bytes()
    model: Any = schema.ModelT.InitFromPackedBuf(bytearray(raw))
    model.description = None
    model.metadata = model.metadataBuffer = model.signatureDefs = None
    _inline_buffers(model, raw)
    _keep_used_buffers(model)
    for graph in model.subgraphs:
        graph.name = None
        graph.debugMetadataIndex = -1
        for tensor in graph.tensors:
            _bare(tensor)
        for index, name in (
            *zip(graph.inputs, inputs, strict=True),
            *zip(graph.outputs, outputs, strict=True),
        ):
            graph.tensors[index].name = name.encode()
    builder = SharingBuilder()
    builder.Finish(model.Pack(builder), IDENTIFIER)
    target.write_bytes(bytes(builder.Output()))


def _inline_buffers(model: Any, raw: bytes) -> None:  # noqa: ANN401 - the generated types are wrong
    """Bring buffers that lie behind the flatbuffer into it."""
    for buffer in model.buffers:
        if buffer.offset > 1:  # 0 and 1 mean that there is nothing behind
            buffer.data = np.frombuffer(raw, np.uint8, buffer.size, buffer.offset)
        buffer.offset = buffer.size = 0


def _keep_used_buffers(model: Any) -> None:  # noqa: ANN401 - the generated types are wrong
    """Drop buffers that no tensor refers to; the first is empty by convention and stays."""
    used = sorted({0, *(t.buffer for g in model.subgraphs for t in g.tensors)})
    place = {old: new for new, old in enumerate(used)}
    model.buffers = [model.buffers[old] for old in used]
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.buffer = place[tensor.buffer]


def _bare(tensor: Any) -> None:  # noqa: ANN401 - the generated types are wrong
    """Drop a tensor's name and the ranges that its scale was computed from."""
    tensor.name = None
    if tensor.quantization is not None:
        tensor.quantization.min = tensor.quantization.max = None
        if tensor.quantization.scale is None:
            tensor.quantization = None
