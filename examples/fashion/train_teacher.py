"""Train the Fashion-MNIST teacher and write `teacher.safetensors`.

    python examples/fashion/train_teacher.py --epochs 26

Settings are chosen on the 5,000 validation images; the test set is looked at once, at the end.
SGD with Nesterov momentum, one cosine cycle, flip + shift + random erasing (Zhong et al.,
arXiv 1708.04896), and an exponential moving average of the weights.
"""

import argparse
import copy
import json
import math
import time
from pathlib import Path

import data
import models
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

BATCH = 256
SHIFT = 2


def normalize(images: Tensor) -> Tensor:
    """Turn uint8 `(n, 1, 28, 28)` into normalized float32, channels last."""
    scaled = (images.float() / 255 - data.MEAN) / data.STD
    return scaled.contiguous(memory_format=torch.channels_last)


def augment(images: Tensor, erase: float) -> Tensor:
    """Flip, shift by up to two pixels and, with probability `erase`, paint a random rectangle."""
    n, side = len(images), torch.arange(28)
    flip = (torch.rand(n) < 0.5)[:, None]
    columns = torch.where(flip, 27 - side[None], side[None]) + torch.randint(0, 2 * SHIFT + 1, (n, 1))
    rows = side[None] + torch.randint(0, 2 * SHIFT + 1, (n, 1))
    padded = functional.pad(images, (SHIFT,) * 4)
    out = padded[torch.arange(n)[:, None, None], 0, rows[:, :, None], columns[:, None, :]]
    if erase:
        height, width = torch.randint(4, 13, (n, 1)), torch.randint(4, 13, (n, 1))
        top = (torch.rand(n, 1) * (28 - height)).long()
        left = (torch.rand(n, 1) * (28 - width)).long()
        in_rows = (side >= top) & (side < top + height)
        in_columns = (side >= left) & (side < left + width)
        chosen = (torch.rand(n) < erase)[:, None, None]
        fill = torch.randint(0, 256, (n, 1, 1), dtype=torch.uint8).expand_as(out)
        out = torch.where(in_rows[:, :, None] & in_columns[:, None, :] & chosen, fill, out)
    return out[:, None]


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the share of right answers of `model` in evaluation mode."""
    model.eval()
    hits = [
        (model(normalize(images[i : i + 500])).argmax(1) == labels[i : i + 500]).sum()
        for i in range(0, len(images), 500)
    ]
    return float(sum(hits)) / len(images)


def cosine(progress: float, peak: float) -> float:
    """Rise over the first 15 %, then fall along a cosine."""
    if progress < 0.15:
        return peak * progress / 0.15 + 1e-5
    return peak * 0.5 * (1 + math.cos(math.pi * (progress - 0.15) / 0.85)) + 1e-5


def average(mean: nn.Module, model: nn.Module, share: float) -> None:
    """Move the floating-point state of `mean` towards `model` by `share`."""
    targets = [v for v in mean.state_dict().values() if v.is_floating_point()]
    sources = [v.detach() for v in model.state_dict().values() if v.is_floating_point()]
    torch._foreach_lerp_(targets, sources, share)


def train(model: nn.Module, splits: dict[str, tuple[Tensor, Tensor]], epochs: int) -> nn.Module:
    """Train for `epochs` and return the averaged model; prints a line an epoch."""
    images, labels = splits["train"]
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 5e-4}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=0.2, momentum=0.9, nesterov=True)
    mean, step, steps = copy.deepcopy(model), 0, epochs * (len(images) // BATCH)
    start = time.monotonic()
    for epoch in range(epochs):
        model.train()
        for batch in torch.randperm(len(images)).split(BATCH)[: len(images) // BATCH]:
            progress = step / steps
            for group in optimizer.param_groups:
                group["lr"] = cosine(progress, 0.2)
            erase = 0.5 if progress < 0.8 else 0.0
            loss = functional.cross_entropy(model(normalize(augment(images[batch], erase))), labels[batch])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            step += 1
            if step % 2 == 0:
                average(mean, model, 1 - min(0.995, step / (step + 20)))
        score, seconds = accuracy(mean, *splits["validation"]), time.monotonic() - start
        print(f"epoch {epoch + 1:3d}  {seconds:6.0f} s  validation {score:.4f}", flush=True)
    return mean


def main() -> None:
    """Run the training and write weights and a small record beside them."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--epochs", type=int, default=26, help="over 55,000 images; 100 s each on 2 cores")
    parser.add_argument("--width", type=int, default=36, help="channels of the first stage")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=models.WEIGHTS)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    splits = {k: (torch.from_numpy(x)[:, None], torch.from_numpy(y)) for k, (x, y) in data.split().items()}
    model = models.Teacher(args.width).to(memory_format=torch.channels_last)
    best = train(model, splits, args.epochs)
    save_file({k: v.contiguous() for k, v in best.state_dict().items()}, args.out)
    figures = {name: accuracy(best, *splits[name]) for name in ("validation", "test")}
    print(json.dumps({"epochs": args.epochs, "seed": args.seed, **figures}))


if __name__ == "__main__":
    main()
