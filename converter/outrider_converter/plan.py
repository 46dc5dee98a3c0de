"""How to train, and in which order samples are seen."""

from collections.abc import Iterator

import torch
from msgspec import Struct
from torch import Tensor

from outrider_converter import seeding
from outrider_converter.recipe import HintOptions
from outrider_converter.schedule import Schedule


class Plan(Struct, frozen=True, kw_only=True):
    """How to train; the meaning of each number is that of `DistillOptions`.

    `purpose` names the training's own random numbers. Its state is kept under `kept_as`, or the same name.
    With `numbers` the teacher's answers are no logits: their squared error is the loss.
    """

    purpose: str
    seed: int
    epochs: int
    batch: int
    temperature: float
    alpha: float
    learning_rate: float
    weight_decay: float
    average: float
    schedule: Schedule = "one-cycle"
    patience: int = 0
    online: bool = False
    hints: tuple[HintOptions, ...] = ()
    compile: bool = False
    kept_as: str = ""
    numbers: bool = False


def batches(count: int, epoch: int, plan: Plan) -> Iterator[Tensor]:
    """Yield the sample numbers of each step of an epoch, in an order of its own; whole batches only."""
    source = seeding.generator(plan.seed, plan.purpose, "order", epoch)
    order = torch.randperm(count, generator=source)
    size = min(plan.batch, count)
    yield from torch.split(order[: count // size * size], size)


def steps_per_epoch(count: int, plan: Plan) -> int:
    """Return how many batches an epoch over `count` samples has."""
    return count // min(plan.batch, count)
