"""What a target is predicted to refuse of a file."""

from pathlib import Path

import pytest
from ai_edge_litert import schema_py_generated as schema
from msgspec.structs import replace

from outrider_bundle.errors import DataError
from outrider_converter.strip.tflite import IDENTIFIER, SharingBuilder
from outrider_converter.targets import Operators, Target, check_memory, check_operators, load_targets
from tests.fakes.models import FIXTURES

INT8 = FIXTURES / "tiny-int8.tflite"
FLOAT = FIXTURES / "tiny-float32.tflite"


@pytest.fixture(scope="module")
def coral() -> Target:
    return load_targets(("coral-edgetpu",), Path())[0]


def test_an_int8_file_of_known_operators_is_taken(coral: Target) -> None:
    assert check_operators(coral, INT8) == ()


def test_a_float_file_is_not_and_the_line_says_that_nothing_was_compiled(coral: Target) -> None:
    (fault,) = check_operators(coral, FLOAT)
    assert fault.startswith("coral-edgetpu: ")
    assert "tensors are FLOAT32, allowed are INT8" in fault
    assert fault.endswith("(predicted, not compiled)")


def test_a_target_without_constraints_takes_everything() -> None:
    assert check_operators(load_targets(("rpi5",), Path())[0], FLOAT) == ()


def test_refused_operators_are_counted_and_the_rest_runs_on_the_cpu(coral: Target) -> None:
    strict = replace(coral, operators=Operators(allowed=("RESHAPE",)))
    first, *_, rest = check_operators(strict, INT8)
    assert " is not one that it runs" in first
    assert "would run on the CPU" in rest


def changed(tmp_path: Path, **shapes: list[int]) -> Path:
    """Write the int8 file with another `shape` or `shapeSignature` of its input."""
    model = schema.ModelT.InitFromPackedBuf(bytearray(INT8.read_bytes()))
    graph = model.subgraphs[0]
    for key, value in shapes.items():
        setattr(graph.tensors[graph.inputs[0]], key, value)
    builder = SharingBuilder()
    builder.Finish(model.Pack(builder), IDENTIFIER)
    path = tmp_path / "changed.tflite"
    path.write_bytes(bytes(builder.Output()))
    return path


def test_a_batch_is_refused(coral: Target, tmp_path: Path) -> None:
    path = changed(tmp_path, shape=[4, 8, 8, 1])
    said = check_operators(coral, path)
    assert any("has the shape (4, 8, 8, 1) and must have the batch 1" in one for one in said)
    assert any("more than its 3 innermost dimensions above 1" in one for one in said)


def test_a_dynamic_shape_is_refused(coral: Target, tmp_path: Path) -> None:
    (fault,) = check_operators(coral, changed(tmp_path, shapeSignature=[-1, 8, 8, 1]))
    assert "dynamic" in fault


@pytest.mark.parametrize("content", [b"", b"nothing of the sort", b"\xff\xff\xff\x7fTFL3" + b"\xff" * 64])
def test_a_file_that_is_no_tflite_is_one_error(coral: Target, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.tflite"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x.tflite is "):
        check_operators(coral, path)


def test_files_larger_than_the_memory_are_said(coral: Target, tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(bytes(8_100_000))
    (fault,) = check_memory(coral, [path])
    assert "take 8.1 MB and its memory is 8 (predicted, not compiled)" in fault
    assert check_memory(coral, [INT8]) == ()
    assert check_memory(load_targets(("generic",), Path())[0], [path]) == ()
