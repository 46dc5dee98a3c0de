"""Float TFLite files as teachers; the committed file and a hand-made one stand for any."""

import hashlib
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from torch import nn

from outrider_bundle.errors import DataError
from outrider_converter import measure
from outrider_converter.recipe import Recipe, read_recipe
from outrider_converter.reference import load_teacher
from outrider_converter.students import build_student
from tests.fakes.toy import write_toy

FIXTURES = Path(__file__).parents[1] / "fixtures"
WEIGHT = np.arange(12, dtype=np.float32).reshape(3, 4) / 10
BIAS = np.array([1, -2, 3], np.float32)


def recipe_for(folder: Path, *more: tuple[str, str]) -> Recipe:
    file = ('callable = "models:teacher"', 'file = "t.tflite"')
    return read_recipe(write_toy(folder, file, ("shape = [1, 1, 12, 12]", "shape = [1, 1, 8, 8]"), *more))


def table_recipe(folder: Path) -> Recipe:
    file = ('callable = "models:teacher"', 'file = "t.tflite"')
    kind = ('kind = "image"\ncolor = "gray"', 'kind = "array"')
    shape = ("shape = [1, 1, 12, 12]", "shape = [1, 4]")
    family = ('family = "res-cnn"', 'family = "mlp"')
    return read_recipe(
        write_toy(
            folder, file, kind, shape, family, ('layout = "NCHW"', 'layout = "NC"'), ("shift = 1\n", "")
        )
    )


def tensor(name: str, shape: list[int], buffer: int, signature: list[int] | None = None) -> Any:  # noqa: ANN401 - untyped library
    made: Any = schema.TensorT()
    made.name, made.shape, made.buffer, made.type = name, shape, buffer, schema.TensorType.FLOAT32
    made.shapeSignature = signature
    return made


def write_linear(path: Path, *, batch: int) -> None:
    """Write a single layer from 4 to 3 numbers; a batch of -1 is open."""
    stored = max(batch, 1)
    model: Any = schema.ModelT()
    buffers: list[Any] = [schema.BufferT() for _ in range(3)]
    model.version, model.buffers = 3, buffers
    for buffer, values in zip(buffers[1:], (WEIGHT, BIAS), strict=True):
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    code: Any = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 1
    model.operatorCodes = [code]
    operator: Any = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0, 1, 2], [3]
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = schema.FullyConnectedOptionsT()
    graph: Any = schema.SubGraphT()
    graph.tensors = [
        tensor("x", [stored, 4], 0, [batch, 4]),
        tensor("w", [3, 4], 1),
        tensor("b", [3], 2),
        tensor("y", [stored, 3], 0, [batch, 3]),
    ]
    graph.inputs, graph.outputs, graph.operators = [0], [3], [operator]
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))


def test_images_are_given_channels_last(tmp_path: Path) -> None:
    (tmp_path / "t.tflite").write_bytes((FIXTURES / "tiny-float32.tflite").read_bytes())
    recipe = recipe_for(tmp_path, ('family = "res-cnn"', 'family = "as-is"'))
    model = load_teacher(recipe, 3, tmp_path)
    torch.manual_seed(0)  # as make_tiny_tflite.py has it
    net = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    batch = torch.rand(3, 1, 8, 8)
    with torch.inference_mode():
        assert torch.allclose(model(batch), net(batch), atol=1e-5)
    assert measure.cost(model, (1, 1, 8, 8)) == measure.Cost(params=36 + 4 + 192 + 3, macs=16 * 4 * 9 + 192)
    assert model.files == {"tflite": tmp_path / "t.tflite"}
    assert build_student(recipe, 3, tmp_path, model) is model
    digest = hashlib.sha256((tmp_path / "t.tflite").read_bytes()).hexdigest()
    assert measure.digest(model) == digest


@pytest.mark.parametrize("batch", [1, 2, -1])
def test_a_batch_of_any_kind(tmp_path: Path, batch: int) -> None:
    write_linear(tmp_path / "t.tflite", batch=batch)
    model = load_teacher(table_recipe(tmp_path), 3, tmp_path)
    rows = torch.rand(5, 4)
    with torch.inference_mode():
        assert np.allclose(model(rows), rows.numpy() @ WEIGHT.T + BIAS, atol=1e-5)
    assert measure.cost(model, (1, 4)) == measure.Cost(params=15, macs=12)
    assert set(model.files) == (set() if batch == 2 else {"tflite"})  # type: ignore[arg-type]


def test_a_quantized_file_is_no_teacher(tmp_path: Path) -> None:
    (tmp_path / "t.tflite").write_bytes((FIXTURES / "tiny-int8.tflite").read_bytes())
    with pytest.raises(DataError, match=r"t\.tflite is quantized, a teacher must be float.*float32"):
        load_teacher(recipe_for(tmp_path), 3, tmp_path)
