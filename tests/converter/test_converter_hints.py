"""Hints: what is compared, what is refused, and that hidden layers come to resemble each other."""

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor, nn

from outrider_bundle.errors import DataError
from outrider_converter import seeding
from outrider_converter.hints import Hints, difference
from outrider_converter.plan import Plan
from outrider_converter.progress import NullReporter
from outrider_converter.recipe import HintOptions
from outrider_converter.teachers.answers import Logarithm
from outrider_converter.training import learn
from outrider_converter.views import View

PLAN = Plan(
    purpose="test",
    seed=1,
    epochs=40,
    batch=32,
    temperature=2.0,
    alpha=0.5,
    learning_rate=0.01,
    weight_decay=0.0,
    average=0.9,
)
HINT = HintOptions(teacher="wide", student="narrow")


class Net(nn.Module):
    """One hidden convolution called `layer`, rectified in place, pooled and classified."""

    def __init__(self, layer: str, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.layer = layer
        self.add_module(layer, nn.Conv2d(1, channels, 3, stride, 1))
        self.relu = nn.ReLU(inplace=True)
        self.unused = nn.Linear(2, 2)
        self.head = nn.Linear(channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.relu(self.get_submodule(self.layer)(x)).mean((2, 3)))
        return scores


class Noise:
    """A training split of noise, and a teacher with a hidden layer."""

    numbers = False

    def __init__(self, teacher: nn.Module) -> None:
        self.inputs = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        self.views = [self.inputs]
        self.teacher = teacher
        self.labels = teacher(self.inputs).argmax(1)

    def values(self, epoch: int) -> Tensor:
        return self.views[epoch % 1]

    def get(self, epoch: int) -> View:
        return View((self.values(epoch), self.ask(self.inputs)))

    def fresh(self, index: Tensor, source: torch.Generator) -> Tensor:
        return self.inputs[index] + 0.01 * torch.randn(1, generator=source)

    def normalize(self, values: Tensor) -> Tensor:
        return values

    def ask(self, inputs: Tensor) -> Tensor:
        with torch.no_grad():
            answers: Tensor = self.teacher(inputs)
        return answers


def nets(stride: int = 1) -> tuple[nn.Module, nn.Module]:
    with seeding.seeded(1, "nets"):
        return Net("narrow", 4, stride), Net("wide", 6).eval().requires_grad_(requires_grad=False)


def hint_loss(student: nn.Module, teacher: nn.Module, inputs: Tensor) -> float:
    """Return how badly the best projection of the student's features gives the teacher's."""
    layers = student.get_submodule("narrow"), teacher.get_submodule("wide")
    mine, theirs = (layer(inputs).detach().movedim(1, -1).flatten(0, -2) for layer in layers)
    mine = torch.cat([mine, torch.ones(len(mine), 1)], 1)
    fitted = mine @ torch.linalg.lstsq(mine, theirs).solution
    return float(difference(fitted, theirs))


@pytest.mark.parametrize("plan", [PLAN, replace(PLAN, online=True)], ids=["cached", "online"])
def test_a_hint_brings_the_student_nearer_to_the_teachers_layer(plan: Plan) -> None:
    student, teacher = nets()
    data, task = Noise(teacher), NullReporter().start("", 0)
    without = learn(student, data, plan, task).model  # type: ignore[arg-type]
    hinted = learn(student, data, replace(plan, hints=(HINT,)), task).model  # type: ignore[arg-type]
    assert hint_loss(hinted, teacher, data.inputs) < 0.8 * hint_loss(without, teacher, data.inputs)


def test_nothing_of_the_hints_is_left_in_either_network() -> None:
    student, teacher = nets()
    plan = replace(PLAN, epochs=1, hints=(HINT,))
    model = learn(student, Noise(teacher), plan, NullReporter().start("", 0)).model  # type: ignore[arg-type]
    assert set(model.state_dict()) == set(student.state_dict())
    modules = [*model.modules(), *student.modules(), *teacher.modules()]
    assert not any(module._forward_hooks for module in modules)


def test_a_layer_is_seen_before_the_next_one_writes_into_it() -> None:
    student, teacher = nets()
    inputs = torch.randn(4, 1, 8, 8)
    hints = Hints([HINT], student, teacher, inputs)
    expected = difference(
        hints.projections[0](student.get_submodule("narrow")(inputs)), teacher.get_submodule("wide")(inputs)
    )
    student(inputs)
    teacher(inputs)
    assert hints.loss().item() == pytest.approx(expected.item(), rel=1e-5)


def test_weights_of_hints_add_up() -> None:
    student, teacher = nets()
    inputs = torch.randn(4, 1, 8, 8)
    with seeding.seeded(0, "projection"):
        one = Hints([HINT], student, teacher, inputs)
    with seeding.seeded(0, "projection"):
        more = Hints([replace(HINT, weight=2.5)], student, teacher, inputs)
    student(inputs)
    teacher(inputs)
    assert more.loss().item() == pytest.approx(2.5 * one.loss().item(), rel=1e-6)


def test_the_larger_features_are_averaged_down_to_the_smaller() -> None:
    large = torch.randn(5, 3, 8, 8)
    small = nn.functional.avg_pool2d(large, 2)
    assert difference(large, small).item() == pytest.approx(0.0, abs=1e-5)
    assert difference(small, large).item() == pytest.approx(0.0, abs=1e-5)
    wave = torch.randn(5, 3, 12)
    assert difference(wave, nn.functional.avg_pool1d(wave, 3)).item() == pytest.approx(0.0, abs=1e-5)
    row = torch.randn(5, 3)
    assert difference(3 * row + 1, row).item() == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("size", [(4,), (4, 10), (4, 10, 10)])
def test_projections_fit_vectors_windows_and_images(size: tuple[int, ...]) -> None:
    layer = {1: nn.Linear, 2: nn.Conv1d, 3: nn.Conv2d}[len(size)]
    more = () if len(size) == 1 else (1,)
    student = nn.Sequential(layer(4, 2, *more))  # type: ignore[arg-type]
    teacher = nn.Sequential(layer(4, 7, *more))  # type: ignore[arg-type]
    inputs = torch.randn(3, *size)
    hints = Hints([HintOptions(teacher="0", student="0")], student, teacher, inputs)
    student(inputs)
    teacher(inputs)
    assert hints.projections[0](student(inputs)).shape == teacher(inputs).shape
    assert hints.loss().requires_grad


@pytest.mark.parametrize(
    ("hint", "match"),
    [
        (HintOptions(teacher="wde", student="narrow"), r"the teacher has no layer 'wde'\. Near it are: wide"),
        (HintOptions(teacher="wide", student="x"), r"the student has no layer 'x'\. There are: narrow, relu"),
        (HintOptions(teacher="wide", student="head"), r"'head' gives \(2, 3\) and 'wide' \(2, 6, 8, 8\)"),
        (HintOptions(teacher="unused", student="narrow"), "'unused' does not give a tensor"),
    ],
)
def test_what_cannot_be_compared_is_refused_and_leaves_no_hook(hint: HintOptions, match: str) -> None:
    student, teacher = nets()
    with pytest.raises(DataError, match=match):
        Hints([hint], student, teacher, torch.zeros(2, 1, 8, 8))
    assert not any(m._forward_hooks for m in (*student.modules(), *teacher.modules()))


def test_layers_behind_a_logarithm_keep_their_names() -> None:
    student, teacher = nets()
    hints = Hints([HINT], student, Logarithm(teacher), torch.zeros(2, 1, 8, 8))
    assert len(hints.projections) == 1


def test_trying_the_networks_leaves_no_trace_in_the_student() -> None:
    student = nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2))
    before = {name: value.clone() for name, value in student.state_dict().items()}
    Hints([HintOptions(teacher="0", student="1")], student, nn.Sequential(nn.Linear(4, 5)), torch.randn(6, 4))
    assert student.training
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
