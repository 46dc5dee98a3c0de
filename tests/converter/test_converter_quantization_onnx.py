"""ONNX files of any origin become int8: prepared, calibrated once, with the layers asked for left float."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from outrider_bundle.errors import DataError
from outrider_converter.formats import onnx as onnx_format
from outrider_converter.quantization import prepare, ranges, safe
from outrider_converter.targets import Scheme
from tests.fakes.graphs import images, saturating, save, small_net, value

SAFE = Scheme()
WHOLE = Scheme(weights="full")


def run(path: Path, samples: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: row[None]})[0] for row in samples])


def error(path: Path, reference: Path) -> float:
    given, wanted = run(path, images(20, 5)), run(reference, images(20, 5))
    return float(np.linalg.norm(given - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"opset": 11},
        {"opset": 21, "ir": 10},
        {"ir": 3, "listed": True},
        {"batch": "n"},
    ],
    ids=["plain", "old", "new", "listed", "dynamic"],
)
def test_files_of_any_opset_and_style_are_quantized(options: dict[str, object], tmp_path: Path) -> None:
    source = small_net(tmp_path / "float.onnx", **options)
    target = tmp_path / "int8.onnx"
    onnx_format.quantize(source, target, images(16), "image", SAFE)
    model = onnx.load(target)
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    assert opset >= 13
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
    assert not [n for n in model.graph.node if n.op_type in ("Relu", "Clip")]
    assert 0.0 < error(target, source) < 0.1


def test_a_function_is_inlined(tmp_path: Path) -> None:
    source = small_net(tmp_path / "float.onnx")
    model = onnx.load(source)
    twice = helper.make_function(
        "mine",
        "Twice",
        ["x"],
        ["y"],
        [helper.make_node("Add", ["x", "x"], ["y"])],
        [helper.make_opsetid("", 17)],
    )
    model.functions.append(twice)
    model.opset_import.append(helper.make_opsetid("mine", 1))
    model.graph.node[-1].output[0] = "half"
    model.graph.node.append(helper.make_node("Twice", ["half"], ["scores"], domain="mine"))
    onnx.save(model, source)
    onnx_format.quantize(source, tmp_path / "int8.onnx", images(16), "image", SAFE)
    assert error(tmp_path / "int8.onnx", source) < 0.1


def test_layers_are_named_in_order_without_what_follows_them(tmp_path: Path) -> None:
    assert onnx_format.layers(small_net(tmp_path / "x.onnx")) == (
        "first",
        "depthwise",
        "pointwise",
        "pool",
        "head",
    )


def test_an_excluded_layer_keeps_float_weights_and_its_activation(tmp_path: Path) -> None:
    source, target = small_net(tmp_path / "float.onnx"), tmp_path / "int8.onnx"
    onnx_format.quantize(source, target, images(16), "image", SAFE, exclude=("first",))
    model = onnx.load(target)
    weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    assert weights["w0"].dtype == np.float32
    assert weights["w2_quantized"].dtype == np.int8
    assert [n.op_type for n in model.graph.node if n.op_type in ("Clip", "Relu")] == ["Clip"]


def test_all_layers_excluded_is_the_float_file(tmp_path: Path) -> None:
    source, target = small_net(tmp_path / "float.onnx"), tmp_path / "int8.onnx"
    onnx_format.quantize(source, target, images(4), "image", SAFE, exclude=onnx_format.layers(source))
    assert error(target, source) < 1e-6


def test_safe_weights_cannot_overflow_and_lose_less_than_seven_bits(tmp_path: Path) -> None:
    source = small_net(tmp_path / "float.onnx")
    onnx_format.quantize(source, tmp_path / "safe.onnx", images(16), "image", SAFE)
    model = onnx.load(tmp_path / "safe.onnx")
    weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    nodes = {n.name: n for n in model.graph.node}
    for layer, name, channels in (("first", "w0", 3), ("pointwise", "w2", 8), ("head", "w3", 2)):
        walked = safe.rows(nodes[layer], weights[f"{name}_quantized"])
        assert walked is not None
        worst = safe.worst_pair(walked, channels).max()
        assert 100 < worst <= safe.LARGEST_PAIR
        assert np.abs(weights[f"{name}_quantized"]).max() > 64
    assert np.abs(weights["w1_quantized"]).max() == 127  # depthwise


def test_scales_of_an_empty_channel_are_those_of_the_others() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    weight = np.ones((3, 4, 1, 1), np.float32)
    weight[1] = 0.0
    found = safe.scales(node, weight)
    assert found is not None
    assert (found > 0).all()
    assert found[1] == found[0]


def test_methods_agree_without_outliers_and_cut_them_otherwise(tmp_path: Path) -> None:
    model = prepare.prepare(small_net(tmp_path / "x.onnx"))
    samples = images(30)
    samples[3, 0, 0, 0] = 100.0
    observed = ranges.observe(model, samples, "image", histograms=True)
    found = {method: ranges.ranges(observed, method)["image"] for method in ranges.METHODS}
    assert found["minmax"][1] == 100.0
    assert found["minmax"][0] == pytest.approx(samples.min())
    assert 3.0 < found["entropy"][1] < 20.0
    assert found["percentile"][0] == found["minmax"][0]


def test_percentile_leaves_out_one_value_in_a_hundred_thousand(tmp_path: Path) -> None:
    model = prepare.prepare(small_net(tmp_path / "x.onnx"))
    samples = np.full((400, 3, 12, 12), 0.25, np.float32)  # 172,800 values
    samples[0, 0, 0, 0] = 8.0
    observed = ranges.observe(model, samples, "image", histograms=True)
    assert ranges.ranges(observed, "percentile")["image"][1] == pytest.approx(0.25, abs=0.01)


def test_histograms_that_grow_lose_no_value(tmp_path: Path) -> None:
    model = prepare.prepare(small_net(tmp_path / "x.onnx"))
    samples = images(6) * (10.0 ** np.arange(-3, 3, dtype=np.float32))[:, None, None, None]
    seen = ranges.observe(model, samples, "image", histograms=True)["image"]
    assert seen.counts is not None
    assert seen.counts.sum() == samples.size
    assert seen.limit >= np.abs(samples).max()


def unknown(path: Path) -> Path:
    node = helper.make_node("Sharpen", ["image"], ["scores"], domain="camera.vendor")
    save(path, [node], {}, ([1, 3, 12, 12], [1, 3]))
    model = onnx.load(path)
    model.opset_import.append(helper.make_opsetid("camera.vendor", 1))
    onnx.save(model, path)
    return path


def wide(path: Path) -> Path:
    small_net(path)
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(model, path)
    return path


def of_any_size(path: Path) -> Path:
    small_net(path)
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    onnx.save(model, path)
    return path


def already_int8(path: Path) -> Path:
    onnx_format.quantize(small_net(path), path, images(2), "image", SAFE)
    return path


def two_inputs(path: Path) -> Path:
    small_net(path)
    model = onnx.load(path)
    model.graph.input.append(value("second", [1, 3]))
    onnx.save(model, path)
    return path


def broken(path: Path) -> Path:
    path.write_bytes(b"\x00\xff not a model")
    return path


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (unknown, r"ONNX Runtime does not load .*Sharpen.*Replace the operator"),
        (wide, "a batch of 4.*batch of 1"),
        (of_any_size, "no fixed size in dimension 2.*fixed sizes"),
        (already_int8, "quantized already"),
        (two_inputs, "inputs image, second, one is wanted"),
        (broken, "cannot be read as ONNX"),
    ],
)
def test_what_cannot_be_quantized_is_said(write: object, message: str, tmp_path: Path) -> None:
    assert callable(write)
    source = write(tmp_path / "x.onnx")
    with pytest.raises(DataError, match=message):
        onnx_format.quantize(source, tmp_path / "y.onnx", images(2), "frames", SAFE)


def test_samples_of_another_shape_and_nan_are_refused(tmp_path: Path) -> None:
    source = small_net(tmp_path / "x.onnx")
    with pytest.raises(DataError, match=r"takes samples of shape \(3, 12, 12\), the recipe's input has"):
        onnx_format.quantize(source, tmp_path / "y.onnx", images(2)[:, :, :6], "image", SAFE)
    bad = images(2)
    bad[0] = np.nan
    with pytest.raises(DataError, match="NaN or infinity"):
        onnx_format.quantize(source, tmp_path / "y.onnx", bad, "image", SAFE)


def test_a_channels_last_file_gets_its_samples_turned(tmp_path: Path) -> None:
    inner = small_net(tmp_path / "inner.onnx")
    model = onnx.load(inner)
    model.graph.node[0].input[0] = "turned"
    model.graph.node.insert(0, helper.make_node("Transpose", ["image"], ["turned"], perm=[0, 3, 1, 2]))
    model.graph.input[0].CopyFrom(value("image", [1, 12, 12, 3]))
    onnx.save(model, tmp_path / "last.onnx")
    onnx_format.quantize(tmp_path / "last.onnx", tmp_path / "int8.onnx", images(16), "image", SAFE)
    samples = images(20, 5).transpose(0, 2, 3, 1)
    given, wanted = run(tmp_path / "int8.onnx", samples), run(tmp_path / "last.onnx", samples)
    assert np.linalg.norm(given - wanted) < 0.1 * np.linalg.norm(wanted)


def test_the_scheme_names_the_types(tmp_path: Path) -> None:
    source = saturating(tmp_path / "x.onnx")
    samples = np.random.default_rng(0).normal(size=(4, 64)).astype(np.float32)
    signed = Scheme(activation="int8", weights="full", per_channel=False)
    onnx_format.quantize(source, tmp_path / "y.onnx", samples, "image", signed)
    weights = [numpy_helper.to_array(t) for t in onnx.load(tmp_path / "y.onnx").graph.initializer]
    assert not [w for w in weights if w.dtype == np.uint8]
    assert {w.shape for w in weights if w.dtype == np.float32} == {()}
