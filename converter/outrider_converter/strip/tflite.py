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

from outrider_bundle.errors import DataError
from outrider_converter.loading import describe

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


def strip(source: Path, target: Path, entry: str, output: str) -> None:
    """Write `target` from `source`.

    Args:
        source: any TFLite file with a single subgraph.
        target: the same network without metadata, signatures, calibration ranges and inner names.
        entry: new name of the input; several are numbered from 0.
        output: new name of the output, likewise.

    Raises:
        DataError: the file cannot be read, or has several subgraphs.
    """
    raw = source.read_bytes()
    model = _read(raw, source.name)
    model.description = None
    model.metadata = model.metadataBuffer = model.signatureDefs = None
    _inline_buffers(model, raw)
    _keep_used_buffers(model)
    for graph in model.subgraphs:
        graph.name = None
        graph.debugMetadataIndex = -1
        for tensor in graph.tensors:
            _bare(tensor)
        for indices, name in ((graph.inputs, entry), (graph.outputs, output)):
            for at, index in enumerate(indices):
                graph.tensors[index].name = (name if len(indices) == 1 else f"{name}{at}").encode()
    builder = SharingBuilder()
    builder.Finish(model.Pack(builder), IDENTIFIER)
    target.write_bytes(bytes(builder.Output()))


def _read(raw: bytes, name: str) -> Any:  # noqa: ANN401 - the generated types are wrong
    if raw[4:8] != IDENTIFIER:
        raise DataError(f"{name} is not TFLite", "Export it again")
    try:
        model: Any = schema.ModelT.InitFromPackedBuf(bytearray(raw))
    except Exception as error:
        raise DataError(f"{name} cannot be read as TFLite: {describe(error)}", "Export it again") from error
    if len(model.subgraphs) != 1:
        raise DataError(
            f"{name} has {len(model.subgraphs)} subgraphs, one is wanted",
            "Export it without conditions and loops",
        )
    return model


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
