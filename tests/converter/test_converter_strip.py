"""Stripped ONNX files: smaller, laid out for small transfers, and bit-identical in what they compute."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

from outrider_bundle.errors import DataError
from outrider_converter import seeding
from outrider_converter.formats import onnx as onnx_format
from outrider_converter.quantization import safe
from outrider_converter.recipe import Recipe, read_recipe
from outrider_converter.strip import onnx as stripper
from outrider_converter.students import ds_cnn
from outrider_converter.targets import Scheme
from tests.fakes.graphs import images, save, small_net, value
from tests.fakes.toy import write_toy

SAMPLES = np.random.default_rng(0).normal(size=(24, 1, 12, 12)).astype(np.float32)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return read_recipe(write_toy(tmp_path_factory.mktemp("recipe")))


@pytest.fixture(scope="module", params=["float32", "int8"])
def source(request: pytest.FixtureRequest, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    with seeding.seeded(0, "net"):
        model = ds_cnn(1, 3, 8)
    with torch.no_grad():
        model.train()(torch.from_numpy(SAMPLES))
    path = folder / "float32.onnx"
    onnx_format.export(model, recipe, path)
    if request.param == "int8":
        path = folder / "int8.onnx"
        onnx_format.quantize(folder / "float32.onnx", path, SAMPLES, "image", Scheme())
    return path


def strip(source: Path, folder: Path) -> tuple[Path, Path]:
    graph, weights = folder / f"{source.stem}-graph", folder / f"{source.stem}-weights"
    stripper.strip(source, graph, weights)
    return graph, weights


def outputs(model: bytes | str, folder: Path) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return np.stack([session.run(["scores"], {"image": row[None]})[0] for row in SAMPLES])


def test_outputs_are_bit_identical_and_the_file_is_smaller(source: Path, tmp_path: Path) -> None:
    graph, weights = strip(source, tmp_path)
    before, after = outputs(str(source), tmp_path), outputs(graph.read_bytes(), tmp_path)
    assert before.std() > 0
    assert np.array_equal(before, after)
    assert graph.stat().st_size + weights.stat().st_size < 0.8 * source.stat().st_size


def test_weights_lie_in_name_order_aligned_and_int64_stays_in_the_graph(source: Path, tmp_path: Path) -> None:
    graph, weights = strip(source, tmp_path)
    tensors = list(onnx.load(graph, load_external_data=False).graph.initializer)
    assert [t.name for t in tensors] == sorted(t.name for t in tensors)
    end = 0
    for tensor in tensors:
        external = {e.key: e.value for e in tensor.external_data}
        if tensor.data_type == TensorProto.INT64:
            assert not external
            continue
        assert external["location"] == weights.name
        assert int(external["offset"]) % 64 == 0
        assert end <= int(external["offset"]) < end + 64
        end = int(external["offset"]) + int(external["length"])
    assert end == weights.stat().st_size
    assert any(t.data_type == TensorProto.INT64 for t in tensors)


def test_nothing_but_the_network_is_left(source: Path, tmp_path: Path) -> None:
    model = onnx.load(strip(source, tmp_path)[0], load_external_data=False)
    assert not model.metadata_props
    assert not model.producer_name
    assert not model.graph.value_info
    assert not any(n.name or n.doc_string or n.metadata_props for n in model.graph.node)
    inner = {name for n in model.graph.node for name in (*n.input, *n.output)} - {"image", "scores", ""}
    assert max(map(len, inner)) <= 3
    assert {o.domain for o in model.opset_import} <= {"", "com.microsoft"}


def test_short_names_keep_their_order() -> None:
    for count in (1, 36, 37, 1297):
        names = stripper._shorts("w", count)
        assert len(set(names)) == count
        assert names == sorted(names)


def test_quantization_is_u8s8_per_channel_and_no_pair_of_weights_overflows(source: Path) -> None:
    model = onnx.load(source)
    if source.stem == "float32":
        assert not any(n.op_type == "QuantizeLinear" for n in model.graph.node)
        return
    values = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    sources = {n.output[0]: n.input[0] for n in model.graph.node if n.op_type == "DequantizeLinear"}
    convolutions = [n for n in model.graph.node if n.op_type == "Conv"]
    assert convolutions
    for node in convolutions:
        kernel = values[sources[node.input[1]]]
        walked = safe.rows(node, kernel)
        assert kernel.dtype == np.int8
        assert walked is None or safe.worst_pair(walked, kernel.shape[1]).max() <= safe.LARGEST_PAIR
    scales = [values[n.input[1]] for n in model.graph.node if n.op_type == "DequantizeLinear"]
    assert any(s.ndim == 1 and len(s) == 8 for s in scales)
    points = [values[n.input[2]] for n in model.graph.node if n.op_type == "QuantizeLinear"]
    assert {p.dtype for p in points} == {np.dtype(np.uint8)}


def test_an_operator_without_export_is_said(recipe: Recipe, tmp_path: Path) -> None:
    class Unsupported(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.eigvals(x[:, 0] + 1.0).real[:, :3]

    with pytest.raises(DataError, match="cannot be exported to ONNX"):
        onnx_format.export(Unsupported(), recipe, tmp_path / "x.onnx")


def results(path: Path | bytes, folder: Path) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: row[None]})[0] for row in images(6)])


def with_branches(path: Path) -> Path:
    """Write a net whose head lies in the two bodies of an If, which read outer tensors and hold weights."""
    model = onnx.load(small_net(path))
    last = model.graph.node.pop()
    bodies = {}
    for branch, head in (("then_branch", "w3"), ("else_branch", "other")):
        result = f"{branch}_scores"
        node = helper.make_node("Gemm", [last.input[0], head, "inner"], [result], "inside", transB=1)
        inner = onnx.numpy_helper.from_array(np.array([1.0, 2.0, len(branch)], np.float32), "inner")
        bodies[branch] = helper.make_graph([node], branch, [], [value(result, [1, 3])], [inner])
    other = onnx.numpy_helper.from_array(np.ones((3, 8), np.float32), "other")
    bound = onnx.numpy_helper.from_array(np.array([0.0], np.float32), "bound")
    model.graph.initializer.extend([other, bound])
    model.graph.node.extend(
        [
            helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Greater", ["mean", "bound"], ["bright"]),
            helper.make_node("If", ["bright"], ["scores"], **bodies),
        ]
    )
    onnx.save(model, path)
    return path


def with_a_function(path: Path) -> Path:
    model = onnx.load(small_net(path))
    body = [helper.make_node("Add", ["x", "x"], ["y"])]
    model.functions.append(
        helper.make_function("m", "Twice", ["x"], ["y"], body, [helper.make_opsetid("", 17)])
    )
    model.opset_import.append(helper.make_opsetid("m", 1))
    model.graph.node[-1].output[0] = "half"
    model.graph.node.append(helper.make_node("Twice", ["half"], ["scores"], domain="m"))
    onnx.save(model, path)
    return path


def with_a_short_input(path: Path) -> Path:
    """Write a net whose input is called like an inner tensor would be."""
    model = onnx.load(small_net(path))
    model.graph.node[0].input[0] = model.graph.input[0].name = "v1"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    "write", [with_branches, with_a_function, with_a_short_input, lambda p: small_net(p, ir=3, listed=True)]
)
def test_files_of_other_makers_compute_the_same(write: object, tmp_path: Path) -> None:
    assert callable(write)
    source = write(tmp_path / "source.onnx")
    graph, weights = strip(source, tmp_path)
    assert np.array_equal(results(source, tmp_path), results(graph.read_bytes(), tmp_path))
    stripped = onnx.load(graph, load_external_data=False)
    assert len(stripped.graph.input) == 1
    assert not stripped.functions
    assert weights.stat().st_size > 800


def test_sparse_weights_and_broken_files_are_refused(tmp_path: Path) -> None:
    source = small_net(tmp_path / "x.onnx")
    model = onnx.load(source)
    values = onnx.numpy_helper.from_array(np.ones(1, np.float32), "sparse")
    places = onnx.numpy_helper.from_array(np.zeros(1, np.int64), "places")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [4]))
    onnx.save(model, source)
    with pytest.raises(DataError, match=r"sparse weights.*dense"):
        strip(source, tmp_path)
    source.write_bytes(b"\x08broken")
    with pytest.raises(DataError, match="cannot be read as ONNX"):
        strip(source, tmp_path)


def test_scales_of_a_resize_stay_where_shapes_are_inferred(tmp_path: Path) -> None:
    weights = {"w": np.ones((2, 3, 1, 1), np.float32), "scales": np.array([1, 1, 2, 2], np.float32)}
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["a"], "conv", kernel_shape=[1, 1]),
        helper.make_node("Resize", ["a", "", "scales"], ["scores"], "up", mode="nearest"),
    ]
    source = save(tmp_path / "up.onnx", nodes, weights, ([1, 3, 4, 4], [1, 2, 8, 8]))
    graph, apart = tmp_path / "graph.onnx", tmp_path / "weights"
    stripper.strip(source, graph, apart)
    feed = {"image": np.random.default_rng(0).random((1, 3, 4, 4), np.float32)}
    answers = [onnxruntime.InferenceSession(path).run(None, feed)[0] for path in (source, graph)]
    np.testing.assert_array_equal(*answers)
    assert apart.stat().st_size == weights["w"].nbytes
