"""Ranges that outlive a conversion: a layer whose past has not changed keeps its steps, bit for bit.

A range is filed under a digest of all that its tensor is computed from: operators, attributes, weights and
the input's shape, but no names. A conversion with only a new head finds all ranges of the backbone again,
so its file differs in the head's bytes only and is a small transfer.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from onnx import ModelProto, numpy_helper

from outrider_bundle.errors import DataError

FILE = "calibration.json"

Range = tuple[float, float]


class Filed(Struct, frozen=True, kw_only=True):
    """Ranges of one runtime's file by key, and how they were found."""

    method: str
    ranges: dict[str, Range]


class Calibrations(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a conversion leaves behind, by runtime."""

    schema: int = 1
    runtimes: dict[str, Filed] = {}


def load(previous: str | None) -> Calibrations:
    """Return what an earlier conversion has left; nothing if `previous` is None.

    Args:
        previous: its folder, or the file itself.

    Raises:
        DataError: there is no such file, or it is broken.
    """
    if previous is None:
        return Calibrations()
    path = Path(previous).expanduser()
    path = path / FILE if path.is_dir() else path
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Calibrations)
    except OSError as error:
        raise DataError(
            f"quantize.previous: {path} cannot be read: {error.strerror}",
            f"Name the folder of an earlier conversion, which holds {FILE}",
        ) from error
    except msgspec.MsgspecError as error:
        raise DataError(f"{path} is broken: {error}", "Leave quantize.previous out") from error
    if found.schema != 1:
        raise DataError(f"{path} has schema {found.schema}, this is 1", "Leave quantize.previous out")
    return found


def dump(calibrations: Calibrations, folder: Path) -> Path:
    """Write what a later conversion may reuse, and return the file."""
    path = folder / FILE
    path.write_bytes(msgspec.json.format(msgspec.json.encode(calibrations, order="deterministic")))
    return path


def merged(
    found: dict[str, Range], keys: dict[str, str], filed: Filed | None
) -> tuple[dict[str, Range], int]:
    """Return ranges by tensor with those of unchanged tensors as they were, and how many these are."""
    if filed is None:
        return found, 0
    same = {name: filed.ranges[keys[name]] for name in found if keys.get(name) in filed.ranges}
    return {**found, **same}, len(same)


def file(found: dict[str, Range], keys: dict[str, str], method: str) -> Filed:
    """Return ranges under the keys of their tensors."""
    return Filed(method=method, ranges={keys[name]: value for name, value in found.items() if name in keys})


def onnx_keys(model: ModelProto) -> dict[str, str]:
    """Return the key of every tensor that `model`, prepared, computes or takes."""
    graph = model.graph
    keys = {v.name: _digest("input", _shape(v)) for v in graph.input}
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        keys[tensor.name] = _digest("weight", values.dtype.str, values.shape, values.tobytes())
    for node in graph.node:
        attributes = sorted(
            (a.name, a.SerializeToString(deterministic=True)) for a in node.attribute if a.name != "name"
        )
        past = [keys.get(name, "") for name in node.input]
        for place, name in enumerate(node.output):
            keys[name] = _digest(node.domain, node.op_type, attributes, past, place)
    return keys


def _shape(value: Any) -> tuple[int, ...]:  # noqa: ANN401 - the library has no types
    return tuple(d.dim_value for d in value.type.tensor_type.shape.dim)


def tflite_keys(source: Path) -> dict[str, str]:
    """Return the key of every tensor of a float32 file, by name."""
    from ai_edge_quantizer.utils import tfl_flatbuffer_utils as flat  # noqa: PLC0415 - slow to import

    model: Any = flat.read_model(str(source))
    graph = model.subgraphs[0]
    keys: dict[int, str] = {-1: ""}
    for place, tensor in enumerate(graph.tensors):
        data = model.buffers[tensor.buffer].data
        values = b"" if data is None else np.asarray(data, np.uint8).tobytes()
        keys[place] = _digest("tensor", tensor.type, _numbers(tensor.shape), values)
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        how = _fields(operator.builtinOptions), _fields(operator.builtinOptions2)
        past = [keys[int(i)] for i in _numbers(operator.inputs)]
        for place, index in enumerate(_numbers(operator.outputs)):
            keys[index] = _digest(code.builtinCode, str(code.customCode), how, past, place)
    return {t.name.decode(): keys[place] for place, t in enumerate(graph.tensors)}


def _numbers(values: Iterable[Any] | None) -> Sequence[int]:
    return [] if values is None else [int(v) for v in values]


def _fields(options: object) -> list[tuple[str, str]]:
    return [] if options is None else sorted((k, str(v)) for k, v in vars(options).items())


def _digest(*parts: object) -> str:
    total = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else repr(part).encode()
        total.update(len(data).to_bytes(8, "little") + data)
    return total.hexdigest()[:32]
