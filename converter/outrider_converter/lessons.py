"""What each step learns from: a batch of inputs, what the teacher says to it, and the labels."""

from collections.abc import Iterator

from torch import Tensor

from outrider_converter import seeding
from outrider_converter.plan import Plan, batches
from outrider_converter.views import Views

Batch = tuple[Tensor, Tensor | None, Tensor]
"""Normalized inputs `(n, ...)`, the teacher's logits `(n, classes)` if needed, labels int64 `(n,)`."""


def lessons(views: Views, plan: Plan, epoch: int, skip: int = 0) -> Iterator[Batch]:
    """Yield the batches of an epoch.

    The teacher's logits are kept ones, unless it is asked online, or asked anyway for its hidden layers.

    Args:
        views: of the training split.
        plan: of the training.
        epoch: from 0.
        skip: steps that are done already.

    Raises:
        DataError: the teacher has no logits to learn from.
    """
    now = bool(plan.hints) or (plan.online and plan.alpha > 0)
    kept = None if now or not plan.alpha else views.get(epoch)[1]
    for step, index in enumerate(batches(len(views.labels), epoch, plan)):
        if step < skip:
            continue
        inputs = views.normalize(_values(views, plan, epoch, step, index))
        answers = views.ask(inputs) if now else None if kept is None else kept[index]
        yield inputs, answers, views.labels[index]


def _values(views: Views, plan: Plan, epoch: int, step: int, index: Tensor) -> Tensor:
    if plan.online:
        return views.fresh(index, seeding.generator(plan.seed, plan.purpose, "fresh", epoch, step))
    return views.values(epoch)[index]
