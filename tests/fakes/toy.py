"""A toy to convert: three kinds of 12x12 images, a teacher whose weights are set by hand, and a recipe.

The bright column band tells the class, so the teacher is right on nearly all images and a student learns
it in seconds.
"""

from pathlib import Path

DATA = '''
"""Images with one bright band of columns, under noise."""

import numpy as np

LABELS = ("left", "middle", "right")


def part(count, seed):
    source = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = source.integers(0, 120, (count, 12, 12))
    for image, label in zip(images, labels):
        image[:, 4 * label : 4 * label + 4] += 90
    return images.astype(np.uint8), labels.astype(np.int64)


def split():
    return {"train": part(768, 1), "validation": part(150, 2), "test": part(210, 3)}
'''

MODELS = '''
"""A teacher that adds up each band, and a student."""

import torch
from torch import nn


class Bands(nn.Module):
    def __init__(self):
        super().__init__()
        self.wide = nn.Conv2d(1, 32, 5, padding=2, bias=False)
        self.deep = nn.Conv2d(32, 32, 3, padding=1, bias=False)
        self.head = nn.Linear(12 * 12, 3)
        with torch.no_grad():
            self.wide.weight.fill_(0.04 / 32)
            self.deep.weight.fill_(1 / 9)
            bands = torch.zeros(3, 12, 12)
            for label in range(3):
                bands[label, :, 4 * label : 4 * label + 4] = 1.0
            self.head.weight.copy_(bands.reshape(3, -1) / 8)
            self.head.bias.zero_()

    def forward(self, x):
        return self.head(self.deep(self.wide(x)).mean(1).flatten(1))


def teacher():
    return Bands()
'''

RECIPE = """
name = "toy"
version = "0.1.0"
app = "test"
hardware = ["generic"]
seed = 3

[teacher]
callable = "models:teacher"

[data]
name = "bands"
callable = "data:split"
labels = "data:LABELS"

[input]
shape = [1, 1, 12, 12]
layout = "NCHW"

[input.preprocess]
kind = "image"
color = "gray"
mean = [0.4]
std = [0.25]

[student]
family = "res-cnn"
width = 8

[budget]
drop = 10.0

[distill]
epochs = 6
batch = 64
views = 2
shift = 1

[prune]
macs = 0.2
epochs = 2
round_to = 4

[quantize]
samples = 32

[export]
formats = ["onnx"]
"""


def write_toy(folder: Path, *changes: tuple[str, str]) -> Path:
    """Write data, teacher and recipe into `folder` and return the recipe's path.

    Args:
        folder: made if it is not there.
        changes: pairs of a text in the recipe and what stands there instead.
    """
    folder.mkdir(parents=True, exist_ok=True)
    recipe = RECIPE
    for old, new in changes:
        if old not in recipe:
            raise ValueError(f"the toy recipe has no {old!r}")
        recipe = recipe.replace(old, new)
    (folder / "data.py").write_text(DATA, encoding="utf-8")
    (folder / "models.py").write_text(MODELS, encoding="utf-8")
    path = folder / "recipe.toml"
    path.write_text(recipe, encoding="utf-8")
    return path
