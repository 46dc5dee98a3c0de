"""A detector that really runs and always finds the same: a bag on the left and a boot on the right."""

from pathlib import Path

import numpy as np
from onnx import helper

from outrider_bundle.manifest import (
    DetectionDecoder,
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
from tests.fakes import graphs

LABELS = ("bag", "boot")
SIDE = 64
BAG, BOOT = (16.0, 32.0, 16.0, 32.0), (48.0, 32.0, 24.0, 48.0)
"""Centre, width and height in pixels of the model's input."""

SAMPLES = np.random.default_rng(3).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)


def graph(path: Path) -> Path:
    """Write the network: a constant, and nothing times the image."""
    found = np.zeros((1, 4 + len(LABELS), 3), np.float32)
    found[0, :4, 0], found[0, :4, 1] = BAG, BOOT
    found[0, 4:, 0], found[0, 4:, 1] = (0.9, 0.1), (0.1, 0.8)
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "nothing"], ["zero"]),
        helper.make_node("Add", ["found", "zero"], ["scores"]),
    ]
    weights: graphs.Weights = {"found": found, "nothing": np.float32(0.0).reshape(())}
    return graphs.save(path, nodes, weights, ([1, 3, SIDE, SIDE], found.shape))


def write(path: Path) -> str:
    """Write the bundle and return its digest."""
    file, shape = graph(path.with_suffix(".onnx")), (1, 4 + len(LABELS), 3)
    variant = Variant(
        id="onnx-float32",
        runtime="onnx",
        precision="float32",
        rank=0,
        files=(File(role="graph", blob="graph"),),
        inputs=(Tensor(name="image", shape=(1, 3, SIDE, SIDE), dtype="float32", layout="NCHW"),),
        outputs=(Tensor(name="scores", shape=shape, dtype="float32"),),
    )
    expected = Expected(
        variant=variant.id, blob="expected", tolerance=RelativeTolerance(relative=1e-4), agreement=0.0
    )
    written = Manifest(
        name="finder",
        version="1.0.0",
        app="sorting",
        hardware=("bench",),
        task="detection",
        inputs=(
            Input(
                name="image",
                shape=(1, 3, SIDE, SIDE),
                layout="NCHW",
                preprocess=ImagePreprocess(color="rgb"),
            ),
        ),
        outputs=(Output(name="found", shape=shape, decoder=DetectionDecoder(labels=LABELS)),),
        variants=(variant,),
        golden=Golden(blob="golden", shape=SAMPLES.shape, dtype="uint8", expected=(expected,)),
        blobs=(),
    )
    answers = expected_outputs(Model.open(written, variant, {"graph": file}), SAMPLES)
    blobs: dict[str, bytes | Path] = {"golden": SAMPLES.tobytes(), "graph": file, "expected": answers}
    return write_bundle(path, written, blobs)
