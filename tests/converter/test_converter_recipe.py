"""Recipes: every fault at once, in words that name the key."""

from pathlib import Path

import pytest

from outrider_bundle.errors import UsageError
from outrider_converter.recipe import read_recipe
from tests.fakes.toy import write_toy

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "fashion").glob("*.toml"))


@pytest.mark.parametrize("path", [p for p in EXAMPLES if p.name != "bins.toml"], ids=lambda p: p.stem)
def test_every_example_is_sound(path: Path) -> None:
    assert read_recipe(path).input.shape == (1, 1, 28, 28)


def test_defaults_are_filled_in(tmp_path: Path) -> None:
    recipe = read_recipe(write_toy(tmp_path))
    assert recipe.distill.temperature == 2.0
    assert recipe.quantize.reduce_range is None
    assert recipe.steps[-1] == "quantize"
    assert recipe.targets == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("epochs = 6", "epoch = 6"), ["distill.epoch", "epochs"]),
        (("epochs = 6", "epochs = 6.5"), ["distill.epochs"]),
        (("epochs = 6", "epochs = -1"), ["distill.epochs"]),
        (("width = 8", 'width = "8"'), ["student.width"]),
        (('callable = "data:split"', 'callable = "data.py"'), ["data.callable", "module:callable"]),
        (("drop = 10.0", "drop = -1.0"), ["budget.drop"]),
        (('formats = ["onnx"]', 'formats = ["onxx"]'), ["export.formats", "onxx"]),
        (("macs = 0.2", "macs = 1.5"), ["prune.macs"]),
        (('color = "gray"', 'color = "grey"'), ["input.preprocess.color"]),
        (('version = "0.1.0"', 'version = "one"'), ["version"]),
        (('name = "toy"', 'name = "to y"'), ["name"]),
        (("[budget]\ndrop = 10.0", ""), ["budget"]),
        (("shape = [1, 1, 12, 12]", "shape = [1, 3, 12, 12]"), ["input.shape", "3 channels"]),
        (("shape = [1, 1, 12, 12]", "shape = [4, 1, 12, 12]"), ["batch", "4"]),
        (("shape = [1, 1, 12, 12]", "shape = [1, 12]"), ["input.shape", "4 dimensions"]),
        (('layout = "NCHW"', 'layout = "NC"'), ["input.layout"]),
        (('callable = "models:teacher"', ""), ["teacher", "exactly one of callable, file"]),
        (('callable = "data:split"', 'callable = "data:split"\nnpz = "x.npz"'), ["callable and npz"]),
        (('family = "res-cnn"', 'family = "mlp"'), ["student.family", "NC"]),
        (("[prune]\nmacs = 0.2", "[student2]\nmacs = 0.2"), ["student2", "student"]),
        (("[export]", "[options.mine]\nx = 1\n[export]"), ["options.mine"]),
        (("[budget]", "[budget"), ["TOML"]),
    ],
)
def test_a_fault_is_named(tmp_path: Path, change: tuple[str, str], said: list[str]) -> None:
    path = write_toy(tmp_path, change)
    with pytest.raises(UsageError) as caught:
        read_recipe(path)
    assert all(part in str(caught.value) for part in said), str(caught.value)


def test_all_faults_come_at_once(tmp_path: Path) -> None:
    path = write_toy(
        tmp_path, ("epochs = 6", "epoch = 6"), ("width = 8", "width = 1"), ("drop = 10.0", "drop = []")
    )
    with pytest.raises(UsageError) as caught:
        read_recipe(path)
    assert all(part in str(caught.value) for part in ("distill.epoch", "student.width", "budget.drop"))


def test_a_narrowed_teacher_needs_the_table_that_narrows_it(tmp_path: Path) -> None:
    without = ("[prune]\nmacs = 0.2\nepochs = 2\nround_to = 4\n", "")
    path = write_toy(tmp_path, ('family = "res-cnn"', 'family = "auto"'), without)
    with pytest.raises(UsageError, match=r"auto needs a table 'prune'"):
        read_recipe(path)


def test_hints_need_a_teacher_with_layers(tmp_path: Path) -> None:
    hint = ("shift = 1", 'shift = 1\nhints = [{ teacher = "deep", student = "features" }]')
    path = write_toy(tmp_path, ('callable = "models:teacher"', 'file = "teacher.onnx"'), hint)
    with pytest.raises(UsageError, match=r"distill\.hints: a teacher in a file"):
        read_recipe(path)


def test_features_take_another_family_and_no_image_augmentation(tmp_path: Path) -> None:
    path = write_toy(
        tmp_path,
        ("shape = [1, 1, 12, 12]", "shape = [1, 5]"),
        ('layout = "NCHW"', 'layout = "NC"'),
        ('kind = "image"\ncolor = "gray"', 'kind = "array"'),
    )
    with pytest.raises(UsageError, match=r"flip and distill\.shift are for images.*student\.family"):
        read_recipe(path)


def test_a_missing_recipe_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.toml"):
        read_recipe(tmp_path / "nowhere.toml")
