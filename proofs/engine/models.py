"""The bundles that swaps go round, and one that fails on command; made once, kept in `build/prove-engine`.

first    the MobileNetV2 of `proofs.agent.models` at 224x224 on ONNX Runtime, 1,000 labels
second   the same network with other weights
third    at 192x192, 100 labels, on OpenVINO
faulty   the first behind `faulty_onnx`
"""

import hashlib
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import onnx
import torch
from msgspec.structs import replace
from onnx import numpy_helper

from outrider_bundle.container import Bundle
from outrider_bundle.manifest import (
    ClassificationDecoder,
    Expected,
    File,
    Golden,
    ImagePreprocess,
    Input,
    Manifest,
    Output,
    RelativeTolerance,
    Variant,
)
from outrider_bundle.slot import Slot, unpack
from outrider_bundle.writer import write_bundle
from outrider_converter.exports import OUTPUT
from outrider_converter.quiet import quiet
from outrider_converter.strip.onnx import strip
from outrider_runtime.loading import runtime
from outrider_runtime.pipeline import Model
from outrider_runtime.proof import RELATIVE, expected_outputs
from outrider_runtime.untracked import openvino
from proofs.agent import models, nets
from proofs.agent.video import FRAME_SHAPE, ROOT, frames
from proofs.engine.faulty_onnx import NAME as FAULTY

WORK = ROOT / "build" / "prove-engine"
SOURCES = ("models.py", "faulty_onnx.py", "../agent/models.py", "../agent/nets.py")
NOISE = 0.03
"""Of each weight; a model that was trained on."""

SIZE, CLASSES = 192, 100
OPENVINO = "openvino-f32"


def bundles() -> dict[str, Path]:
    """Return the bundles by name, made if they are not there or their sources have changed."""
    sources = b"".join((Path(__file__).parent / name).read_bytes() for name in SOURCES)
    folder = WORK / hashlib.sha256(sources).hexdigest()[:16]
    names = ("first", "second", "third", "faulty")
    if not folder.exists():
        WORK.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=WORK) as scratch:  # complete or not there
            made = Path(scratch) / "made"
            made.mkdir()
            _make(made, Path(scratch))
            made.rename(folder)
    return {name: folder / f"{name}.orb" for name in names}


def _make(folder: Path, scratch: Path) -> None:
    first = folder / "first.orb"
    shutil.copy(models.bundles()["mobilenet"], first)
    with Bundle.open(first) as bundle:
        manifest = bundle.manifest
        slot = Slot.open(unpack(bundle, [models.VARIANT], scratch / "slots"))
    files = slot.files(models.VARIANT)
    _faulty(folder / "faulty.orb", manifest, files)
    _second(folder / "second.orb", manifest, files, scratch)
    _third(folder / "third.orb", scratch)


def _second(path: Path, manifest: Manifest, files: Mapping[str, Path], scratch: Path) -> None:
    """Write the first network with noise on its weights."""
    graph = onnx.load(files["graph"], load_external_data=True)
    random = np.random.default_rng(models.SEED)
    for tensor in graph.graph.initializer:
        weights = numpy_helper.to_array(tensor)
        if weights.dtype == np.float32:
            noisy = weights * random.normal(1.0, NOISE, weights.shape).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(noisy, tensor.name))
    onnx.save(graph, scratch / "second.onnx")
    files = {role: scratch / f"second-{role}" for role in ("graph", "weights")}
    strip(scratch / "second.onnx", files["graph"], files["weights"])
    blobs = tuple(File(role=role, blob=made.name) for role, made in files.items())
    variant = replace(manifest.variants[0], files=blobs)
    _write(path, replace(manifest, version="2.0.0"), (variant,), files)


def _third(path: Path, scratch: Path) -> None:
    """Write a network of other input, labels and runtime."""
    torch.manual_seed(models.SEED + 1)
    net = nets.MobileNet(CLASSES)
    nets.settle(net, torch.rand(8, 3, SIZE, SIZE))
    with quiet():
        program = torch.onnx.export(
            net.eval(),
            (torch.zeros(1, 3, SIZE, SIZE),),
            dynamo=True,
            opset_version=models.OPSET,
            input_names=["images"],
            output_names=[OUTPUT],
            verbose=False,
        )
    assert program is not None
    onnx.save(program.model_proto, scratch / "third.onnx")
    files = {"model": scratch / "third.xml", "weights": scratch / "third.bin"}
    openvino.save_model(
        openvino.convert_model(scratch / "third.onnx"), files["model"], compress_to_fp16=False
    )
    session = runtime("openvino").load(files, {})
    variant = Variant(
        id=OPENVINO,
        runtime="openvino",
        precision="float32",
        rank=0,
        files=tuple(File(role=role, blob=f"third-{role}") for role in files),
        inputs=tuple(replace(tensor, layout="NCHW") for tensor in session.inputs),
        outputs=session.outputs,
    )
    session.close()
    labels = tuple(f"other-{number}" for number in range(CLASSES))
    entry = Input(
        name="images", shape=(1, 3, SIZE, SIZE), layout="NCHW", preprocess=ImagePreprocess(color="rgb")
    )
    manifest = Manifest(
        name="mobilenet-192",
        version="3.0.0",
        app=models.APP,
        hardware=(models.HARDWARE,),
        task="classification",
        inputs=(entry,),
        outputs=(Output(name=OUTPUT, shape=(1, CLASSES), decoder=ClassificationDecoder(labels=labels)),),
        variants=(),
        golden=Golden(blob="golden", shape=(1,), dtype="uint8", expected=()),
        blobs=(),
    )
    _write(path, manifest, (variant,), files)


def _faulty(path: Path, manifest: Manifest, files: Mapping[str, Path]) -> None:
    """Write the first network behind the runtime that fails on command."""
    variant = replace(manifest.variants[0], id=FAULTY, runtime=FAULTY)
    _write(path, replace(manifest, name="faulty"), (variant,), files, twin=manifest.variants[0])


def _write(
    path: Path,
    draft: Manifest,
    variants: tuple[Variant, ...],
    files: Mapping[str, Path],
    twin: Variant | None = None,
) -> None:
    """Write a bundle of one network in `files`, with frames of the video as golden vectors.

    `twin` computes the same where a variant's own runtime is not installed.
    """
    samples = np.stack(frames(models.GOLDEN_FRAMES))
    tolerance = RelativeTolerance(relative=RELATIVE)
    expected = tuple(Expected(variant=one.id, blob="answers", tolerance=tolerance) for one in variants)
    golden = Golden(
        blob="golden", shape=(models.GOLDEN_FRAMES, *FRAME_SHAPE), dtype="uint8", expected=expected
    )
    manifest = replace(draft, variants=variants, golden=golden, blobs=())
    model = Model.open(manifest, twin or variants[0], files)
    answers = expected_outputs(model, samples)
    model.close()
    blobs: dict[str, bytes | Path] = {file.blob: files[file.role] for one in variants for file in one.files}
    write_bundle(path, manifest, {**blobs, "golden": samples.tobytes(), "answers": answers})


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode({name: str(path) for name, path in bundles().items()}))
