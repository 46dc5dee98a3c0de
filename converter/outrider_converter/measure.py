"""What a torch model answers, how often it is right, and what it costs."""

import hashlib

import numpy as np
import torch
from msgspec import Struct
from numpy.typing import NDArray
from torch import Tensor, nn

from outrider_converter.progress import NullReporter, Task
from outrider_converter.tensors import Normalizer

CHUNK = 100
"""Samples a forward pass: enough to fill the cores; beyond, memory is mapped anew for each pass."""


class Cost(Struct, frozen=True, kw_only=True):
    """Parameters, and multiply-accumulates of one sample in convolutions and matrix products."""

    params: int
    macs: int


@torch.inference_mode()
def logits(model: nn.Module, values: Tensor, normalize: Normalizer, task: Task | None = None) -> Tensor:
    """Return `(n, classes)` float32 of `model` in evaluation mode; `values` are prepared, not normalized."""
    task = task or NullReporter().start("", 0)
    model.eval()
    rows = []
    for chunk in torch.split(values, CHUNK):
        rows.append(model(normalize(chunk)).float())
        task.advance(len(chunk))
    return torch.cat(rows).clone()


def accuracy(answers: Tensor, labels: NDArray[np.int64]) -> float:
    """Return the share of rows whose largest entry is the label."""
    return float((answers.argmax(1).numpy() == labels).mean())


@torch.inference_mode()
def cost(model: nn.Module, shape: tuple[int, ...]) -> Cost:
    """Count parameters and multiply-accumulates for one input of `shape`."""
    macs = 0

    def count(module: nn.Module, _: object, output: Tensor) -> None:
        nonlocal macs
        weight = module.weight
        macs += output.numel() // output.shape[0] * weight[0].numel()  # type: ignore[index]

    kinds = (nn.Conv1d, nn.Conv2d, nn.Linear)
    handles = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, kinds)]
    try:
        model.eval()(torch.zeros(shape))
    finally:
        for handle in handles:
            handle.remove()
    return Cost(params=sum(p.numel() for p in model.parameters()), macs=macs)


def digest(model: nn.Module) -> str:
    """Return the SHA-256 of a model's whole state, by name."""
    total = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        data = value.detach().cpu().contiguous().numpy()
        total.update(f"{name}{data.dtype.str}{data.shape}".encode())
        total.update(data.tobytes())
    return total.hexdigest()
