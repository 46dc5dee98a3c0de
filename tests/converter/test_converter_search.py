"""The search: what is tried, what wins, and what is noted down."""

from pathlib import Path

import pytest
import torch
from msgspec.structs import replace
from torch import nn

from outrider_bundle.errors import DataError, MissingExtraError
from outrider_converter import seeding
from outrider_converter.artifact import Artifact, Context
from outrider_converter.checkpoint import NullCheckpoints
from outrider_converter.dataset import load_dataset
from outrider_converter.plan import Plan
from outrider_converter.progress import NullReporter
from outrider_converter.recipe import SearchOptions, StudentOptions, read_recipe
from outrider_converter.reference import load_teacher
from outrider_converter.sampling import Setting, choose, size
from outrider_converter.steps import search as module
from outrider_converter.steps.distill import distill
from outrider_converter.steps.search import search
from outrider_converter.students import build_student
from outrider_converter.training import Trained
from outrider_converter.views import Views
from tests.fakes.toy import write_toy

OWN = (2.0, 0.5, 0.005)
CHOICES = ((1.0, 2.0, 4.0, 8.0), (0.3, 0.5, 0.7, 0.9), (0.005,))


class Rigged:
    """Accuracies by a formula with its best at T=4, alpha=0.7; notes down what was asked."""

    def __init__(self) -> None:
        self.asked: list[Setting] = []

    def __call__(self, setting: Setting) -> float:
        self.asked.append(setting)
        return 1 - 0.01 * abs(setting[0] - 4) - 0.1 * abs(setting[1] - 0.7)


def test_a_small_grid_is_tried_in_full_and_the_best_wins() -> None:
    accuracy = Rigged()
    assert choose(accuracy, OWN, CHOICES, 16, 0) == (4.0, 0.7, 0.005)
    assert accuracy.asked[0] == OWN
    assert len(accuracy.asked) == len(set(accuracy.asked)) == size(OWN, CHOICES, 16) == 16


def test_a_setting_outside_of_the_grid_is_tried_all_the_same() -> None:
    accuracy, own = Rigged(), (3.0, 0.7, 0.005)
    assert choose(accuracy, own, ((1.0, 8.0), (0.3,), (0.005,)), 8, 0) == own
    assert accuracy.asked[0] == own
    assert len(accuracy.asked) == 3


def test_a_large_grid_is_sampled_and_a_seed_decides_how() -> None:
    first, again, other = Rigged(), Rigged(), Rigged()
    best = choose(first, OWN, CHOICES, 8, 3)
    assert choose(again, OWN, CHOICES, 8, 3) == best
    choose(other, OWN, CHOICES, 8, 4)
    assert first.asked == again.asked
    assert first.asked != other.asked
    assert first.asked[0] == OWN
    assert len(first.asked) == len(set(first.asked)) == 8
    assert best == max(first.asked, key=Rigged())


def test_the_recipes_own_setting_wins_ties() -> None:
    assert choose(lambda _: 0.5, OWN, CHOICES, 16, 0) == OWN


def test_one_trial_is_the_recipes_own() -> None:
    accuracy = Rigged()
    assert choose(accuracy, OWN, CHOICES, 1, 0) == OWN
    assert accuracy.asked == [OWN]


def test_without_the_library_the_cure_is_its_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"outrider\[converter\]"):
        choose(Rigged(), OWN, CHOICES, 4, 0)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, Context]:
    path = write_toy(Path(tmp_path_factory.mktemp("toy")), ("width = 8", "width = 4"))
    recipe = read_recipe(path)
    data, teacher = load_dataset(recipe, path.parent), load_teacher(recipe, 3, path.parent)
    with seeding.seeded(0, "student"):
        student = build_student(recipe, 3, path.parent, teacher)
    context = Context(
        recipe=recipe,
        data=data,
        teacher=teacher,
        reference=None,  # type: ignore[arg-type]  # of no use to these steps
        targets=(),
        views=Views(recipe, data, teacher, NullReporter()),
        checkpoints=NullCheckpoints(),
        folder=path.parent,
        reporter=NullReporter(),
    )
    return Artifact(model=student), context


def texts(artifact: Artifact) -> list[str]:
    return [decision.text for decision in artifact.decisions if decision.step == "search"]


def test_without_a_table_nothing_is_done(toy: tuple[Artifact, Context]) -> None:
    made = search(toy[0], None, toy[1])
    assert made.note == "no table 'search'"
    assert made.model is toy[0].model


@pytest.mark.parametrize("family", ["auto", "as-is"])
def test_a_teacher_as_its_own_student_is_left_alone(toy: tuple[Artifact, Context], family: str) -> None:
    artifact, context = toy
    context = replace(context, recipe=replace(context.recipe, student=StudentOptions(family=family)))
    for made in (
        search(artifact, SearchOptions(alpha=(0.1,)), context),
        distill(artifact, context.recipe.distill, context),
    ):
        assert made.model is artifact.model
        assert "nothing to distil" in made.note


def test_a_table_without_values_is_said(toy: tuple[Artifact, Context]) -> None:
    assert search(toy[0], SearchOptions(), toy[1]).note == "no values to choose from"


def rig(monkeypatch: pytest.MonkeyPatch, accuracies: dict[float, float]) -> list[Plan]:
    """Let `learn` end at once, and a temperature decide the accuracy; return the plans."""
    plans: list[Plan] = []

    def learn(model: nn.Module, _views: Views, plan: Plan, *_: object) -> Trained:
        plans.append(plan)
        if accuracies[plan.temperature] < 0:
            raise DataError("The distillation diverged")
        return Trained(model=model)

    monkeypatch.setattr(module, "learn", learn)
    monkeypatch.setattr(Views, "accuracy", lambda *_: accuracies[plans[-1].temperature])
    return plans


def test_the_winner_replaces_the_recipes_value_and_every_trial_is_noted_down(
    toy: tuple[Artifact, Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = rig(monkeypatch, {2.0: 0.9, 1.0: 0.8, 4.0: 0.92, 8.0: -1.0})
    made = search(toy[0], SearchOptions(epochs=3, temperature=(1.0, 4.0, 8.0)), toy[1])
    assert made.chosen == {"temperature": 4.0}
    assert made.model is toy[0].model
    assert {plan.epochs for plan in plans} == {3}
    assert {plan.purpose for plan in plans} == {"search"}
    assert len({plan.kept_as for plan in plans}) == len(plans) == 4
    noted = texts(made)
    assert noted[0] == "T=2, alpha=0.5, learning rate 0.005: 90.00 %"
    assert set(noted[1:4]) == {
        "T=1, alpha=0.5, learning rate 0.005: 80.00 %",
        "T=4, alpha=0.5, learning rate 0.005: 92.00 %",
        "T=8, alpha=0.5, learning rate 0.005: diverged",
    }
    assert noted[4] == (
        "T=4, alpha=0.5, learning rate 0.005 is chosen of 4 settings, "
        "95 % interval 86.54 to 95.36 % of 150 validation samples"
    )


def test_if_the_recipes_own_settings_fail_the_search_does(
    toy: tuple[Artifact, Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig(monkeypatch, {2.0: -1.0})
    with pytest.raises(DataError, match="diverged"):
        search(toy[0], SearchOptions(temperature=(1.0,)), toy[1])


def test_real_trials_start_from_the_same_weights_and_leave_no_trace(toy: tuple[Artifact, Context]) -> None:
    artifact, context = toy
    before = {name: value.clone() for name, value in artifact.model.state_dict().items()}
    options = SearchOptions(epochs=1, alpha=(0.0, 1.0), learning_rate=(1e-5,))
    made, again = search(artifact, options, context), search(artifact, options, context)
    assert texts(made) == texts(again)
    assert len(texts(made)) == 4
    assert all(torch.equal(value, before[name]) for name, value in artifact.model.state_dict().items())


def test_distil_takes_what_was_chosen(toy: tuple[Artifact, Context]) -> None:
    artifact, context = toy
    chosen = replace(artifact, chosen={"temperature": 8.0, "alpha": 0.25})
    made = distill(chosen, replace(context.recipe.distill, epochs=0), context)
    assert made.note == "0 epochs, T=8, alpha=0.25"
    assert made.chosen == chosen.chosen
