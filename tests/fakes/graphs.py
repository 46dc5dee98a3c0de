"""Small ONNX files made by hand, for what no exporter would write twice the same."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

Weights = dict[str, NDArray[np.generic]]


def value(name: str, shape: Sequence[int | str]) -> ValueInfoProto:
    """Return a float32 input or output."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def save(
    path: Path,
    nodes: Sequence[NodeProto],
    weights: Weights,
    shapes: tuple[Sequence[int | str], Sequence[int | str]],
    **options: object,
) -> Path:
    """Write a graph from `image` to `scores`.

    Args:
        path: of the file.
        nodes: in order.
        weights: initializers by name.
        shapes: of input and output.
        options: `opset`, `ir`, and `listed` if weights stand among the inputs too.
    """
    inputs = [value("image", shapes[0])]
    if options.get("listed"):
        inputs += [value(name, array.shape) for name, array in weights.items()]
    graph = helper.make_graph(
        list(nodes),
        "hand",
        inputs,
        [value("scores", shapes[1])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opset = helper.make_opsetid("", int(str(options.get("opset", 17))))
    model = helper.make_model(graph, opset_imports=[opset], ir_version=int(str(options.get("ir", 8))))
    onnx.save(model, path)
    return path


def small_net(path: Path, seed: int = 0, head: int | None = None, **options: object) -> Path:
    """Write a small image classifier: convolution, ReLU6, depthwise, pointwise, pooling, head; 3 classes.

    Args:
        path: of the file.
        seed: of all weights.
        head: seed of the head's weights, if they are to be others.
        options: see `save`, and `batch`.
    """
    source = np.random.default_rng(seed)

    def draw(*shape: int) -> NDArray[np.float32]:
        fan = int(np.prod(shape[1:])) or 1
        return (source.normal(size=shape) / np.sqrt(fan)).astype(np.float32)

    weights: Weights = {
        "w0": draw(8, 3, 3, 3),
        "b0": draw(8),
        "w1": draw(8, 1, 3, 3),
        "w2": draw(8, 8, 1, 1),
        "low": np.float32(0.0).reshape(()),
        "high": np.float32(6.0).reshape(()),
    }
    source = np.random.default_rng(seed if head is None else head)
    weights |= {"w3": draw(3, 8), "b3": draw(3)}
    nodes = [
        helper.make_node("Conv", ["image", "w0", "b0"], ["a"], "first", kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Clip", ["a", "low", "high"], ["b"], "relu6"),
        helper.make_node("Conv", ["b", "w1"], ["c"], "depthwise", kernel_shape=[3, 3], group=8),
        helper.make_node("Relu", ["c"], ["d"], "relu"),
        helper.make_node("Conv", ["d", "w2"], ["e"], "pointwise", kernel_shape=[1, 1]),
        helper.make_node("GlobalAveragePool", ["e"], ["f"], "pool"),
        helper.make_node("Flatten", ["f"], ["g"], "flat"),
        helper.make_node("Gemm", ["g", "w3", "b3"], ["scores"], "head", transB=1),
    ]
    batch = options.pop("batch", 1)
    return save(path, nodes, weights, ([str(batch) if batch != 1 else 1, 3, 12, 12], ["n", 3]), **options)


def images(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Return inputs of `small_net`."""
    return np.random.default_rng(seed).normal(size=(count, 3, 12, 12)).astype(np.float32)


def saturating(path: Path) -> Path:
    """Write a matrix product whose inputs and weights are all large and of one sign in one of its columns."""
    weight = np.full((64, 4), 1.0, np.float32)
    weight[:, 1:] = np.random.default_rng(0).normal(size=(64, 3)) / 8
    weight[1::2, 3] *= -1
    nodes = [helper.make_node("MatMul", ["image", "w"], ["scores"], "product")]
    return save(path, nodes, {"w": weight}, ([1, 64], [1, 4]))


def bright(count: int) -> NDArray[np.float32]:
    """Return inputs of `saturating`, nearly all at the top of their range."""
    return np.random.default_rng(1).uniform(0.9, 1.0, (count, 64)).astype(np.float32)


def uneven_net(path: Path, large: float = 20_000.0) -> Path:
    """Write a classifier of 12x12 images into three bands that int8 spoils.

    One activation holds two channels, of which one is `large` times as large as the other; only the small one
    is used. Both layers at it must be float for the answers to be right.
    """
    bands = np.zeros((3, 12, 12), np.float32)
    for label in range(3):
        bands[label, :, 4 * label : 4 * label + 4] = 1 / 8
    weights: Weights = {
        "spread": np.array([large, 1.0], np.float32).reshape(2, 1, 1, 1),
        "pick": np.array([0.0, 1.0], np.float32).reshape(1, 2, 1, 1),
        "bands": bands.reshape(3, -1),
    }
    nodes = [
        helper.make_node("Conv", ["image", "spread"], ["a"], "spread", kernel_shape=[1, 1]),
        helper.make_node("Conv", ["a", "pick"], ["b"], "pick", kernel_shape=[1, 1]),
        helper.make_node("Flatten", ["b"], ["c"], "flat"),
        helper.make_node("Gemm", ["c", "bands"], ["scores"], "head", transB=1),
    ]
    return save(path, nodes, weights, ([1, 1, 12, 12], [1, 3]))
