"""Bundles of every task that really compute: tiny ONNX graphs over 8x8 gray images."""

from pathlib import Path

import numpy as np
import onnx
from msgspec.structs import replace
from onnx import NodeProto, TensorProto, helper, numpy_helper

from outrider_bundle.manifest import (
    AnomalyDecoder,
    ControlDecoder,
    Decoder,
    DetectionDecoder,
    Expected,
    File,
    Golden,
    Manifest,
    Output,
    RawDecoder,
    RegressionDecoder,
    SsdDecoder,
    Task,
    Variant,
)
from outrider_bundle.writer import write_bundle
from outrider_runtime.loading import runtime
from outrider_runtime.pipeline import Model
from outrider_runtime.proof import expected_outputs, tolerances
from tests.fakes.provable import DRAFT, SAMPLES

Shapes = dict[str, tuple[int, ...]]

TASKS: dict[str, tuple[Task, Decoder, Shapes]] = {
    "ssd": (
        "detection",
        SsdDecoder(labels=("cat", "dog"), min_score=0.3),
        {"boxes": (1, 3, 4), "classes": (1, 3), "scores": (1, 3), "count": (1,)},
    ),
    "heap": (
        "detection",
        SsdDecoder(outputs=("boxes", "scores"), labels=("cat", "dog"), min_score=0.3),
        {"boxes": (1, 9, 4), "scores": (1, 9, 2)},
    ),
    "yolo": ("detection", DetectionDecoder(labels=("cat", "dog"), layout="xyxy"), {"rows": (1, 9, 6)}),
    "regression": ("regression", RegressionDecoder(names=("angle", "speed"), std=(10.0,)), {"y": (1, 2)}),
    "discrete": ("control", ControlDecoder(names=("left", "right", "stay")), {"q": (1, 3)}),
    "continuous": (
        "control",
        ControlDecoder(names=("steer", "gas"), space="continuous", squash="tanh"),
        {"mean": (1, 2)},
    ),
    "score": ("anomaly", AnomalyDecoder(threshold=0.5), {"score": (1, 1)}),
    "reconstruction": (
        "anomaly",
        AnomalyDecoder(threshold=0.2, method="reconstruction"),
        {"again": (1, 1, 8, 8)},
    ),
}
"""Task, decoder and outputs by name."""


def write_graph(path: Path, shapes: Shapes) -> None:
    """Write a graph whose outputs are shares, each a product of the image; classes and counts are whole."""
    source = np.random.default_rng(3)
    nodes: list[NodeProto] = [helper.make_node("Flatten", ["image"], ["flat"])]
    weights = {}
    for name, shape in shapes.items():
        count = int(np.prod(shape))
        weights[f"{name}_w"] = (source.normal(size=(64, count)) / 8).astype(np.float32)
        weights[f"{name}_s"] = np.array(shape, np.int64)
        nodes += [
            helper.make_node("MatMul", ["flat", f"{name}_w"], [f"{name}_p"]),
            helper.make_node("Sigmoid", [f"{name}_p"], [f"{name}_q"]),
        ]
        last = f"{name}_q"
        if name in {"classes", "count"}:
            nodes.append(helper.make_node("Round", [last], [f"{name}_r"]))
            last = f"{name}_r"
        if name == "count":
            weights["two"] = np.array([2.0], np.float32)
            nodes.append(helper.make_node("Add", [last, "two"], ["count_t"]))
            last = "count_t"
        nodes.append(helper.make_node("Reshape", [last, f"{name}_s"], [name]))
    graph = helper.make_graph(
        nodes,
        "task",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)


def write_task(path: Path, name: str) -> Manifest:
    """Write the bundle of the task called `name` in `TASKS` to `path` and return its manifest."""
    task, decoder, shapes = TASKS[name]
    file = path.with_suffix(".onnx")
    write_graph(file, shapes)
    session = runtime("onnx").load({"graph": file}, {})
    variant = Variant(
        id="onnx",
        runtime="onnx",
        precision="float32",
        rank=0,
        files=(File(role="graph", blob="graph"),),
        inputs=tuple(replace(tensor, layout="NCHW") for tensor in session.inputs),
        outputs=session.outputs,
    )
    session.close()
    manifest = replace(
        DRAFT,
        name=name,
        task=task,
        outputs=tuple(
            Output(name=role, shape=shape, decoder=RawDecoder() if at else decoder)
            for at, (role, shape) in enumerate(shapes.items())
        ),
        variants=(variant,),
    )
    model = Model.open(manifest, variant, {"graph": file})
    answers = expected_outputs(model, SAMPLES)
    model.close()
    first, *more = tolerances(variant, answers)
    agreement = 1.0 if name == "discrete" else 0.0
    expected = Expected(
        variant="onnx", blob="answers", tolerance=first, more=tuple(more), agreement=agreement
    )
    golden = Golden(blob="golden", shape=SAMPLES.shape, dtype="uint8", expected=(expected,))
    manifest = replace(manifest, golden=golden)
    write_bundle(path, manifest, {"graph": file, "golden": SAMPLES.tobytes(), "answers": answers})
    return manifest
