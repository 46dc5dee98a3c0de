"""Pruning takes channels out of the graph; it does not mask them. It is proved by files and clocks."""

import copy
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor, nn

from outrider_bundle.errors import DataError
from outrider_converter import measure
from outrider_converter.artifact import Artifact
from outrider_converter.families import res_cnn
from outrider_converter.recipe import PruneOptions
from outrider_converter.seeding import seeded
from outrider_converter.steps.prune import prune
from outrider_converter.students import build_student
from outrider_converter.targets import built_in
from tests.fakes.contexts import MemoryCheckpoints, toy_context

SHAPE = (1, 1, 12, 12)


def student(width: int = 8) -> nn.Module:
    with seeded(0, "net"):
        return res_cnn(1, 3, width)


def widths(model: nn.Module) -> list[int]:
    return [m.out_channels for m in model.modules() if isinstance(m, nn.Conv2d)]


class Followed(nn.Module):
    """A teacher that can be narrowed."""

    def __init__(self) -> None:
        super().__init__()
        with seeded(4, "teacher"):
            self.body = nn.Sequential(
                nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3)
            )
            self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))


def test_the_step_leaves_a_smaller_network_and_the_proof_of_it(tmp_path: Path) -> None:
    context = toy_context(tmp_path)
    before = student()
    kept = {name: value.clone() for name, value in before.state_dict().items()}
    params = PruneOptions(macs=0.4, epochs=1, round_to=4)
    made = prune(Artifact(model=before, chosen={"alpha": 0.25}), params, context)
    costs = measure.cost(before, SHAPE), measure.cost(made.model, SHAPE)
    assert costs[1].macs <= 0.6 * costs[0].macs
    assert all(torch.equal(value, kept[name]) for name, value in before.state_dict().items())
    proof = made.pruning
    assert proof is not None
    assert (proof.macs_before, proof.macs_after) == (costs[0].macs, costs[1].macs)
    assert (proof.params_before, proof.params_after) == (costs[0].params, costs[1].params)
    weights = 4 * costs[0].params, 4 * costs[1].params
    assert weights[0] < proof.bytes_before < 1.5 * weights[0] + 4096
    assert proof.bytes_before - proof.bytes_after > 0.9 * (weights[0] - weights[1])
    assert proof.latency_after.min_ms > 0
    ratios = (
        proof.latency_before.min_ms / proof.latency_after.min_ms,
        proof.latency_before.p50_ms / proof.latency_after.p50_ms,
    )
    assert proof.faster == pytest.approx(min(ratios))
    assert made.note.endswith("times as fast")
    assert "of MACs and" in made.note
    assert made.chosen == {"alpha": 0.25}


def test_rounds_approach_the_goal_and_each_is_a_training_of_its_own(tmp_path: Path) -> None:
    context = toy_context(tmp_path)
    params = PruneOptions(macs=0.5, rounds=2, epochs=2, round_to=2)
    made = prune(Artifact(model=student()), params, context)
    assert isinstance(context.checkpoints, MemoryCheckpoints)
    assert list(context.checkpoints.kept) == ["prune 1", "prune 2"]
    states = [saved["result"] for saved in context.checkpoints.kept.values()]
    sizes = [sum(v.numel() for v in state.values()) for state in states]
    assert sizes[1] < sizes[0] < sum(v.numel() for v in student().state_dict().values())
    assert measure.cost(made.model, SHAPE).macs <= 0.5 * measure.cost(student(), SHAPE).macs
    again = prune(Artifact(model=student()), params, context)
    assert measure.digest(again.model) == measure.digest(made.model)


def test_without_a_multiple_of_its_own_the_targets_decide(tmp_path: Path) -> None:
    target = replace(built_in()[0], channel_multiple=2)
    context = toy_context(tmp_path, ("round_to = 4\n", ""), targets=(target,))
    assert context.recipe.prune is not None
    made = prune(Artifact(model=student(10)), replace(context.recipe.prune, epochs=0), context)
    assert all(width % 2 == 0 for width in widths(made.model))
    assert any(width % 4 for width in widths(made.model))


@pytest.mark.parametrize("importance", ["magnitude", "taylor"])
def test_a_teacher_is_its_own_student_and_recovers_even_without_labels(
    tmp_path: Path, importance: str
) -> None:
    teacher = Followed().eval().requires_grad_(requires_grad=False)
    context = toy_context(
        tmp_path, ('family = "res-cnn"', 'family = "auto"'), labelled=False, teacher=teacher
    )
    before = copy.deepcopy(teacher.state_dict())
    model = build_student(context.recipe, 3, tmp_path, teacher)
    params = PruneOptions(macs=0.5, epochs=4, round_to=4, importance=importance)  # type: ignore[arg-type]
    made = prune(Artifact(model=model), params, context)
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert measure.cost(made.model, SHAPE).macs <= 0.5 * measure.cost(teacher, SHAPE).macs
    assert made.pruning is not None
    values, normalize = context.data.validation.prepared, context.views.normalize
    mine, theirs = (measure.logits(m, values, normalize) for m in (made.model, teacher))
    assert float((mine.argmax(1) == theirs.argmax(1)).float().mean()) > 0.8


def test_nothing_is_done_without_a_table_or_to_the_teacher_as_it_is(tmp_path: Path) -> None:
    context = toy_context(tmp_path, ('family = "res-cnn"', 'family = "as-is"'))
    model = student()
    idle = prune(Artifact(model=model), None, context)
    assert idle.model is model
    assert idle.note == "no table 'prune'"
    same = prune(Artifact(model=model), PruneOptions(macs=0.5), context)
    assert same.model is model
    assert "as it is" in same.note
    assert same.pruning is None


class Inexportable(Followed):
    """With an operator that ONNX has no equivalent of."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.special.bessel_j0(x.detach()))


def test_a_proof_that_cannot_be_had_costs_the_proof_only(tmp_path: Path) -> None:
    context = toy_context(tmp_path)
    made = prune(Artifact(model=Inexportable()), PruneOptions(macs=0.5, epochs=0, round_to=4), context)
    assert made.pruning is None
    assert "could not be measured: The network cannot be exported to ONNX" in made.note
    assert widths(made.model) != widths(Followed())


def test_a_goal_out_of_reach_names_the_keys(tmp_path: Path) -> None:
    context = toy_context(tmp_path)
    with pytest.raises(DataError, match=r"multiples of 4.*prune.macs.*prune.round_to"):
        prune(Artifact(model=student()), PruneOptions(macs=0.99, round_to=4), context)
