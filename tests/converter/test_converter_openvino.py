"""OpenVINO: exported through ONNX, quantized by NNCF, stripped; and nobody is told."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnx
import pytest
import torch
from msgspec.structs import replace
from numpy.typing import NDArray

from outrider_bundle.errors import DataError
from outrider_converter import seeding
from outrider_converter.artifact import Artifact, Context
from outrider_converter.exports import Candidate, Export
from outrider_converter.formats import openvino
from outrider_converter.progress import NullReporter
from outrider_converter.recipe import ExportOptions, Recipe, read_recipe
from outrider_converter.steps.export_openvino import ID, export_openvino
from outrider_converter.strip.candidate import strip
from outrider_converter.students import ds_cnn
from outrider_converter.targets import Scheme
from outrider_runtime.runtimes.openvino import OpenvinoRuntime
from outrider_runtime.untracked import openvino as ov
from tests.fakes.toy import write_toy

SAMPLES = np.random.default_rng(0).normal(size=(24, 1, 12, 12)).astype(np.float32)
FULL = Scheme(weights="full")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    toy = read_recipe(write_toy(tmp_path_factory.mktemp("recipe")))
    return replace(toy, export=ExportOptions(formats=("openvino",)))


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    with seeding.seeded(0, "net"):
        made = ds_cnn(1, 3, 8)
    with torch.no_grad():
        made.train()(torch.from_numpy(SAMPLES))
    return made.eval()


@pytest.fixture(scope="module")
def source(model: torch.nn.Module, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "float.xml"
    openvino.export(model, recipe, path)
    return path


@pytest.fixture(scope="module")
def quantized(source: Path) -> Path:
    path = source.with_name("int8.xml")
    openvino.quantize(source, path, SAMPLES, "minmax")
    return path


def answers(files: dict[str, Path]) -> NDArray[Any]:
    session = OpenvinoRuntime().load(files, {})
    rows = [session.run([row[None]])[0] for row in SAMPLES]
    session.close()
    return np.concatenate(rows)


def raw(path: Path) -> dict[str, Path]:
    return {"model": path, "weights": path.with_suffix(".bin")}


def error(path: Path, wanted: NDArray[Any]) -> float:
    return float(np.linalg.norm(answers(raw(path)) - wanted) / np.linalg.norm(wanted))


def truth(model: torch.nn.Module) -> NDArray[Any]:
    with torch.no_grad():
        answered: NDArray[Any] = model(torch.from_numpy(SAMPLES)).numpy()
    return answered


def stripped(path: Path, recipe: Recipe, folder: Path) -> Candidate:
    export = Export(id="openvino-x", runtime="openvino", precision="int8", path=path, isa=("avx2",))
    return strip(export, recipe, folder)


def weights(path: Path) -> list[NDArray[Any]]:
    """Return the int8 constants."""
    ops = ov.Core().read_model(str(path)).get_ordered_ops()
    return [o.get_data() for o in ops if o.get_type_name() == "Constant" and o.get_data().dtype == np.int8]


def test_the_float_file_answers_as_the_network(model: torch.nn.Module, source: Path) -> None:
    np.testing.assert_allclose(answers(raw(source)), truth(model), atol=1e-6)
    assert {path.suffix for path in source.parent.iterdir()} == {".xml", ".bin"}


def test_int8_is_close_and_small_and_keeps_float_inputs_and_outputs(
    model: torch.nn.Module, source: Path, quantized: Path
) -> None:
    assert 0 < error(quantized, truth(model)) < 0.01
    assert quantized.with_suffix(".bin").stat().st_size < 0.5 * source.with_suffix(".bin").stat().st_size
    read = ov.Core().read_model(str(quantized))
    assert {p.get_element_type().get_type_name() for p in (*read.inputs, *read.outputs)} == {"f32"}


def test_reduced_weights_have_seven_bits_and_full_ones_eight(
    source: Path, quantized: Path, tmp_path: Path
) -> None:
    openvino.quantize(source, tmp_path / "full.xml", SAMPLES, "minmax", scheme=FULL)
    depthwise = 5  # dimensions; such kernels add no products up in 16 bits and keep all bits
    largest = [int(np.abs(w.astype(int)).max()) for w in weights(quantized) if w.ndim < depthwise]
    assert largest
    assert max(largest) <= 64
    assert min(int(np.abs(w.astype(int)).max()) for w in weights(tmp_path / "full.xml")) >= 127


def test_layers_are_named_in_order_and_excluded_ones_stay_float(
    source: Path, quantized: Path, tmp_path: Path
) -> None:
    names = openvino.layers(source)
    assert len(names) == len(set(names)) == len(weights(quantized)) == 10
    openvino.quantize(source, tmp_path / "some.xml", SAMPLES, "minmax", names[:2])
    assert len(weights(tmp_path / "some.xml")) == 8
    openvino.quantize(source, tmp_path / "none.xml", SAMPLES, "minmax", names)
    assert weights(tmp_path / "none.xml") == []


def test_the_methods_give_other_ranges(model: torch.nn.Module, source: Path, tmp_path: Path) -> None:
    errors = []
    for method in openvino.METHODS:
        openvino.quantize(source, tmp_path / f"{method}.xml", SAMPLES, method)
        errors.append(error(tmp_path / f"{method}.xml", truth(model)))
    assert errors[0] != errors[1]
    assert max(errors) < 0.02
    with pytest.raises(DataError, match=r"no ranges by entropy. Give one of minmax, percentile"):
        openvino.quantize(source, tmp_path / "x.xml", SAMPLES, "entropy")


def test_the_same_samples_give_the_same_file(
    source: Path, quantized: Path, recipe: Recipe, tmp_path: Path
) -> None:
    openvino.quantize(source, tmp_path / "again.xml", SAMPLES, "minmax")
    files = []
    for path, name in ((quantized, "one"), (tmp_path / "again.xml", "other")):
        (tmp_path / name).mkdir()
        files.append(stripped(path, recipe, tmp_path / name).files)
    for role in ("model", "weights"):
        assert files[0][role].read_bytes() == files[1][role].read_bytes()


@pytest.mark.parametrize("precision", ["float", "int8"])
def test_stripping_halves_the_graph_and_changes_no_bit(
    source: Path, quantized: Path, recipe: Recipe, tmp_path: Path, precision: str
) -> None:
    path = source if precision == "float" else quantized
    candidate = stripped(path, recipe, tmp_path)
    assert candidate.isa == ("avx2",)
    assert [(t.name, t.layout, t.shape) for t in candidate.inputs] == [("image", "NCHW", (1, 1, 12, 12))]
    assert [(t.name, t.shape) for t in candidate.outputs] == [("scores", (1, 3))]
    np.testing.assert_array_equal(answers(candidate.files), answers(raw(path)))
    assert candidate.files["model"].stat().st_size < 0.6 * path.stat().st_size
    text = candidate.files["model"].read_text()
    assert not any(word in text for word in ("rt_info", "nncf", "node_", "onnx", "\n\t"))


def test_stripping_again_leaves_an_open_session_alone(
    quantized: Path, recipe: Recipe, tmp_path: Path
) -> None:
    files = stripped(quantized, recipe, tmp_path).files
    session = OpenvinoRuntime().load(files, {})
    wanted = session.run([SAMPLES[:1]])[0]
    stripped(quantized, recipe, tmp_path)
    np.testing.assert_array_equal(session.run([SAMPLES[:1]])[0], wanted)
    session.close()


class BlackBox(torch.nn.Module):
    def __init__(self, **files: Path) -> None:
        super().__init__()
        self.files = files


def dynamic(folder: Path) -> Path:
    """Write an ONNX file of 3 scores from 12x12 images, of any batch."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    matrix = onnx.numpy_helper.from_array(np.ones((144, 3), np.float32), "w")
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"])]
    ports = [
        helper.make_tensor_value_info(*p) for p in (("x", kind, ["n", 1, 12, 12]), ("y", kind, ["n", 3]))
    ]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], [matrix])
    path = folder / "box.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def test_a_black_box_of_onnx_is_read_and_its_batch_fixed(recipe: Recipe, tmp_path: Path) -> None:
    path = dynamic(tmp_path)
    openvino.export(BlackBox(onnx=path), recipe, tmp_path / "box.xml")
    np.testing.assert_allclose(
        answers(raw(tmp_path / "box.xml")), np.tile(SAMPLES.sum((1, 2, 3))[:, None], 3), atol=1e-4
    )
    assert path.exists()


def test_a_black_box_of_another_format_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="in tflite cannot be turned into openvino"):
        openvino.export(BlackBox(tflite=tmp_path / "x.tflite"), recipe, tmp_path / "x.xml")


def test_a_broken_file_is_one_error(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be exported to OpenVINO") as raised:
        openvino.convert(tmp_path / "bad.onnx", recipe, tmp_path / "bad.xml")
    assert "\n" not in str(raised.value)
    with pytest.raises(DataError, match=r"does not read gone\.xml"):
        openvino.layers(tmp_path / "gone.xml")


def context(recipe: Recipe, folder: Path) -> Context:
    """Return what the step looks at."""
    seen = SimpleNamespace(recipe=recipe, targets=(), folder=folder, reporter=NullReporter())
    return cast("Context", seen)


def test_the_step_takes_an_onnx_file_that_is_there(
    model: torch.nn.Module, recipe: Recipe, tmp_path: Path
) -> None:
    export = Export(id="onnx-float32", runtime="onnx", precision="float32", path=dynamic(tmp_path))
    both = replace(recipe, export=ExportOptions(formats=("onnx", "openvino")))
    made = export_openvino(Artifact(model=model, exports=(export,)), both.export, context(both, tmp_path))
    assert [e.id for e in made.exports] == ["onnx-float32", ID]
    assert answers(raw(made.exports[1].path)).shape == (24, 3)


def test_the_step_does_nothing_unless_asked(model: torch.nn.Module, recipe: Recipe, tmp_path: Path) -> None:
    other = replace(recipe, export=ExportOptions(formats=("onnx",)))
    artifact = Artifact(model=model)
    assert export_openvino(artifact, other.export, context(other, tmp_path)) is artifact


def test_the_step_says_why_there_is_no_file(recipe: Recipe, tmp_path: Path) -> None:
    box = BlackBox(tflite=tmp_path / "x.tflite")
    made = export_openvino(Artifact(model=box), recipe.export, context(recipe, tmp_path))
    (left,) = made.left_out
    assert (left.id, made.exports) == (ID, ())
    assert "cannot be turned into openvino" in left.reason


WATCH = """
import sys

calls = []
sys.addaudithook(lambda event, given: calls.append(event) if event == "socket.connect" else None)
import outrider_converter.formats.openvino
import nncf
print([name for name in sys.modules if name.startswith("openvino_telemetry.")], calls)
"""


def test_nncf_reports_to_nobody(tmp_path: Path) -> None:
    """It reports each import, and leaves an id in the home folder, unless it is kept from it."""
    command = [sys.executable, "-c", WATCH]
    done = subprocess.run(command, env={"HOME": str(tmp_path)}, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] []"
    assert not (tmp_path / "intel").exists()
