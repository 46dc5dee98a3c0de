"""How much a channel matters.

Sources: Li et al., "Pruning Filters for Efficient ConvNets", arXiv 1608.08710 (magnitude); Molchanov et al.,
"Importance Estimation for Neural Network Pruning", arXiv 1906.10771 (taylor); both summed over the group of
layers that share a channel, as in Fang et al., arXiv 2301.12900.
"""

import itertools
from collections.abc import Callable
from typing import Any

import torch
from msgspec.structs import replace
from torch import Tensor, nn

from outrider_converter.lessons import lessons
from outrider_converter.plan import Plan
from outrider_converter.pruning.depgraph import library
from outrider_converter.training import UNLABELLED, loss_of
from outrider_converter.views import Views

BATCHES = 8
"""Batches whose gradients are added up: a ranking needs fewer than a training."""

LEAST_HARD = 0.5
"""Smallest weight of the cross-entropy: a student that still is its teacher has no other gradient."""

Score = Callable[[nn.Module], Any]
"""From a network in evaluation mode, all of it taking gradients, to an importance of torch-pruning."""


def magnitude(_model: nn.Module) -> Any:  # noqa: ANN401 - of a library without types
    """Return the importance by the sum of squared weights."""
    with library() as torch_pruning:
        return torch_pruning.importance.GroupMagnitudeImportance(p=2)


def taylor(views: Views, plan: Plan) -> Score:
    """Return the importance by the loss that a channel's removal is expected to cost, to first order.

    Args:
        views: what the loss is computed on.
        plan: of the distillation whose loss it is; its purpose draws the batches.
    """

    def score(model: nn.Module) -> Any:  # noqa: ANN401 - see above
        accumulate(model, views, plan)
        with library() as torch_pruning:
            importance = torch_pruning.importance.GroupTaylorImportance()
        return lambda group: _defined(importance(group))

    return score


@torch.enable_grad()
def accumulate(model: nn.Module, views: Views, plan: Plan) -> None:
    """Leave the sum of gradients over some batches in the parameters of `model`.

    It stays in evaluation mode, so no statistics change. Samples without a label count as what the teacher
    says, because a divergence that is 0 tells nothing about channels.
    """
    bare = bool((views.labels == UNLABELLED).all())
    alpha = 1 - LEAST_HARD if bare else min(plan.alpha, 1 - LEAST_HARD)
    plan = replace(plan, alpha=1.0 if views.numbers else alpha, hints=(), numbers=views.numbers)
    model.eval().zero_grad(set_to_none=True)
    for inputs, answers, labels in itertools.islice(lessons(views, plan, 0), BATCHES):
        if answers is not None:
            labels = torch.where(labels == UNLABELLED, answers.argmax(1), labels)  # noqa: PLW2901
        loss = loss_of(model(inputs), answers, labels, plan)
        torch.autograd.backward(loss)
    for parameter in model.parameters():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)


def _defined(scores: Tensor | None) -> Tensor | None:
    """Return scores with 0 where a whole group has none, relative to whose mean they are."""
    return None if scores is None else torch.nan_to_num(scores)
