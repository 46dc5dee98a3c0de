"""Build the bundles of `outrider agent config --example` and what their sources play.

    python examples/agent/build_bundles.py

Each is a few nodes of ONNX with weights that follow from what they are for; nothing is trained and nothing
drawn at random but the golden vectors, so that they are the same wherever they are built. They are committed
under `agent/outrider_agent/examples/`.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from outrider_bundle.manifest import (
    AnomalyDecoder,
    ArrayPreprocess,
    ClassificationDecoder,
    ControlDecoder,
    Expected,
    File,
    Golden,
    ImagePreprocess,
    Input,
    Manifest,
    Output,
    RelativeTolerance,
    Tensor,
    Variant,
)
from outrider_bundle.writer import write_bundle
from outrider_runtime.pipeline import Model
from outrider_runtime.proof import expected_outputs

FOLDER = Path(__file__).parents[2] / "agent" / "outrider_agent" / "examples"
OPSET, IR = 17, 8
SAMPLES = 6
VARIANT = "onnx-fp32"

Weights = Mapping[str, NDArray[np.generic]]


def graph(
    nodes: Sequence[NodeProto], weights: Weights, given: Sequence[int], answered: Sequence[int]
) -> bytes:
    """Return an ONNX file from `input` to `output`."""
    made = helper.make_graph(
        list(nodes),
        "example",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, given)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, answered)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def image() -> tuple[bytes, dict[str, Any], NDArray[np.generic]]:
    """Return a classifier of 32x32 gray pictures: which third is the brightest.

    The mean of each third, times 16, is its score: where one is brighter by a sixteenth of the range, the
    probability is at least 0.57.
    """
    thirds = np.zeros((32, 3), np.float32)
    for at, (left, right) in enumerate(((0, 11), (11, 21), (21, 32))):
        thirds[left:right, at] = 16 / (right - left)
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["columns"], "columns", axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["columns", "thirds"], ["output"], "thirds"),
    ]
    model = graph(nodes, {"thirds": thirds}, (1, 1, 32, 32), (1, 3))
    labels, gray = ("left", "middle", "right"), ImagePreprocess(color="gray")
    manifest = {
        "task": "classification",
        "inputs": (Input(name="image", shape=(1, 1, 32, 32), layout="NCHW", preprocess=gray),),
        "outputs": (Output(name="scores", shape=(1, 3), decoder=ClassificationDecoder(labels=labels)),),
    }
    samples = np.random.default_rng(1).integers(0, 256, (SAMPLES, 32, 32), np.uint8)
    return model, manifest, samples


def sensor() -> tuple[bytes, dict[str, Any], NDArray[np.generic]]:
    """Return an anomaly score of windows of 64 samples of two channels: how jerky they are.

    It is the mean square of second differences, which a slow swing does not have and a knock does.
    """
    jerk = np.zeros((2, 1, 3), np.float32)
    jerk[:, 0] = (1.0, -2.0, 1.0)
    nodes = [
        helper.make_node("Transpose", ["input"], ["channels"], "turn", perm=[0, 2, 1]),
        helper.make_node("Conv", ["channels", "jerk"], ["jerks"], "jerk", group=2),
        helper.make_node("Mul", ["jerks", "jerks"], ["squares"], "square"),
        helper.make_node("ReduceMean", ["squares"], ["mean"], "mean", axes=[1, 2], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "last"], ["output"], "column"),
    ]
    model = graph(nodes, {"jerk": jerk, "last": np.array([1], np.int64)}, (1, 64, 2), (1, 1))
    manifest = {
        "task": "anomaly",
        "inputs": (Input(name="window", shape=(1, 64, 2), layout="NTC", preprocess=ArrayPreprocess()),),
        "outputs": (Output(name="score", shape=(1, 1), decoder=AnomalyDecoder(threshold=0.02)),),
    }
    samples = np.random.default_rng(2).normal(0.0, 0.1, (SAMPLES, 64, 2)).astype(np.float32)
    return model, manifest, samples


def control() -> tuple[bytes, dict[str, Any], NDArray[np.generic]]:
    """Return a policy for CartPole-v1: push to the side to which a weighted sum of the state says.

    The weights are those of a linear-quadratic regulator of the linearized plant, rounded.
    """
    toward = np.array([-0.8, -1.4, -9.0, -2.4], np.float32)
    weights = {"side": np.stack([toward, -toward])}
    nodes = [helper.make_node("Gemm", ["input", "side"], ["output"], "side", transB=1)]
    model = graph(nodes, weights, (1, 4), (1, 2))
    manifest = {
        "task": "control",
        "inputs": (Input(name="state", shape=(1, 4), layout="NC", preprocess=ArrayPreprocess()),),
        "outputs": (Output(name="side", shape=(1, 2), decoder=ControlDecoder(names=("left", "right"))),),
    }
    samples = np.random.default_rng(3).normal(0.0, 0.5, (SAMPLES, 4)).astype(np.float32)
    return model, manifest, samples


EXAMPLES = {"image": image, "sensor": sensor, "control": control}


def build(name: str, folder: Path) -> Path:
    """Write the bundle `name`.orb into `folder` and return its path."""
    model, described, samples = EXAMPLES[name]()
    given, answered = described["inputs"][0], described["outputs"][0]
    variant = Variant(
        id=VARIANT,
        runtime="onnx",
        precision="float32",
        rank=0,
        files=(File(role="graph", blob="graph"),),
        inputs=(Tensor(name="input", shape=given.shape, dtype="float32", layout=given.layout),),
        outputs=(Tensor(name="output", shape=answered.shape, dtype="float32"),),
    )
    expected = Expected(
        variant=VARIANT,
        blob="expected",
        tolerance=RelativeTolerance(relative=1e-4),
        agreement=1.0 if described["task"] == "classification" else 0.0,
    )
    manifest = Manifest(
        name=f"example-{name}",
        version="1.0.0",
        app="example",
        hardware=("any",),
        variants=(variant,),
        golden=Golden(blob="golden", shape=samples.shape, dtype=str(samples.dtype), expected=(expected,)),  # type: ignore[arg-type]
        blobs=(),
        **described,
    )
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "model.onnx"
        file.write_bytes(model)
        opened = Model.open(manifest, variant, {"graph": file})
        answers = expected_outputs(opened, samples)
        opened.close()
    path = folder / f"{name}.orb"
    write_bundle(path, manifest, {"golden": samples.tobytes(), "graph": model, "expected": answers})
    return path


if __name__ == "__main__":
    for each in EXAMPLES:
        written = build(each, FOLDER)
        print(f"{written}: {written.stat().st_size} bytes")
