"""What a torch model answers, how often it is right, and what it costs."""

import hashlib

import numpy as np
import torch
from msgspec import Struct
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from outrider_bundle.errors import DataError, OutriderError
from outrider_converter.loading import describe
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
    (answers,) = outputs(model, values, normalize, task)
    return answers


@torch.inference_mode()
def outputs(
    model: nn.Module, values: Tensor, normalize: Normalizer, task: Task | None = None
) -> tuple[Tensor, ...]:
    """Return every output `(n, ...)` float32 of `model` in evaluation mode for prepared values."""
    task = task or NullReporter().start("", 0)
    model.eval()
    rows = []
    for chunk in torch.split(values, CHUNK):
        try:
            answer = model(normalize(chunk))
        except OutriderError:
            raise
        except Exception as error:
            raise DataError(
                f"The network fails on {len(chunk)} inputs: {describe(error)}",
                "Run it by itself to see where",
            ) from error
        rows.append((answer,) if isinstance(answer, Tensor) else tuple(answer))
        task.advance(len(chunk))
    return tuple(torch.cat([part.float() for part in parts]).clone() for parts in zip(*rows, strict=True))


def accuracy(answers: Tensor, labels: NDArray[np.int64]) -> float:
    """Return the share of rows whose largest entry is the label."""
    return float((answers.argmax(1).numpy() == labels).mean())


@torch.no_grad()
def cost(model: nn.Module, shape: tuple[int, ...]) -> Cost:
    """Count parameters and multiply-accumulates for one input of `shape`; black boxes count their own.

    Operators are counted as they run, so layers without a module count too. Recurrent layers of torch
    are one operator each, of which nobody knows the count: they are left out.
    """
    if hasattr(model, "files"):
        own: Cost = model.cost()  # type: ignore[operator]
        return own
    rows = getattr(model, "fewest", 1)  # some files take a fixed batch
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # or attention is one operator, and uncounted
    try:
        with FlopCounterMode(display=False) as counter:
            model.eval()(torch.zeros((rows, *shape[1:])))
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    macs = counter.get_total_flops() // (2 * rows)
    return Cost(params=sum(p.numel() for p in model.parameters()), macs=macs)


def digest(model: nn.Module) -> str:
    """Return the SHA-256 of a model's whole state, by name; of a model in a file, that of the file."""
    known = getattr(model, "file_digest", None)
    if isinstance(known, str):
        return known
    total = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        data = value.detach().cpu().contiguous().numpy()
        total.update(f"{name}{data.dtype.str}{data.shape}".encode())
        total.update(data.tobytes())
    return total.hexdigest()
