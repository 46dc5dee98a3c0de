"""Models in files and frames for them: what `outrider convert MODEL` is given.

The frames are 12x12 images with a bright band of columns, left, middle or right; the classifier adds up each
band, so it is right on nearly all of them.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

LABELS = ("left", "middle", "right")
SIDE = 12
PREPROCESS = """
kind = "image"
color = "gray"
resize = "stretch"
scale = 0.00392156862745098
mean = [0.4]
std = [0.25]
"""


def bands(count: int, seed: int = 1) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return images `(n, 12, 12)` and their classes."""
    source = np.random.default_rng(seed)
    labels = np.arange(count) % len(LABELS)
    images = source.integers(0, 120, (count, SIDE, SIDE))
    for image, label in zip(images, labels, strict=True):
        image[:, 4 * label : 4 * label + 4] += 90
    return images.astype(np.uint8), labels


def write_images(folder: Path, count: int = 90, *, by_class: bool = False) -> Path:
    """Write frames as png files, flat or in one folder a class, and return the folder."""
    for number, (image, label) in enumerate(zip(*bands(count), strict=True)):
        place = folder / LABELS[label] if by_class else folder
        place.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place / f"{number:04d}.png"), image)
    return folder


def write_classifier(
    path: Path, *, softmax: bool = False, batch: int | str = 1, side: int | str = SIDE
) -> Path:
    """Write a convolution, a sum of each band and, if wanted, a softmax: `image` to `scores` `(1, 3)`."""
    nodes = _body()
    nodes.append(
        helper.make_node("Gemm", ["flat", "bands", "bias"], ["sums" if softmax else "scores"], "head")
    )
    if softmax:
        nodes.append(helper.make_node("Softmax", ["sums"], ["scores"], "softmax", axis=1))
    return _save(path, nodes, [_value("scores", [batch, len(LABELS)])], [batch, 1, side, side])


def write_raw(path: Path) -> Path:
    """Write a network with two outputs: a map `(1, 4, 12, 12)` and the sums of bands `(1, 3)`."""
    nodes = [*_body(), helper.make_node("Gemm", ["flat", "bands", "bias"], ["sums"], "head")]
    outputs = [_value("map", [1, 4, SIDE, SIDE]), _value("sums", [1, len(LABELS)])]
    return _save(path, nodes, outputs, [1, 1, SIDE, SIDE])


def _body() -> list[NodeProto]:
    return [
        helper.make_node("Conv", ["image", "filters", "offsets"], ["map"], "first", pads=[1] * 4),
        helper.make_node("Flatten", ["map"], ["flat"], "flatten"),
    ]


def _value(name: str, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _save(
    path: Path, nodes: list[NodeProto], outputs: list[onnx.ValueInfoProto], shape: Sequence[int | str]
) -> Path:
    source = np.random.default_rng(4)
    columns = np.repeat(np.eye(len(LABELS)), 4, 0)
    sums = np.tile(columns, (4 * SIDE, 1)).astype(np.float32)
    weights = {
        "filters": (1 / 36 + source.normal(0, 0.004, (4, 1, 3, 3))).astype(np.float32),
        "offsets": np.zeros(4, np.float32),
        "bands": sums / 8,
        "bias": np.zeros(len(LABELS), np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "bands",
        [_value("image", shape)],
        outputs,
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return path
