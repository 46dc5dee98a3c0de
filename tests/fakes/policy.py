"""Recipes for tasks without labels: a teacher of two numbers or actions on four features, in one second."""

from pathlib import Path
from typing import Any

MODULE = '''
"""A teacher with weights set by hand, and states to ask it about."""

import numpy as np
import torch
from torch import nn


def teacher():
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(4, 24), nn.Tanh(), nn.Linear(24, 2))
    with torch.no_grad():
        net[2].weight.mul_(3.0)
        net[2].weight[1].mul_(SIZE)
        net[2].bias.copy_(torch.tensor([0.0, OFFSET]))
    return net


def part(count, seed):
    return np.random.default_rng(seed).normal(0.0, 1.0, (count, 4)).astype(np.float32), None


def split():
    return {"train": part(2048, 1), "validation": part(300, 2), "test": part(300, 3)}
'''

RECIPE = """
name = "toy"
version = "0.1.0"
app = "test"
hardware = ["generic"]
task = "{task}"
seed = 3

[teacher]
callable = "policies:teacher"

[data]
name = "states"
callable = "policies:split"

[input]
name = "state"
shape = [1, 4]
layout = "NC"
preprocess = {{ kind = "array", mean = [0.1], std = [1.1] }}

[output]
{output}

[student]
{student}

[budget]
drop = {drop}

[distill]
epochs = 12
batch = 64
learning_rate = 1e-2

[quantize]
samples = 200

[export]
formats = ["onnx"]
"""

OUTPUTS = {
    "control": 'kind = "control"\nnames = ["left", "right"]',
    "continuous": 'kind = "control"\nspace = "continuous"\nnames = ["left", "right"]',
    "regression": 'kind = "regression"\nnames = ["here", "there"]',
    "anomaly": 'kind = "anomaly"\nthreshold = 1.0',
    "detection": 'kind = "yolo"\nlabels = ["a"]',
}
"""Tables `output` by what they are of."""


def write_policy(folder: Path, kind: str = "control", **changes: Any) -> Path:  # noqa: ANN401 - any option
    """Write module and recipe of `kind` into `folder` and return the recipe's path.

    Args:
        folder: made if it is not there.
        kind: a key of `OUTPUTS`.
        changes: `task`, `output`, `student` as TOML; `drop`; `size` and `offset` of the second number.
    """
    folder.mkdir(parents=True, exist_ok=True)
    size, offset = changes.get("size", 1.0), changes.get("offset", 0.0)
    module = MODULE.replace("SIZE", str(size)).replace("OFFSET", str(offset))
    (folder / "policies.py").write_text(module)
    path = folder / "recipe.toml"
    text = RECIPE.format(
        task=changes.get("task", "control" if kind == "continuous" else kind),
        output=changes.get("output", OUTPUTS.get(kind, "")),
        student=changes.get("student", 'family = "mlp"\nwidth = 32'),
        drop=changes.get("drop", 10),
    )
    path.write_text(text if changes.get("output", "x") else text.replace("[output]\n", ""))
    return path
