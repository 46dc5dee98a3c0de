"""Students are what the recipe asks for, and what does not fit is refused."""

from pathlib import Path

import pytest
import torch
from torch import nn

from outrider_bundle.errors import DataError, UsageError
from outrider_converter.measure import cost
from outrider_converter.recipe import read_recipe
from outrider_converter.reference import load_teacher
from outrider_converter.students import FAMILIES, build_student, check_model, ds_cnn, ds_cnn_1d
from tests.fakes.toy import write_toy

SHAPE = (1, 1, 28, 28)


SHAPES = {
    "ds-cnn": (1, 3, 20, 24),
    "ds-cnn-1d": (1, 3, 64),
    "mlp": (1, 3),
    "res-cnn": (1, 3, 20, 24),
}


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_a_family_scales_with_its_width(name: str) -> None:
    shape = SHAPES[name]
    narrow, wide = (cost(FAMILIES[name](3, 7, width), shape) for width in (16, 32))
    assert FAMILIES[name](3, 7, 8).eval()(torch.zeros(2, *shape[1:])).shape == (2, 7)
    assert 2.3 < wide.macs / narrow.macs < 4.5
    assert 2.3 < wide.params / narrow.params < 4.5


def test_windows_of_any_length_will_do() -> None:
    net = ds_cnn_1d(6, 4, 8).eval()
    assert [net(torch.zeros(2, 6, length)).shape for length in (5, 16, 129)] == [(2, 4)] * 3


def test_costs_are_those_counted_by_hand() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, groups=4), nn.Flatten(), nn.Linear(144, 5)
    )
    found = cost(net, (1, 1, 8, 8))
    assert found.macs == 64 * 4 * 9 + 36 * 4 * 9 + 144 * 5
    assert found.params == 4 * 9 + 4 + 4 * 9 + 4 + 144 * 5 + 5


class Functional(nn.Module):
    """No layer is a module: attention, a convolution of parameters, a matrix product."""

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Parameter(torch.ones(4, 2, 3))
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = torch.conv1d(x, self.filters).transpose(1, 2)
        mixed: torch.Tensor = self.attention(rows, rows, rows)[0]
        return (mixed @ torch.ones(4, 5)).mean(1)


def test_layers_without_a_module_count_too() -> None:
    found = cost(Functional(), (1, 2, 8))
    projections, products = 6 * 4 * 12 + 6 * 4 * 4, 2 * 6 * 6 * 4
    assert found.macs == 6 * 4 * 6 + projections + products + 6 * 4 * 5
    assert torch.backends.mha.get_fastpath_enabled()


def test_the_students_size_is_known() -> None:
    found = cost(ds_cnn(1, 10, 32), SHAPE)
    assert (found.params, found.macs) == (36_298, 2_720_192)


def test_an_unknown_family_names_its_neighbour(tmp_path: Path) -> None:
    recipe = read_recipe(write_toy(tmp_path, ('family = "res-cnn"', 'family = "ds-cn"')))
    with pytest.raises(UsageError, match="Did you mean 'ds-cnn'"):
        build_student(recipe, 3, tmp_path)


def test_a_callable_student_is_used(tmp_path: Path) -> None:
    path = write_toy(tmp_path, ('family = "res-cnn"\nwidth = 8', 'callable = "models:teacher"'))
    assert type(build_student(read_recipe(path), 3, tmp_path)).__name__ == "Bands"


def test_the_teacher_narrowed_is_a_copy_that_learns(tmp_path: Path) -> None:
    recipe = read_recipe(write_toy(tmp_path, ('family = "res-cnn"', 'family = "auto"')))
    teacher = load_teacher(recipe, 3, tmp_path)
    student = build_student(recipe, 3, tmp_path, teacher)
    assert student is not teacher
    assert all(p.requires_grad for p in student.parameters())
    assert not any(p.requires_grad for p in teacher.parameters())
    frame = torch.rand(2, 1, 12, 12)
    assert torch.equal(student(frame), teacher(frame))


def test_the_teacher_as_it_is(tmp_path: Path) -> None:
    recipe = read_recipe(write_toy(tmp_path, ('family = "res-cnn"', 'family = "as-is"')))
    teacher = load_teacher(recipe, 3, tmp_path)
    assert build_student(recipe, 3, tmp_path, teacher) is teacher
    with pytest.raises(UsageError, match="'as-is' needs a teacher"):
        build_student(recipe, 3, tmp_path)


@pytest.mark.parametrize("family", ["auto", "as-is"])
def test_a_softmax_is_no_part_of_a_student(tmp_path: Path, family: str) -> None:
    output = ('callable = "models:teacher"', 'callable = "models:soft"\noutput = "probabilities"')
    recipe = read_recipe(write_toy(tmp_path, output, ('family = "res-cnn"', f'family = "{family}"')))
    more = "\n\ndef soft():\n    return nn.Sequential(Bands(), nn.Softmax(1))\n"
    (tmp_path / "models.py").write_text((tmp_path / "models.py").read_text() + more)
    teacher = load_teacher(recipe, 3, tmp_path)
    with pytest.raises(DataError, match=r'set teacher\.output = "logits"'):
        build_student(recipe, 3, tmp_path, teacher)


def test_raw_outputs_have_no_family(tmp_path: Path) -> None:
    recipe = read_recipe(write_toy(tmp_path))
    with pytest.raises(DataError, match=r'student\.family = "as-is"'):
        build_student(recipe, None, tmp_path)


def test_a_teacher_comes_without_gradients(tmp_path: Path) -> None:
    teacher = load_teacher(read_recipe(write_toy(tmp_path)), 3, tmp_path)
    assert not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())


def test_a_teacher_of_other_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gives \(2, 3\) where \(2, 4\) is needed"):
        load_teacher(read_recipe(write_toy(tmp_path)), 4, tmp_path)


class Broken(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)[:, :3] * float("nan")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("weights", "gives a str, not a torch"),
        (nn.Conv2d(3, 4, 3), "does not take an input of shape (2, 1, 12, 12): RuntimeError"),
        (nn.Flatten(), "gives (2, 144) where (2, 3)"),
        (Broken(), "NaN or infinity"),
    ],
)
def test_networks_that_do_not_fit(model: object, said: str) -> None:
    with pytest.raises(DataError) as caught:
        check_model(model, "It", (1, 1, 12, 12), 3)
    assert said in str(caught.value)


class Pair(nn.Module):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return x, x[: self.count].flatten(1)


def test_raw_answers_are_any_tensors_with_a_row_a_sample() -> None:
    assert isinstance(check_model(Pair(2), "It", (1, 1, 4, 4), None), Pair)
    with pytest.raises(DataError, match=r"gives \(1, 16\) for two samples"):
        check_model(Pair(1), "It", (1, 1, 4, 4), None)
    with pytest.raises(DataError, match="NaN or infinity"):
        check_model(Broken(), "It", (1, 1, 12, 12), None)
