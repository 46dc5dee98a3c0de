"""Distillation: a state, a step, and a loop over both.

Source of the loss: Hinton et al., "Distilling the Knowledge in a Neural Network", arXiv 1503.02531.
A state after n steps depends on the seed and n only: each epoch draws batches from its own generator.
"""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from msgspec import Struct
from torch import Tensor, nn
from torch.nn import functional

from outrider_bundle.errors import DataError
from outrider_converter import seeding
from outrider_converter.progress import Task
from outrider_converter.views import Views

WARMUP = 0.15
"""Share of the steps over which the learning rate rises."""


class Plan(Struct, frozen=True, kw_only=True):
    """How to train; the meaning of each number is that of `DistillOptions`."""

    purpose: str
    seed: int
    epochs: int
    batch: int
    temperature: float
    alpha: float
    learning_rate: float
    weight_decay: float
    average: float
    compile: bool = False


@dataclass
class State:
    """A training under way: the network, its moving average, the optimizer and the steps done."""

    model: nn.Module
    mean: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0


def distillation_loss(
    student: Tensor, teacher: Tensor, labels: Tensor, temperature: float, alpha: float
) -> Tensor:
    """Return (1 - alpha) * cross-entropy + alpha * T^2 * KL(teacher/T || student/T), batch mean.

    Args:
        student: logits `(n, classes)`.
        teacher: logits `(n, classes)`.
        labels: int64 `(n,)`.
        temperature: T; its square keeps the gradients' size.
        alpha: weight of the teacher.
    """
    hard = functional.cross_entropy(student, labels)
    soft = functional.kl_div(
        functional.log_softmax(student / temperature, 1),
        functional.log_softmax(teacher / temperature, 1),
        reduction="batchmean",
        log_target=True,
    )
    return (1 - alpha) * hard + alpha * temperature**2 * soft


def learning_rate(progress: float, peak: float) -> float:
    """Return the rate at `progress` in 0..1: a linear rise, then a cosine down to nearly 0."""
    if progress < WARMUP:
        return peak * max(progress / WARMUP, 1e-3)
    return peak * max(0.5 * (1 + math.cos(math.pi * (progress - WARMUP) / (1 - WARMUP))), 1e-3)


def start(model: nn.Module, plan: Plan) -> State:
    """Return the state before the first step; `model` is copied, not changed."""
    model = copy.deepcopy(model)
    if any(p.ndim == 4 for p in model.parameters()):  # noqa: PLR2004 - filters of images
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    filters = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": filters, "weight_decay": plan.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=plan.learning_rate, fused=True)
    return State(model=model.train(), mean=copy.deepcopy(model), optimizer=optimizer)


def batches(count: int, epoch: int, plan: Plan) -> Iterator[Tensor]:
    """Yield the sample numbers of each step of an epoch, in an order of its own; whole batches only."""
    source = seeding.generator(plan.seed, plan.purpose, "order", epoch)
    order = torch.randperm(count, generator=source)
    size = min(plan.batch, count)
    yield from torch.split(order[: count // size * size], size)


def steps_per_epoch(count: int, plan: Plan) -> int:
    """Return how many batches an epoch over `count` samples has."""
    return count // min(plan.batch, count)


def average(mean: nn.Module, model: nn.Module, share: float) -> None:
    """Move every floating-point value of `mean` towards `model` by `share`."""
    targets = [v for v in mean.state_dict().values() if v.is_floating_point()]
    sources = [v for v in model.state_dict().values() if v.is_floating_point()]
    with torch.no_grad():
        torch._foreach_lerp_(targets, sources, share)  # pyright: ignore[reportPrivateImportUsage]


def advance(
    state: State,
    forward: Callable[[Tensor], Tensor],
    batch: tuple[Tensor, Tensor, Tensor],
    progress: float,
    plan: Plan,
) -> Tensor:
    """Do one step on `batch` (input, teacher's logits, labels) and return its loss, still a tensor."""
    inputs, answers, labels = batch
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(progress, plan.learning_rate)
    loss = distillation_loss(forward(inputs), answers, labels, plan.temperature, plan.alpha)
    state.optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    state.optimizer.step()
    state.step += 1
    average(state.mean, state.model, 1 - min(plan.average, state.step / (state.step + 20)))
    return loss.detach()


def train(model: nn.Module, views: Views, plan: Plan, task: Task) -> nn.Module:
    """Distil into a copy of `model` and return its moving average.

    Raises:
        DataError: the loss is no longer a number.
    """
    state = start(model, plan)
    forward = torch.compile(state.model) if plan.compile else state.model
    count = len(views.labels)
    total = max(1, plan.epochs * steps_per_epoch(count, plan))
    with seeding.seeded(plan.seed, plan.purpose, "layers"):
        for epoch in range(plan.epochs):
            values, answers = views.get(epoch)
            loss = torch.zeros(())
            for index in batches(count, epoch, plan):
                batch = (views.normalize(values[index]), answers[index], views.labels[index])
                loss = advance(state, forward, batch, state.step / total, plan)
                task.advance()
            task.advance(0, f"loss {_finite(loss):.3f}")
    return state.mean.eval()


def _finite(loss: Tensor) -> float:
    value = float(loss)
    if not math.isfinite(value):
        raise DataError(
            "The distillation diverged: its loss is no longer a number", "Lower distill.learning_rate"
        )
    return value
