"""An SSD detector as a file: boxes and scores in outputs of their own, of frames with a bright band."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.fakes.unlearned import LABELS, SIDE

BANDS = len(LABELS)


def write_ssd(path: Path) -> Path:
    """Write `boxes` `(1, 3, 4)`, one a band of columns, and `scores` `(1, 3, 1 + 3)`, the first no object."""
    edges = [[band / BANDS, 0.0, (band + 1) / BANDS, 1.0] for band in range(BANDS)]
    sums = np.zeros((SIDE * SIDE, BANDS * (1 + BANDS)), np.float32)
    for band in range(BANDS):
        columns = np.zeros((SIDE, SIDE), np.float32)
        columns[:, 4 * band : 4 * band + 4] = 0.1
        sums[:, band * (1 + BANDS) + 1 + band] = columns.ravel()
    weights = {
        "sums": sums,
        "shift": np.full(BANDS * (1 + BANDS), -2.0, np.float32),
        "edges": np.array(edges, np.float32)[None],
        "none": np.zeros((SIDE * SIDE, BANDS * 4), np.float32),
        "boxed": np.array([1, BANDS, 4], np.int64),
        "scored": np.array([1, BANDS, 1 + BANDS], np.int64),
    }
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"], "flatten"),
        helper.make_node("MatMul", ["flat", "none"], ["zeros"], "moves"),
        helper.make_node("Reshape", ["zeros", "boxed"], ["moved"], "as-boxes"),
        helper.make_node("Add", ["moved", "edges"], ["boxes"], "place"),
        helper.make_node("Gemm", ["flat", "sums", "shift"], ["logits"], "head"),
        helper.make_node("Sigmoid", ["logits"], ["shares"], "sigmoid"),
        helper.make_node("Reshape", ["shares", "scored"], ["scores"], "as-scores"),
    ]
    shapes = {"image": [1, 1, SIDE, SIDE], "boxes": [1, BANDS, 4], "scores": [1, BANDS, 1 + BANDS]}
    ports = {n: helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in shapes.items()}
    held = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "ssd", [ports["image"]], [ports["boxes"], ports["scores"]], held)
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return path
