"""Students are what the recipe asks for, and what does not fit is refused."""

from pathlib import Path

import pytest
import torch
from torch import nn

from outrider_bundle.errors import DataError, UsageError
from outrider_converter.measure import cost
from outrider_converter.recipe import read_recipe
from outrider_converter.reference import load_teacher
from outrider_converter.students import FAMILIES, build_student, check_model, ds_cnn
from tests.fakes.toy import write_toy

SHAPE = (1, 1, 28, 28)


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_a_family_scales_with_its_width(name: str) -> None:
    narrow, wide = (cost(FAMILIES[name](1, 10, width), SHAPE) for width in (8, 16))
    assert FAMILIES[name](3, 7, 8).eval()(torch.zeros(2, 3, 20, 24)).shape == (2, 7)
    assert 2.5 < wide.macs / narrow.macs < 4.5
    assert 2.5 < wide.params / narrow.params < 4.5


def test_costs_are_those_counted_by_hand() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, groups=4), nn.Flatten(), nn.Linear(144, 5)
    )
    found = cost(net, (1, 1, 8, 8))
    assert found.macs == 64 * 4 * 9 + 36 * 4 * 9 + 144 * 5
    assert found.params == 4 * 9 + 4 + 4 * 9 + 4 + 144 * 5 + 5


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
