"""Tiny models: 8x8 gray images to three scores, in each format."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from outrider_bundle.manifest import Scalar
from outrider_runtime.untracked import openvino

Sample = tuple[dict[str, Path], dict[str, Scalar]]
FIXTURES = Path(__file__).parents[1] / "fixtures"


def onnx_files(folder: Path) -> Sample:
    """Write a graph and its weights apart, as a bundle has them."""
    weights = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    (folder / "tiny-weights").write_bytes(weights.tobytes())
    matrix = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=weights.shape)
    matrix.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "tiny-weights"), ("offset", "0"), ("length", str(weights.nbytes))):
        matrix.external_data.add(key=key, value=value)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["scores"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 3])],
        [matrix],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    (folder / "tiny-graph").write_bytes(model.SerializeToString())
    return {"graph": folder / "tiny-graph", "weights": folder / "tiny-weights"}, {}


def dynamic_onnx(folder: Path) -> Path:
    """Write a graph whose batch is not fixed."""
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "dynamic",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path = folder / "dynamic.onnx"
    onnx.save(model, str(path))
    return path


def tflite_files(folder: Path) -> Sample:
    """Return the committed int8 file."""
    del folder
    return {"model": FIXTURES / "tiny-int8.tflite"}, {}


def null_files(folder: Path) -> Sample:
    """Return a file that nobody reads, and the shapes."""
    (folder / "nothing").write_bytes(b"nothing")
    return {"model": folder / "nothing"}, {"input": "1,1,8,8", "output": "1,3"}


def openvino_files(folder: Path) -> Sample:
    """Write a graph and its weights, as a bundle has them: without suffixes."""
    weights = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    image = openvino.opset13.parameter([1, 1, 8, 8], np.float32, name="image")
    image.output(0).set_names({"image"})
    flat = openvino.opset13.reshape(image, np.array([1, 64]), special_zero=False)
    scores = openvino.opset13.matmul(flat, weights, transpose_a=False, transpose_b=False)
    scores.output(0).set_names({"scores"})
    openvino.save_model(openvino.Model([scores], [image]), folder / "tiny.xml", compress_to_fp16=False)
    files = {"model": folder / "tiny-model", "weights": folder / "tiny-constants"}
    (folder / "tiny.xml").rename(files["model"])
    (folder / "tiny.bin").rename(files["weights"])
    return files, {}
