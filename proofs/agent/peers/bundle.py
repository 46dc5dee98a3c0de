"""The detector's file as a bundle: the agent runs the very bytes that the peers run."""

from pathlib import Path

import numpy as np

from outrider_bundle.manifest import (
    DetectionDecoder,
    Expected,
    File,
    Golden,
    Manifest,
    Output,
    RelativeTolerance,
    Tensor,
    Variant,
)
from outrider_bundle.writer import write_bundle
from outrider_runtime.pipeline import Model
from outrider_runtime.proof import RELATIVE, expected_outputs
from proofs.agent import models
from proofs.agent.peers.seam import IOU, MIN_SCORE
from proofs.agent.video import FRAME_SHAPE, frames

SAMPLES = 4
VARIANT = "onnx-f32"
SHAPE = (1, 4 + models.DETECTOR_CLASSES, models.ANCHORS)
LABELS = tuple(f"class-{number}" for number in range(models.DETECTOR_CLASSES))


def write(path: Path, model: Path) -> None:
    """Write the bundle of `model`, an ONNX file with its weights, to `path`."""
    manifest, samples = _manifest(), np.stack(frames(SAMPLES))
    opened = Model.open(manifest, manifest.variants[0], {"graph": model})
    answers = expected_outputs(opened, samples)
    opened.close()
    write_bundle(path, manifest, {"graph": model, "golden": samples.tobytes(), "answers": answers})


def _manifest() -> Manifest:
    given = models.FINDS
    decoder = DetectionDecoder(labels=LABELS, min_score=MIN_SCORE, iou=IOU)
    entry = Tensor(name=given.name, shape=given.shape, dtype="float32", layout=given.layout)
    exit_ = Tensor(name=models.OUTPUT, shape=SHAPE, dtype="float32")
    tolerance = RelativeTolerance(relative=RELATIVE)
    expected = Expected(variant=VARIANT, blob="answers", tolerance=tolerance, agreement=0.0)
    return Manifest(
        name="detector",
        version="1.0.0",
        app="peers",
        hardware=("any",),
        task="detection",
        inputs=(given,),
        outputs=(Output(name=exit_.name, shape=SHAPE, decoder=decoder),),
        variants=(
            Variant(
                id=VARIANT,
                runtime="onnx",
                precision="float32",
                rank=0,
                files=(File(role="graph", blob="graph"),),
                inputs=(entry,),
                outputs=(exit_,),
            ),
        ),
        golden=Golden(blob="golden", shape=(SAMPLES, *FRAME_SHAPE), dtype="uint8", expected=(expected,)),
        blobs=(),
    )
