"""The loss, the order of batches, early stop, and that a seed decides the weights."""

import math
from collections import Counter

import pytest
import torch
from msgspec.structs import replace
from torch import nn

from outrider_bundle.errors import DataError
from outrider_converter import seeding
from outrider_converter.plan import Plan, batches
from outrider_converter.progress import NullReporter
from outrider_converter.training import average, distillation_loss, learn, start, train
from outrider_converter.views import View

PLAN = Plan(
    purpose="test",
    seed=1,
    epochs=3,
    batch=16,
    temperature=2.0,
    alpha=0.5,
    learning_rate=0.01,
    weight_decay=0.01,
    average=0.9,
)


class FixedViews:
    """Two views of a linear problem, without a teacher network behind them."""

    numbers = False

    def __init__(self) -> None:
        source = torch.Generator().manual_seed(0)
        self.inputs = torch.randn(64, 4, generator=source)
        self.answers = self.inputs @ torch.randn(4, 3, generator=source) * 3
        self.labels = self.answers.argmax(1)
        self.asked = 0
        self.accuracies: list[float] = []
        self.judged: list[list[torch.Tensor]] = []

    def get(self, epoch: int) -> View:
        self.asked += 1
        return View((self.values(epoch), self.answers))

    def values(self, epoch: int) -> torch.Tensor:
        return self.inputs + 0.01 * (epoch % 2)

    def normalize(self, values: torch.Tensor) -> torch.Tensor:
        return values

    def accuracy(self, model: nn.Module) -> float:
        self.judged.append([value.clone() for value in model.state_dict().values()])
        return self.accuracies.pop(0)


def net() -> nn.Module:
    with seeding.seeded(1, "net"):
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))


def run(plan: Plan) -> list[torch.Tensor]:
    task = NullReporter().start("", 0)
    return list(train(net(), FixedViews(), plan, task).state_dict().values())  # type: ignore[arg-type]


def test_the_loss_is_hintons() -> None:
    student, teacher, label = [1.0, -0.5, 0.25], [2.0, 0.0, -1.0], 1
    t, a = 4.0, 0.7

    def softmax(row: list[float]) -> list[float]:
        total = sum(math.exp(v) for v in row)
        return [math.exp(v) / total for v in row]

    hard = -math.log(softmax(student)[label])
    p, q = softmax([v / t for v in teacher]), softmax([v / t for v in student])
    soft = sum(pi * math.log(pi / qi) for pi, qi in zip(p, q, strict=True))
    expected = (1 - a) * hard + a * t * t * soft
    batch = torch.tensor([student, student]), torch.tensor([teacher, teacher]), torch.tensor([label, label])
    assert float(distillation_loss(*batch, t, a)) == pytest.approx(expected, rel=1e-5)


def test_without_the_teacher_it_is_cross_entropy_and_with_it_alone_zero_for_its_twin() -> None:
    logits, labels = torch.randn(8, 5), torch.arange(8) % 5
    alone = distillation_loss(logits, torch.randn(8, 5), labels, 3.0, 0.0)
    assert float(alone) == pytest.approx(float(nn.functional.cross_entropy(logits, labels)), rel=1e-6)
    assert float(distillation_loss(logits, logits, labels, 3.0, 1.0)) == pytest.approx(0.0, abs=1e-6)


def test_rows_without_a_label_take_no_part_in_the_cross_entropy() -> None:
    logits, teacher = torch.randn(6, 4), torch.randn(6, 4)
    labels = torch.tensor([0, -1, 2, -1, 3, -1])
    some = distillation_loss(logits, None, labels, 2.0, 0.0)
    known = labels >= 0
    assert float(some) == pytest.approx(float(nn.functional.cross_entropy(logits[known], labels[known])))
    none = torch.full((6,), -1)
    assert float(distillation_loss(logits, None, none, 2.0, 0.0)) == 0.0
    soft = distillation_loss(logits, teacher, none, 2.0, 1.0)
    assert float(distillation_loss(logits, teacher, none, 2.0, 0.3)) == pytest.approx(0.3 * float(soft))


def test_labels_that_are_all_known_give_the_same_bits_as_ever() -> None:
    logits, labels = torch.randn(256, 10), torch.randint(0, 10, (256,))
    assert torch.equal(
        distillation_loss(logits, None, labels, 2.0, 0.0), nn.functional.cross_entropy(logits, labels)
    )


def test_an_epoch_shows_each_sample_once_in_whole_batches_and_in_its_own_order() -> None:
    first = [i for batch in batches(50, 0, PLAN) for i in batch.tolist()]
    second = [i for batch in batches(50, 1, PLAN) for i in batch.tolist()]
    assert len(first) == 48
    assert max(Counter(first).values()) == 1
    assert first != second
    assert first == [i for batch in batches(50, 0, PLAN) for i in batch.tolist()]
    assert [len(b) for b in batches(5, 0, PLAN)] == [5]


def test_a_seed_decides_the_weights() -> None:
    once, again, other = run(PLAN), run(PLAN), run(replace(PLAN, seed=2))
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(once, other, strict=True))


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run(PLAN)
    assert torch.equal(torch.rand(3), expected)


def test_training_does_not_change_its_model_and_learns() -> None:
    model, views = net(), FixedViews()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    task = NullReporter().start("", 0)
    better = train(model, views, replace(PLAN, epochs=60), task)  # type: ignore[arg-type]
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    accuracy = (better(views.inputs).argmax(1) == views.labels).float().mean()
    assert float(accuracy) > 0.9
    assert not better.training


def test_the_average_moves_by_its_share_and_covers_batch_statistics() -> None:
    model, mean = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    with torch.no_grad():
        model.weight.fill_(3.0)
        model.running_mean.fill_(8.0)  # type: ignore[union-attr]
    average(mean, model, 0.25)
    assert mean.weight.tolist() == [1.5, 1.5]
    assert mean.running_mean.tolist() == [2.0, 2.0]  # type: ignore[union-attr]


def test_biases_and_norms_are_not_decayed() -> None:
    groups = start(net(), PLAN).optimizer.param_groups
    assert [g["weight_decay"] for g in groups] == [0.01, 0.0]
    assert all(p.ndim > 1 for p in groups[0]["params"])
    assert all(p.ndim == 1 for p in groups[1]["params"])


def test_divergence_is_said() -> None:
    task = NullReporter().start("", 0)
    views = FixedViews()
    views.answers = views.answers * float("nan")
    with pytest.raises(DataError, match="diverged"):
        train(net(), views, PLAN, task)  # type: ignore[arg-type]


def test_without_weight_the_teacher_is_not_asked() -> None:
    views = FixedViews()
    task = NullReporter().start("", 0)
    train(net(), views, replace(PLAN, alpha=0.0), task)  # type: ignore[arg-type]
    assert views.asked == 0


def test_without_labels_the_teacher_has_all_the_weight_and_that_is_noted() -> None:
    views, task = FixedViews(), NullReporter().start("", 0)
    right = views.labels
    views.labels = torch.full_like(right, -1)
    learnt = learn(net(), views, replace(PLAN, epochs=60, alpha=0.0), task)  # type: ignore[arg-type]
    assert learnt.notes == ("no labels, so the teacher has all the weight",)
    assert float((learnt.model(views.inputs).argmax(1) == right).float().mean()) > 0.9


def test_early_stop_keeps_the_average_that_did_best() -> None:
    views, task = FixedViews(), NullReporter().start("", 0)
    views.accuracies = [0.5, 0.8, 0.8, 0.7, 0.9]
    learnt = learn(net(), views, replace(PLAN, epochs=9, patience=2), task)  # type: ignore[arg-type]
    assert len(views.judged) == 4
    kept = list(learnt.model.state_dict().values())
    assert all(torch.equal(a, b) for a, b in zip(kept, views.judged[1], strict=True))
    assert learnt.notes == ("stopped after epoch 4, the best was 2",)
    assert not learnt.model.training


def test_the_best_is_kept_too_if_patience_lasts_to_the_end() -> None:
    views, task = FixedViews(), NullReporter().start("", 0)
    views.accuracies = [0.5, 0.9, 0.8]
    learnt = learn(net(), views, replace(PLAN, patience=5), task)  # type: ignore[arg-type]
    kept = list(learnt.model.state_dict().values())
    assert all(torch.equal(a, b) for a, b in zip(kept, views.judged[1], strict=True))
    assert learnt.notes == ()
