"""The toy recipe with its teacher in a file and its data in a file, as far as the inputs go."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from outrider_converter import measure
from outrider_converter.dataset import load_dataset
from outrider_converter.formats import onnx
from outrider_converter.progress import NullReporter
from outrider_converter.recipe import Recipe, read_recipe
from outrider_converter.reference import answered, load_teacher, measure_teacher
from outrider_converter.students import build_student
from outrider_converter.teachers.files import keeps_softmax
from outrider_converter.tensors import Normalizer, logical_input
from tests.fakes.toy import write_toy

CALLED = 'callable = "data:split"\nlabels = "data:LABELS"'
CLASSES = 'classes = ["left", "middle", "right"]'


def bands(folder: Path) -> nn.Module:
    """Return the toy's own teacher."""
    return load_teacher(read_recipe(write_toy(folder)), 3, folder)


def write_teacher(folder: Path, kind: str) -> None:
    """Write it as a file beside the recipe."""
    model = bands(folder)
    if kind == "onnx":
        onnx.export(model, read_recipe(folder / "recipe.toml"), folder / "teacher.onnx")
    else:
        torch.export.save(torch.export.export(model, (torch.zeros(1, 1, 12, 12),)), folder / "teacher.pt2")


def write_data(folder: Path, kind: str) -> None:
    """Write some of the toy's data as an image folder or as arrays, unlabelled."""
    source = np.random.default_rng(0)
    images = source.integers(0, 120, (60, 12, 12))
    for row, image in enumerate(images):
        image[:, 4 * (row % 3) : 4 * (row % 3) + 4] += 90
    images = images.astype(np.uint8)
    if kind == "npz":
        np.savez(folder / "d.npz", x=images)
        return
    (folder / "images").mkdir()
    for row, image in enumerate(images):
        cv2.imwrite(str(folder / "images" / f"{row}.png"), image)


def recipe_for(folder: Path, teacher: str, data: str, student: str) -> Recipe:
    return read_recipe(
        write_toy(
            folder,
            ('callable = "models:teacher"', f'file = "teacher.{teacher}"'),
            (
                CALLED,
                f'{"npz" if data == "npz" else "folder"} = "{data if data != "npz" else "d.npz"}"\n{CLASSES}',
            ),
            ('family = "res-cnn"', f'family = "{student}"'),
        )
    )


@pytest.mark.parametrize(
    ("teacher", "data", "student"), [("onnx", "npz", "as-is"), ("pt2", "images", "res-cnn")]
)
def test_everything_from_files(tmp_path: Path, teacher: str, data: str, student: str) -> None:
    write_teacher(tmp_path, teacher)
    write_data(tmp_path, data)
    recipe = recipe_for(tmp_path, teacher, data, student)
    found = load_dataset(recipe, tmp_path)
    model = load_teacher(recipe, 3, tmp_path)
    assert (found.metric, [len(found.train), len(found.validation), len(found.test)]) == (
        "agreement",
        [48, 6, 6],
    )
    (tmp_path / "work").mkdir()
    reference = measure_teacher(model, recipe, found, tmp_path / "work", NullReporter())
    full = answered(found, reference)
    original = bands(tmp_path / "again")
    normalize = Normalizer(logical_input(recipe))
    wanted = measure.logits(original, found.test.prepared, normalize)
    assert full.test.labels.tolist() == wanted.argmax(1).tolist()
    assert reference.cost.macs == measure.cost(original, (1, 1, 12, 12)).macs
    assert set(reference.files) == {"onnx"}
    made = build_student(recipe, 3, tmp_path, model)
    assert (made is model) == (student == "as-is")
    assert not keeps_softmax(recipe)


def test_nothing_needs_tensorflow() -> None:
    assert "tensorflow" not in sys.modules
