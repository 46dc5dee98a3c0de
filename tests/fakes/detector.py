"""An untrained detector in YOLO's layout as a file, and pictures for it."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from outrider_converter.quiet import quiet

SIDE = 96
LABELS = ("bolt", "nut", "washer")
CELL = 8
ANCHORS = (SIDE // CELL) ** 2
PREPROCESS = """
kind = "image"
color = "rgb"
resize = "letterbox"
scale = 0.00392156862745098
mean = [0.0]
std = [1.0]
"""


def pictures(count: int) -> NDArray[np.uint8]:
    """Return pictures `(n, h, w, 3)` BGR of three rectangles each on a dark ground."""
    source = np.random.default_rng(0)
    images = source.integers(0, 60, (count, SIDE, SIDE, 3)).astype(np.uint8)
    for image in images:
        for _ in range(3):
            (x, y), (w, h) = source.integers(0, 70, 2).tolist(), source.integers(10, 25, 2).tolist()
            image[y : y + h, x : x + w] = source.integers(80, 255, 3)
    return images


def write_pictures(folder: Path, count: int) -> Path:
    """Write pictures as png files and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(pictures(count)):
        cv2.imwrite(str(folder / f"{number:03d}.png"), image)
    return folder


class Tiny(nn.Module):
    """Three convolutions, then for each cell of 8x8 pixels a box and a score a label: `(1, 4 + 3, 144)`."""

    def __init__(self) -> None:
        super().__init__()
        sizes = ((3, 8), (8, 16), (16, 24))
        layers = [(nn.Conv2d(i, o, 3, 2, 1), nn.ReLU()) for i, o in sizes]
        self.body = nn.Sequential(*(layer for pair in layers for layer in pair))
        self.boxes, self.classes = nn.Conv2d(24, 4, 1), nn.Conv2d(24, len(LABELS), 1)
        self.shift = nn.Parameter(torch.zeros(()))
        axis = (torch.arange(SIDE // CELL) + 0.5) * CELL
        self.register_buffer(
            "centres", torch.stack(torch.meshgrid(axis, axis, indexing="xy")).flatten(1)[None]
        )

    def forward(self, x: Tensor) -> Tensor:
        features = self.body(x)
        shift, size = self.boxes(features).flatten(2).chunk(2, 1)
        scores = (self.classes(features).flatten(2) + self.shift).sigmoid()
        return torch.cat((self.centres + shift, 2 * CELL + CELL * size.relu(), scores), 1)


def write_detector(path: Path) -> Path:
    """Write the detector `images` to `output0` `(1, 4 + 3, 144)`; some boxes pass on each picture."""
    torch.manual_seed(7)
    net = Tiny().eval()
    shown = torch.from_numpy(pictures(16)[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32) / 255)
    with torch.no_grad():
        logits = net.classes(net.body(shown)).flatten(2).std()
        net.classes.weight.mul_(2.0 / logits)
        best = net.classes(net.body(shown)).flatten(2).amax(1).flatten()
        net.shift -= best.sort(descending=True).values[8 * len(shown)]
    with quiet():
        program = torch.onnx.export(
            net,
            (torch.zeros((1, 3, SIDE, SIDE)),),
            dynamo=True,
            opset_version=20,
            input_names=["images"],
            output_names=["output0"],
            verbose=False,
        )
    if program is None:
        raise RuntimeError(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(program.model_proto, path)
    return path
