"""Distillation: a state, a step, and a loop over both.

Source of the loss: Hinton et al., "Distilling the Knowledge in a Neural Network", arXiv 1503.02531.
A state after n steps depends on the seed and n only: each epoch draws batches from its own generator. So a
training that was killed continues from its last kept state to the very weights it would have had.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from msgspec import Struct
from msgspec.structs import replace
from torch import Tensor, nn
from torch.nn import functional

from outrider_bundle.errors import DataError
from outrider_converter import seeding
from outrider_converter.checkpoint import Checkpoints, NullCheckpoints, Saved
from outrider_converter.hints import Hints
from outrider_converter.lessons import Batch, lessons
from outrider_converter.plan import Plan, steps_per_epoch
from outrider_converter.progress import Task
from outrider_converter.schedule import learning_rate
from outrider_converter.state import State, fingerprint
from outrider_converter.views import Views

UNLABELLED = -1


class Trained(Struct, frozen=True, kw_only=True):
    """The moving average of a training, and what is worth knowing about its course."""

    model: nn.Module
    notes: tuple[str, ...] = ()


def distillation_loss(
    student: Tensor, teacher: Tensor | None, labels: Tensor, temperature: float, alpha: float
) -> Tensor:
    """Return (1 - alpha) * cross-entropy + alpha * T^2 * KL(teacher/T || student/T), batch mean.

    Args:
        student: logits `(n, classes)`.
        teacher: logits `(n, classes)`; not needed if `alpha` is 0.
        labels: int64 `(n,)`; rows with -1 take no part in the cross-entropy, which is 0 without any other.
        temperature: T; its square keeps the gradients' size.
        alpha: weight of the teacher.
    """
    if bool((labels == UNLABELLED).all()):
        hard = 0.0 * student.sum()
    else:
        hard = functional.cross_entropy(student, labels, ignore_index=UNLABELLED)
    if teacher is None or not alpha:
        return hard
    soft = functional.kl_div(
        functional.log_softmax(student / temperature, 1),
        functional.log_softmax(teacher / temperature, 1),
        reduction="batchmean",
        log_target=True,
    )
    return (1 - alpha) * hard + alpha * temperature**2 * soft


def loss_of(student: Tensor, teacher: Tensor | None, labels: Tensor, plan: Plan) -> Tensor:
    """Return the loss that `plan` asks for: of classes `distillation_loss`, of numbers the squared error."""
    if plan.numbers and teacher is not None:
        return functional.mse_loss(student, teacher)
    return distillation_loss(student, teacher, labels, plan.temperature, plan.alpha)


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


def average(mean: nn.Module, model: nn.Module, share: float) -> None:
    """Move every floating-point value of `mean` towards `model` by `share`."""
    targets = [v for v in mean.state_dict().values() if v.is_floating_point()]
    sources = [v for v in model.state_dict().values() if v.is_floating_point()]
    with torch.no_grad():
        torch._foreach_lerp_(targets, sources, share)  # pyright: ignore[reportPrivateImportUsage]


def advance(
    state: State, forward: Callable[[Tensor], Tensor], batch: Batch, progress: float, plan: Plan
) -> Tensor:
    """Do one step on `batch` and return its loss, still a tensor."""
    inputs, answers, labels = batch
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(progress, plan.learning_rate, plan.schedule)
    loss = loss_of(forward(inputs), answers, labels, plan)
    if state.hints:
        loss = loss + state.hints.loss()
    state.optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    state.optimizer.step()
    state.step += 1
    average(state.mean, state.model, 1 - min(plan.average, state.step / (state.step + 20)))
    return loss.detach()


def train(
    model: nn.Module, views: Views, plan: Plan, task: Task, checkpoints: Checkpoints | None = None
) -> nn.Module:
    """Distil into a copy of `model` and return its moving average; see `learn`.

    Raises:
        DataError: the loss is no longer a number, or a hint cannot be taken.
    """
    return learn(model, views, plan, task, checkpoints).model


def learn(
    model: nn.Module, views: Views, plan: Plan, task: Task, checkpoints: Checkpoints | None = None
) -> Trained:
    """Distil into a copy of `model`, from where an earlier run was killed.

    Without any labels the teacher has all the weight. With patience the average is that after the epoch
    which did best on the validation split.

    Args:
        model: where to start from; it is not changed.
        views: what to learn from.
        plan: how.
        task: is told of every step.
        checkpoints: keeps the state; None keeps nothing.

    Raises:
        DataError: the loss is no longer a number, or a hint cannot be taken.
    """
    notes: tuple[str, ...] = ()
    if views.numbers:
        plan = replace(plan, alpha=1.0, numbers=True)
    if bool((views.labels == UNLABELLED).all()):
        plan, notes = replace(plan, alpha=1.0), ("no labels, so the teacher has all the weight",)
    kept = _Kept(checkpoints or NullCheckpoints(), plan.kept_as or plan.purpose, fingerprint(model, plan))
    course = _Course(views=views, plan=plan, task=task, kept=kept)
    trained = course.run(start(model, plan))
    return replace(trained, notes=(*notes, *trained.notes))


@dataclass
class _Kept:
    """The kept state of one training, and of no other of the same name."""

    checkpoints: Checkpoints
    name: str
    mark: str

    def load(self) -> Saved | None:
        saved = self.checkpoints.load(self.name)
        return saved if saved is not None and saved.get("mark") == self.mark else None

    def save(self, state: Saved) -> None:
        self.checkpoints.save(self.name, {"mark": self.mark, **state})


@dataclass
class _Course:
    """What does not change during a training."""

    views: Views
    plan: Plan
    task: Task
    kept: _Kept

    def __post_init__(self) -> None:
        self.per_epoch = steps_per_epoch(len(self.views.labels), self.plan)
        self.total = max(1, self.plan.epochs * self.per_epoch)

    def run(self, state: State) -> Trained:
        """Do what is left to do."""
        saved, plan = self.kept.load(), self.plan
        if saved is not None and "result" in saved:
            state.mean.load_state_dict(saved["result"])
            self.task.advance(self.total, "taken from an earlier run")
            return Trained(model=state.mean.eval(), notes=(*saved["notes"], "taken from an earlier run"))
        notes = []
        try:
            if plan.hints:
                self._take_hints(state)
            with seeding.seeded(plan.seed, plan.purpose, "layers"):
                if saved is not None:
                    state.take_up(saved)
                    notes.append(f"continued at epoch {state.step // self.per_epoch + 1}")
                    self.task.advance(state.step, notes[-1])
                notes += self._epochs(state)
        finally:
            if state.hints:
                state.hints.close()
        if plan.patience and state.best.weights:
            state.mean.load_state_dict(state.best.weights)
        if self.kept.checkpoints.due():
            self.kept.save({"result": state.mean.state_dict(), "notes": notes})
        return Trained(model=state.mean.eval(), notes=tuple(notes))

    def _take_hints(self, state: State) -> None:
        views, plan = self.views, self.plan
        with seeding.seeded(plan.seed, plan.purpose, "hints"):
            example = views.normalize(views.values(0)[:2])
            state.hints = Hints(plan.hints, state.model, views.teacher, example)
        parameters = [*state.hints.projections.parameters()]
        state.optimizer.add_param_group({"params": parameters, "weight_decay": 0.0})

    def _epochs(self, state: State) -> list[str]:
        """Do the epochs that are left; return what to note down."""
        plan = self.plan
        # Hooks see what a layer gives only if the layer is really called.
        forward = torch.compile(state.model) if plan.compile and not plan.hints else state.model
        for epoch in range(state.step // self.per_epoch, plan.epochs):
            if plan.patience and epoch - state.best.epoch >= plan.patience:
                self.task.advance(self.total - state.step, "stopped early")
                return [f"stopped after epoch {epoch}, the best was {state.best.epoch}"]
            loss = self._epoch(state, forward, epoch)
            text = f"loss {_finite(loss):.3f}"
            if plan.patience:
                accuracy = self.views.accuracy(state.mean)
                state.best.offer(accuracy, epoch + 1, state.mean)
                text += f", validation {accuracy:.2%}"
            self.task.advance(0, text)
            if epoch + 1 < plan.epochs and self.kept.checkpoints.due():
                self.kept.save(state.dump())
        return []

    def _epoch(self, state: State, forward: Callable[[Tensor], Tensor], epoch: int) -> Tensor:
        """Do the steps of an epoch that are left and return the last one's loss."""
        loss = torch.zeros(())
        for batch in lessons(self.views, self.plan, epoch, state.step % self.per_epoch):
            loss = advance(state, forward, batch, state.step / self.total, self.plan)
            self.task.advance()
            within = state.step % self.per_epoch  # the epoch's end is kept once it has been judged
            if within and self.kept.checkpoints.due():
                _finite(loss)
                self.kept.save(state.dump())
        return loss


def _finite(loss: Tensor) -> float:
    value = float(loss)
    if not math.isfinite(value):
        raise DataError(
            "The distillation diverged: its loss is no longer a number", "Lower distill.learning_rate"
        )
    return value
