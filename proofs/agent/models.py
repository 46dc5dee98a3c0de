"""The models of the proofs as files and bundles, made once and kept in `build/prove-agent`.

    mobilenet   MobileNetV2 at 224x224, 1,000 classes
    detector    a convolutional detector at 320x320, 18 classes, output (1, 22, 2100)

Both are untrained with a fixed seed: time and memory depend on layers, not on what they have learned.
The detector's scores are biased so that a handful of boxes pass on a frame of the video, as in real use.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch

from outrider_bundle.manifest import (
    ClassificationDecoder,
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
from outrider_converter.exports import OUTPUT
from outrider_converter.quiet import quiet
from outrider_converter.strip.onnx import strip
from outrider_runtime.pipeline import Model
from outrider_runtime.preprocess import preprocessor
from outrider_runtime.proof import RELATIVE, expected_outputs
from proofs.agent import nets
from proofs.agent.video import FRAME_SHAPE, WORK, frames

SEED = 7
OPSET = 20
APP, HARDWARE, VARIANT = "proof", "any", "onnx-f32"
DETECTOR_SIZE, DETECTOR_CLASSES, ANCHORS = 320, 18, 2100
MOBILENET_SIZE, MOBILENET_CLASSES = 224, 1000
BOXES = 8.0
"""Anchors that pass on a frame, on average, before overlapping ones are suppressed."""

MIN_SCORE = 0.25
GOLDEN_FRAMES = 4
"""As many as the converter takes where it has no labels."""

SETTLING_FRAMES = 8


def _entry(size: int, preprocess: ImagePreprocess) -> Input:
    return Input(name="images", shape=(1, 3, size, size), layout="NCHW", preprocess=preprocess)


SORTS = _entry(
    MOBILENET_SIZE, ImagePreprocess(color="rgb", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
)
FINDS = _entry(DETECTOR_SIZE, ImagePreprocess(color="rgb", resize="letterbox"))
"""The inputs of both networks."""


def mobilenet(folder: Path = WORK) -> Path:
    """Return the MobileNetV2 as one float32 ONNX file below `folder`, made if it is not there."""
    return _kept(folder / "mobilenet.onnx", _make_mobilenet)


def detector(folder: Path = WORK) -> Path:
    """Return the detector as one float32 ONNX file below `folder`, made if it is not there."""
    return _kept(folder / "detector.onnx", _make_detector)


def bundles(folder: Path = WORK) -> dict[str, Path]:
    """Return the bundles `mobilenet` and `detector`, made if they are not there: one variant, `onnx-f32`."""
    return {
        "mobilenet": _kept(folder / "mobilenet.orb", lambda part: _bundle(part, mobilenet(folder), SORTS)),
        "detector": _kept(folder / "detector.orb", lambda part: _bundle(part, detector(folder), FINDS)),
    }


def _kept(path: Path, make: Callable[[Path], object]) -> Path:
    """Return `path`, made anew if it is not there or the sources that describe it have changed."""
    sources = Path(__file__).with_name("nets.py").read_bytes() + Path(__file__).read_bytes()
    digest, stamp = hashlib.sha256(sources).hexdigest(), path.with_suffix(path.suffix + ".made")
    if path.exists() and stamp.exists() and stamp.read_text(encoding="ascii") == digest:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:  # another process may make it as well
        part = Path(scratch) / path.name
        make(part)
        part.replace(path)
    stamp.write_text(digest, encoding="ascii")
    return path


def _make_mobilenet(path: Path) -> None:
    torch.manual_seed(SEED)
    net = nets.MobileNet(MOBILENET_CLASSES)
    nets.settle(net, _images(SORTS))
    _export(net, SORTS, path)


def _make_detector(path: Path) -> None:
    torch.manual_seed(SEED)
    net = nets.Detector(DETECTOR_CLASSES, DETECTOR_SIZE)
    images = _images(FINDS)
    nets.settle(net, images)
    nets.bias(net, images, BOXES, MIN_SCORE)
    _export(net, FINDS, path)


def _images(entry: Input) -> torch.Tensor:
    """Return frames of the video as `entry` gives them to the network, `(n, 3, size, size)`."""
    writer = preprocessor(entry, _tensor(entry))
    out = np.empty((SETTLING_FRAMES, *entry.shape[1:]), np.float32)
    for index, frame in enumerate(frames(SETTLING_FRAMES)):
        writer.write(frame, out[index : index + 1])
    return torch.from_numpy(out)


def _export(net: torch.nn.Module, entry: Input, path: Path) -> None:
    """Write the network as the converter's exporter does."""
    with quiet():
        program = torch.onnx.export(
            net,
            (torch.zeros(entry.shape),),
            dynamo=True,
            opset_version=OPSET,
            input_names=[entry.name],
            output_names=[OUTPUT],
            verbose=False,
        )
    assert program is not None
    onnx.save(program.model_proto, path)


def _bundle(path: Path, source: Path, entry: Input) -> str:
    """Write the bundle of the network in `source`, laid out as the converter does where that can be."""
    with tempfile.TemporaryDirectory() as scratch:
        files = {role: Path(scratch) / f"{source.stem}-{role}" for role in _roles(entry)}
        if "weights" in files:
            strip(source, files["graph"], files["weights"])
        else:
            shutil.copy(source, files["graph"])
        manifest, variant = _manifest(source.stem, entry), _variant(source.stem, entry)
        samples = np.stack(frames(GOLDEN_FRAMES))
        model = Model.open(manifest, variant, files)
        answers = expected_outputs(model, samples)
        model.close()
        blobs: dict[str, bytes | Path] = {file.name: file for file in files.values()}
        return write_bundle(path, manifest, {**blobs, "golden": samples.tobytes(), "answers": answers})


def _roles(entry: Input) -> tuple[str, ...]:
    """Return the files of a variant; ONNX Runtime wants the factors of a Resize in the graph."""
    return ("graph", "weights") if entry is SORTS else ("graph",)


def _variant(name: str, entry: Input) -> Variant:
    shape = (1, MOBILENET_CLASSES) if entry is SORTS else (1, 4 + DETECTOR_CLASSES, ANCHORS)
    return Variant(
        id=VARIANT,
        runtime="onnx",
        precision="float32",
        rank=0,
        files=tuple(File(role=role, blob=f"{name}-{role}") for role in _roles(entry)),
        inputs=(_tensor(entry),),
        outputs=(Tensor(name=OUTPUT, shape=shape, dtype="float32"),),
    )


def _manifest(name: str, entry: Input) -> Manifest:
    variant, sorts = _variant(name, entry), entry is SORTS
    labels = tuple(f"class-{n}" for n in range(MOBILENET_CLASSES if sorts else DETECTOR_CLASSES))
    decoder = ClassificationDecoder(labels=labels) if sorts else DetectionDecoder(labels=labels)
    tolerance, agreement = RelativeTolerance(relative=RELATIVE), 1.0 if sorts else 0.0
    expected = Expected(variant=VARIANT, blob="answers", tolerance=tolerance, agreement=agreement)
    golden = Golden(blob="golden", shape=(GOLDEN_FRAMES, *FRAME_SHAPE), dtype="uint8", expected=(expected,))
    return Manifest(
        name=name,
        version="1.0.0",
        app=APP,
        hardware=(HARDWARE,),
        task="classification" if sorts else "detection",
        inputs=(entry,),
        outputs=(Output(name=OUTPUT, shape=variant.outputs[0].shape, decoder=decoder),),
        variants=(variant,),
        golden=golden,
        blobs=(),
    )


def _tensor(entry: Input) -> Tensor:
    return Tensor(name=entry.name, shape=entry.shape, dtype="float32", layout=entry.layout)


if __name__ == "__main__":
    bundles()
