"""Which channels go, that their readers lose the same ones, and what cannot be followed."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from outrider_bundle.errors import DataError
from outrider_converter.families import FAMILIES
from outrider_converter.lessons import lessons
from outrider_converter.measure import cost
from outrider_converter.plan import Plan
from outrider_converter.pruning.importance import accumulate, magnitude, taylor
from outrider_converter.pruning.narrow import Rules, narrow
from outrider_converter.seeding import seeded
from outrider_converter.training import distillation_loss

SHAPE = (1, 1, 16, 16)
SHAPES = {"ds-cnn": SHAPE, "res-cnn": SHAPE, "ds-cnn-1d": (1, 3, 64), "mlp": (1, 12)}
PLAN = Plan(
    purpose="test",
    seed=1,
    epochs=1,
    batch=16,
    temperature=2.0,
    alpha=0.5,
    learning_rate=0.01,
    weight_decay=0.0,
    average=0.9,
)


def family(kind: str) -> nn.Module:
    with seeded(0, "net"):
        return FAMILIES[kind](SHAPES[kind][1], 4, 16)


def widths(model: nn.Module) -> list[int]:
    return [m.weight.shape[0] for m in model.modules() if isinstance(m, nn.Conv1d | nn.Conv2d | nn.Linear)]


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_macs_and_parameters_really_shrink(kind: str, scope: str) -> None:
    model, shape = family(kind), SHAPES[kind]
    before = cost(model, shape)
    smaller = narrow(model, shape, 0.7 * before.macs, Rules(multiple=4, scope=scope))  # type: ignore[arg-type]
    after = cost(smaller, shape)
    assert 0.4 * before.macs < after.macs <= 0.7 * before.macs
    assert after.params < 0.85 * before.params
    assert smaller(torch.zeros(3, *shape[1:])).shape == (3, 4)
    assert cost(model, shape) == before
    assert all(width % 4 == 0 for width in widths(smaller))


def test_the_same_channels_go_every_time() -> None:
    model = family("res-cnn")
    goal = 0.5 * cost(model, SHAPE).macs
    one, other = (narrow(model, SHAPE, goal, Rules(multiple=4)).state_dict() for _ in range(2))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_depthwise_layers_keep_a_group_a_channel() -> None:
    for kind in ("ds-cnn", "ds-cnn-1d"):
        smaller = narrow(
            family(kind), SHAPES[kind], 0.5 * cost(family(kind), SHAPES[kind]).macs, Rules(multiple=4)
        )
        convs = [m for m in smaller.modules() if isinstance(m, nn.Conv1d | nn.Conv2d)]
        depthwise = [m for m in convs if m.weight.shape[1] == 1 and m.in_channels > 1]
        assert depthwise
        assert all(m.groups == m.in_channels == m.out_channels for m in depthwise)


class Grouped(nn.Module):
    """A convolution in four groups between others."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 32, 3)
        self.grouped = nn.Conv2d(32, 32, 3, groups=4)
        self.last = nn.Conv2d(32, 32, 3)
        self.head = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.grouped(functional.relu(self.first(x))))
        return self.head(self.last(x).mean((2, 3)))


def test_groups_stay_alike() -> None:
    smaller = narrow(Grouped(), SHAPE, 0.4 * cost(Grouped(), SHAPE).macs, Rules(multiple=4, scope="layer"))
    assert isinstance(smaller.grouped, nn.Conv2d)
    assert smaller.grouped.groups == 4
    assert smaller.grouped.in_channels < 32
    assert smaller.grouped.in_channels % 4 == smaller.grouped.out_channels % 4 == 0


def test_the_least_important_channels_go() -> None:
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16 * 16, 4))
    with torch.no_grad():
        for channel in range(8):
            model[0].weight[channel] = 0.1 * (channel + 1)  # type: ignore[index, operator]
            model[3].weight[:, channel * 256 : (channel + 1) * 256] = 0.1  # type: ignore[index, operator]
    smaller = narrow(model, SHAPE, 0.75 * cost(model, SHAPE).macs, Rules(multiple=1))
    kept = smaller[0].weight[:, 0, 0, 0].tolist()  # type: ignore[index]
    assert kept == pytest.approx([0.1 * (channel + 1) for channel in range(2, 8)])


class Answered:
    """Samples of four features, whose sign of the first one is the class, and a teacher that knows."""

    numbers = False

    def __init__(self) -> None:
        source = torch.Generator().manual_seed(0)
        self.inputs = torch.randn(64, 4, generator=source)
        self.labels = (self.inputs[:, 0] > 0).long()

    def get(self, epoch: int) -> tuple[Tensor, Tensor]:
        return self.values(epoch), torch.stack([-self.inputs[:, 0], self.inputs[:, 0]], 1)

    def values(self, _epoch: int) -> Tensor:
        return self.inputs

    def normalize(self, values: Tensor) -> Tensor:
        return values


def loud_and_useful() -> nn.Module:
    """Four hidden units of large weights that nobody reads, and four of small ones that decide."""
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    with torch.no_grad(), seeded(0, "net"):
        model[0].weight.copy_(torch.randn(8, 4) * torch.tensor([[3.0]] * 4 + [[0.1]] * 4))  # type: ignore[operator]
        model[0].bias.zero_()  # type: ignore[operator]  # or a small unit may never wake up
        model[3].weight.copy_(torch.randn(2, 8) * torch.tensor([0.0] * 4 + [0.5] * 4))  # type: ignore[operator]
    return model


def test_taylor_sees_what_the_loss_needs_and_magnitude_does_not() -> None:
    model, views = loud_and_useful(), Answered()
    goal = 0.5 * cost(model, (1, 4)).macs
    rows = {}
    for name, score in (("magnitude", magnitude), ("taylor", taylor(views, PLAN))):  # type: ignore[arg-type]
        rows[name] = narrow(model, (1, 4), goal, Rules(multiple=1, score=score))[0].weight  # type: ignore[index]
    weight: Tensor = model[0].weight  # type: ignore[index, assignment]
    assert torch.equal(rows["magnitude"], weight[:4])
    assert torch.equal(rows["taylor"], weight[4:])


def test_taylor_adds_up_gradients_of_the_distillation_and_leaves_no_trace() -> None:
    model, views = loud_and_useful(), Answered()
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    accumulate(model, views, PLAN)  # type: ignore[arg-type]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    total: Tensor = model[3].weight.grad.clone()  # type: ignore[index, union-attr, operator]
    model.zero_grad()
    for inputs, answers, labels in lessons(views, PLAN, 0):  # type: ignore[arg-type]
        distillation_loss(model(inputs), answers, labels, 2.0, 0.5).backward()
    assert torch.allclose(total, model[3].weight.grad)  # type: ignore[index, arg-type]

    model[0].weight.requires_grad_(requires_grad=False)  # type: ignore[index, operator]
    rules = Rules(multiple=1, score=taylor(views, PLAN))  # type: ignore[arg-type]
    smaller = narrow(model, (1, 4), 0.5 * cost(model, (1, 4)).macs, rules)
    assert [p.requires_grad for p in smaller.parameters()] == [False, True, True, True, True, True]
    assert all(p.grad is None for p in smaller.parameters())


def test_a_network_that_is_its_own_teacher_has_gradients_even_without_labels() -> None:
    model, views = loud_and_useful().eval(), Answered()
    views.labels = torch.full_like(views.labels, -1)
    views.get = lambda _epoch: (views.inputs, model(views.inputs).detach())  # type: ignore[method-assign]
    accumulate(model, views, PLAN)  # type: ignore[arg-type]
    assert float(model[3].weight.grad.abs().max()) > 1e-3  # type: ignore[index, union-attr, operator]


class TwoHeads(nn.Module):
    """The layer that was made last is not an output, and the outputs were made first."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Conv2d(16, 4, 1)
        self.scores = nn.Linear(32, 6)
        self.first = nn.Conv2d(1, 16, 3)
        self.second = nn.Conv2d(16, 32, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = functional.relu(self.first(x))
        return torch.sigmoid(self.map(x)), self.scores(self.second(x).mean((2, 3)))


def test_outputs_keep_their_sizes_wherever_their_layers_stand() -> None:
    smaller = narrow(TwoHeads(), SHAPE, 0.5 * cost(TwoHeads(), SHAPE).macs, Rules(multiple=4, scope="layer"))
    assert [part.shape for part in smaller(torch.zeros(2, *SHAPE[1:]))] == [(2, 4, 14, 14), (2, 6)]
    assert smaller.second.out_channels < 32  # type: ignore[union-attr, operator]


class Flat(nn.Module):
    """Two convolutions and two linear layers, with the step between them left open."""

    def __init__(self) -> None:
        super().__init__()
        with seeded(2, "flat"):
            self.first = nn.Conv2d(1, 8, 3, stride=2)
            self.second = nn.Conv2d(8, 16, 3)
            self.hidden = nn.Linear(16 * 25, 16)
            self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.second(functional.relu(self.first(x))))
        return self.head(functional.relu(self.hidden(self.flatten(x))))

    def flatten(self, x: Tensor) -> Tensor:
        return x.flatten(1)


class ChannelsLast(Flat):
    def flatten(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


class FixedSize(Flat):
    def flatten(self, x: Tensor) -> Tensor:
        return x.reshape(-1, 400)


class Halves(Flat):
    def flatten(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, 8:], x[:, :8]], 1).flatten(1)


class Unrunnable(Flat):
    def flatten(self, x: Tensor) -> Tensor:
        raise RuntimeError(f"no forward today of {x.shape}")


def half(model: nn.Module) -> nn.Module:
    return narrow(model, SHAPE, 0.5 * cost(Flat(), SHAPE).macs, Rules(multiple=4, scope="layer"))


def test_a_plain_flatten_is_followed() -> None:
    smaller = half(Flat())
    assert smaller.hidden.in_features == 25 * smaller.second.out_channels < 400  # type: ignore[union-attr, operator]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (ChannelsLast(), r"reorders channels.*x.flatten\(1\)"),
        (FixedSize(), r"invalid for input.*x.flatten\(1\)"),
        (Halves(), r"cannot be pruned.*x.flatten\(1\)"),
        (Unrunnable(), r"no forward today.*leave the table 'prune' out"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_followed_is_said(model: nn.Module, message: str) -> None:
    with pytest.raises(DataError, match=message):
        half(model)


class Normed(Flat):
    """Normalizes over channels, so that any cut changes what the rest computes."""

    def flatten(self, x: Tensor) -> Tensor:
        return self.norm(x).flatten(1)

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(4, 16)


def test_channels_that_are_normalized_together_can_be_cut() -> None:
    smaller = half(Normed())
    assert smaller(torch.zeros(2, *SHAPE[1:])).shape == (2, 4)


def test_a_goal_out_of_reach_is_said_and_one_already_reached_changes_nothing() -> None:
    model = family("res-cnn")
    with pytest.raises(DataError, match="multiples of 8"):
        narrow(model, SHAPE, 10.0, Rules(multiple=8))
    same = narrow(model, SHAPE, 2.0 * cost(model, SHAPE).macs, Rules(multiple=8))
    assert same is not model
    assert widths(same) == widths(model)
