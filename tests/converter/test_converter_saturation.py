"""Files that saturate on CPUs without VNNI are found on any machine; their safe twins are left alone."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from outrider_converter.formats import onnx as onnx_format
from outrider_converter.quantization import saturation
from outrider_converter.quantization.windows import windows
from outrider_converter.targets import Scheme
from tests.fakes.graphs import bright, images, saturating, save, small_net

SAFE = Scheme()
SEVEN = Scheme(weights="reduced")
WHOLE = Scheme(weights="full")
SIGNED = Scheme(activation="int8", weights="full")


@pytest.mark.parametrize("scheme", [WHOLE, SIGNED])
def test_a_file_built_to_saturate_is_flagged(scheme: Scheme, tmp_path: Path) -> None:
    source = saturating(tmp_path / "float.onnx")
    onnx_format.quantize(source, tmp_path / "int8.onnx", bright(8), "image", scheme)
    found = saturation.detect(tmp_path / "int8.onnx", bright(8), "image")
    assert found.flagged
    assert found.layers[0].layer == "product"
    assert found.layers[0].share >= 0.25
    assert "overflow in 1 layers" in found.note


@pytest.mark.parametrize("scheme", [SAFE, SEVEN])
def test_its_safe_twin_is_not(scheme: Scheme, tmp_path: Path) -> None:
    source = saturating(tmp_path / "float.onnx")
    onnx_format.quantize(source, tmp_path / "int8.onnx", bright(8), "image", scheme)
    found = saturation.detect(tmp_path / "int8.onnx", bright(8), "image")
    assert not found.flagged
    assert not found.layers
    assert found.measured.relative < 0.02


def test_small_activations_do_not_overflow_with_the_same_weights(tmp_path: Path) -> None:
    source = saturating(tmp_path / "float.onnx")
    onnx_format.quantize(source, tmp_path / "int8.onnx", bright(8), "image", WHOLE)
    assert not saturation.detect(tmp_path / "int8.onnx", bright(8) / 4, "image").layers


def test_depthwise_kernels_are_not_affected(tmp_path: Path) -> None:
    weight = np.ones((8, 1, 3, 3), np.float32)
    node = helper.make_node("Conv", ["image", "w"], ["scores"], "depthwise", kernel_shape=[3, 3], group=8)
    source = save(tmp_path / "x.onnx", [node], {"w": weight}, ([1, 8, 12, 12], [1, 8, 10, 10]))
    samples = np.random.default_rng(0).uniform(0.9, 1.0, (4, 8, 12, 12)).astype(np.float32)
    onnx_format.quantize(source, tmp_path / "y.onnx", samples, "image", WHOLE)
    assert not saturation.detect(tmp_path / "y.onnx", samples, "image").flagged


@pytest.mark.parametrize(("channels", "groups"), [(1, 1), (8, 8)])
def test_one_channel_a_filter_is_not_depthwise(channels: int, groups: int, tmp_path: Path) -> None:
    """Several filters a channel go through the matrix kernels; so does the first layer of a grey image."""
    weight = np.ones((16, 1, 3, 3), np.float32)
    node = helper.make_node("Conv", ["image", "w"], ["scores"], "first", group=groups)  # no kernel_shape
    source = save(tmp_path / "x.onnx", [node], {"w": weight}, ([1, channels, 12, 12], [1, 16, 10, 10]))
    samples = np.random.default_rng(0).uniform(0.9, 1.0, (4, channels, 12, 12)).astype(np.float32)
    onnx_format.quantize(source, tmp_path / "full.onnx", samples, "image", WHOLE)
    onnx_format.quantize(source, tmp_path / "safe.onnx", samples, "image", SAFE)
    assert saturation.detect(tmp_path / "full.onnx", samples, "image").layers[0].layer == "first"
    assert not saturation.detect(tmp_path / "safe.onnx", samples, "image").flagged


def test_a_whole_network_of_safe_weights_passes(tmp_path: Path) -> None:
    source = small_net(tmp_path / "x.onnx")
    onnx_format.quantize(source, tmp_path / "y.onnx", images(8), "image", SAFE)
    assert not saturation.detect(tmp_path / "y.onnx", images(8), "image").layers


def convolved(
    node: onnx.NodeProto, values: NDArray[np.int32], weight: NDArray[np.int32]
) -> NDArray[np.int64]:
    """Return a convolution by the windows, `(c out, positions)`."""
    groups = next((a.i for a in node.attribute if a.name == "group"), 1)
    walked = np.moveaxis(weight, 1, -1).reshape(len(weight), -1)
    parts = np.split(walked, groups)
    seen = windows(node, weight.shape[2:], values, 0, 10**9)
    return np.concatenate([part @ one.T for part, one in zip(parts, seen, strict=True)]).astype(np.int64)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pads": [1, 2, 0, 1]},
        {"strides": [2, 1], "dilations": [1, 2]},
        {"group": 2, "pads": [1, 1, 1, 1]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"auto_pad": "SAME_LOWER"},
    ],
)
def test_windows_are_those_of_a_convolution(options: dict[str, object], tmp_path: Path) -> None:
    source = np.random.default_rng(0)
    values = source.integers(0, 9, (1, 4, 7, 8)).astype(np.int32)
    weight = source.integers(-5, 5, (6, 4 // int(str(options.get("group", 1))), 3, 2)).astype(np.int32)
    node = helper.make_node("Conv", ["image", "w"], ["scores"], kernel_shape=[3, 2], **options)
    path = save(
        tmp_path / "x.onnx", [node], {"w": weight.astype(np.float32)}, (values.shape, ["n", "c", "h", "w"])
    )
    import onnxruntime  # noqa: PLC0415

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    wanted = session.run(None, {"image": values.astype(np.float32)})[0]
    assert np.array_equal(convolved(node, values, weight), wanted.reshape(6, -1).astype(np.int64))
