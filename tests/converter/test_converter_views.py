"""Views of the training split: augmentation, the teacher's answers, kept or asked for."""

from pathlib import Path

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor, nn

from outrider_bundle.errors import DataError
from outrider_converter import seeding
from outrider_converter.checkpoint import open_checkpoints
from outrider_converter.dataset import Dataset, load_dataset
from outrider_converter.lessons import lessons
from outrider_converter.progress import NullReporter
from outrider_converter.recipe import Recipe, read_recipe
from outrider_converter.steps.distill import plan
from outrider_converter.views import Views, augment
from tests.fakes.toy import write_toy


class Counting(nn.Module):
    """Gives the sums of three bands of columns, and counts the images it is asked about."""

    asked = 0

    def forward(self, x: Tensor) -> Tensor:
        self.asked += len(x)
        return x.reshape(-1, 12, 3, 4).sum((1, 3))


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Dataset]:
    path = write_toy(Path(tmp_path_factory.mktemp("toy")))
    recipe = read_recipe(path)
    return recipe, load_dataset(recipe, path.parent)


def views(toy: tuple[Recipe, Dataset], **changes: object) -> tuple[Views, Counting]:
    recipe, data = toy
    recipe, teacher = replace(recipe, distill=replace(recipe.distill, **changes)), Counting()
    return Views(recipe, data, teacher, NullReporter()), teacher


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


def test_the_teacher_is_asked_once_for_each_view_and_epochs_take_turns(toy: tuple[Recipe, Dataset]) -> None:
    made, teacher = views(toy, views=2)
    first, second, third = made.get(0), made.get(1), made.get(2)
    assert teacher.asked == 2 * len(toy[1].train)
    assert first[0] is third[0]
    assert not torch.equal(first[0], second[0])
    assert torch.equal(first[0], toy[1].train.prepared)
    assert torch.equal(second[1], teacher(made.normalize(second[0])))


def test_answers_outlive_a_killed_conversion(toy: tuple[Recipe, Dataset], tmp_path: Path) -> None:
    recipe, data = toy
    first, second = Counting(), Counting()
    with open_checkpoints(tmp_path / "out", "key", print) as kept:
        answers = Views(recipe, data, first, NullReporter(), kept).get(1)[1]
        again = Views(recipe, data, second, NullReporter(), kept).get(1)[1]
    assert torch.equal(answers, again)
    assert (first.asked, second.asked) == (len(data.train), 0)


def test_views_that_are_not_augmented_are_one(toy: tuple[Recipe, Dataset]) -> None:
    made, teacher = views(toy, views=4, shift=0)
    assert made.get(3)[0] is made.get(0)[0]
    assert teacher.asked == len(toy[1].train)


def test_values_need_no_teacher(toy: tuple[Recipe, Dataset]) -> None:
    made, teacher = views(toy, views=2)
    values = made.values(1)
    assert teacher.asked == 0
    assert values is made.get(1)[0]


def test_online_every_step_sees_new_images_and_the_teacher_is_asked_about_these(
    toy: tuple[Recipe, Dataset],
) -> None:
    made, teacher = views(toy, teacher="online")
    how = plan(replace(toy[0].distill, teacher="online"), 0)
    epochs = [[*lessons(made, how, epoch)] for epoch in (0, 1, 0)]
    assert teacher.asked == 3 * len(toy[1].train)
    (first, _, _), (inputs, answers, _) = epochs[0][0], epochs[0][1]
    assert not torch.equal(first, inputs)
    assert answers is not None
    assert torch.equal(answers, teacher(inputs))
    again = [torch.equal(a[0], b[0]) for a, b in zip(epochs[0], epochs[2], strict=True)]
    other = [torch.equal(a[0], b[0]) for a, b in zip(epochs[0], epochs[1], strict=True)]
    assert all(again)
    assert not any(other)


@pytest.mark.parametrize("kind", ["online", "cached"])
def test_an_epoch_can_be_entered_in_the_middle(toy: tuple[Recipe, Dataset], kind: str) -> None:
    made, _ = views(toy, teacher=kind)
    how = plan(replace(toy[0].distill, teacher=kind), 0)
    whole, rest = [*lessons(made, how, 1)], [*lessons(made, how, 1, 9)]
    assert len(rest) == len(whole) - 9
    for mine, theirs in zip(rest, whole[9:], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))  # type: ignore[arg-type]


def test_online_without_weight_the_teacher_is_not_asked(toy: tuple[Recipe, Dataset]) -> None:
    made, teacher = views(toy, teacher="online")
    batch = next(lessons(made, plan(replace(toy[0].distill, teacher="online", alpha=0.0), 0), 0))
    assert batch[1] is None
    assert teacher.asked == 0


def test_accuracy_is_that_of_the_validation_split(toy: tuple[Recipe, Dataset]) -> None:
    made, teacher = views(toy)
    assert made.accuracy(teacher) > 0.9
    assert teacher.asked == len(toy[1].validation)


def test_raw_outputs_cannot_be_distilled(toy: tuple[Recipe, Dataset]) -> None:
    made = Views(toy[0], replace(toy[1], labels=()), Counting(), NullReporter())
    with pytest.raises(DataError, match="no class names"):
        made.get(0)
    with pytest.raises(DataError, match=r"data\.classes"):
        made.ask(torch.zeros(1, 1, 12, 12))


def test_fresh_images_come_from_their_source_alone(toy: tuple[Recipe, Dataset]) -> None:
    made, _ = views(toy)
    index = torch.arange(40)
    once, again = (made.fresh(index, seeding.generator(1, "x")) for _ in range(2))
    assert torch.equal(once, again)
    assert not torch.equal(once, toy[1].train.prepared[index])
