"""The loss, the schedule, the order of batches, and that a seed decides the weights."""

import math
from collections import Counter

import pytest
import torch
from msgspec.structs import replace
from torch import nn

from outrider_bundle.errors import DataError
from outrider_converter import seeding
from outrider_converter.progress import NullReporter
from outrider_converter.training import Plan, average, batches, distillation_loss, learning_rate, start, train
from outrider_converter.views import View, augment

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

    def __init__(self) -> None:
        source = torch.Generator().manual_seed(0)
        self.values = torch.randn(64, 4, generator=source)
        self.answers = self.values @ torch.randn(4, 3, generator=source) * 3
        self.labels = self.answers.argmax(1)

    def get(self, epoch: int) -> View:
        return View((self.values + 0.01 * (epoch % 2), self.answers))

    def normalize(self, values: torch.Tensor) -> torch.Tensor:
        return values


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


def test_the_rate_rises_once_and_falls_to_nearly_nothing() -> None:
    rates = [learning_rate(i / 100, 2.0) for i in range(101)]
    peak = rates.index(max(rates))
    assert max(rates) == pytest.approx(2.0)
    assert peak == 15
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert 0 < rates[-1] < 0.01


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
    accuracy = (better(views.values).argmax(1) == views.labels).float().mean()
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


def test_augmented_images_are_shifted_and_mirrored_copies() -> None:
    images = torch.zeros(200, 1, 6, 6, dtype=torch.uint8)
    images[:, 0, 2, 1] = 9
    moved = augment(images, torch.Generator().manual_seed(0), flip=True, shift=1)
    assert moved.shape == images.shape
    assert moved.dtype == torch.uint8
    assert moved.sum((1, 2, 3)).tolist() == [9] * 200
    places = {(int(r), int(c)) for _, _, r, c in moved.nonzero()}
    assert places == {(r, c) for r in (1, 2, 3) for c in (0, 1, 2, 3, 4, 5)}


def test_all_channels_move_together() -> None:
    images = torch.arange(3, dtype=torch.uint8)[None, :, None, None] * 10 + torch.arange(25).reshape(5, 5).to(
        torch.uint8
    )
    moved = augment(images.repeat(20, 1, 1, 1), torch.Generator().manual_seed(1), flip=True, shift=0)
    assert torch.equal(moved[:, 1] - moved[:, 0], torch.full((20, 5, 5), 10, dtype=torch.uint8))
