"""What is kept is decided on the validation split, variant by variant; the fastest comes first."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from torch import nn

from outrider_bundle.manifest import Tensor
from outrider_converter import verify as verification
from outrider_converter.assess import rank
from outrider_converter.dataset import Split
from outrider_converter.exports import Candidate
from outrider_converter.formats import onnx
from outrider_converter.golden import PER_CLASS, RAW_SAMPLES, choose
from outrider_converter.latency import Latency
from outrider_converter.package import draft
from outrider_converter.progress import NullReporter
from outrider_converter.recipe import BudgetOptions, Recipe, read_recipe
from outrider_converter.strip.candidate import strip
from outrider_converter.tensors import Normalizer, logical_input
from outrider_converter.verify import Answers, Verified, export_error, judge, verify
from tests.fakes.toy import write_toy

TENSOR = Tensor(name="x", shape=(1, 1), dtype="float32")
LABELS = np.arange(90) % 3
FRAMES = np.random.default_rng(0).integers(0, 256, (90, 12, 12)).astype(np.uint8)
SPLIT = Split(frames=FRAMES, prepared=torch.from_numpy(FRAMES)[:, None], labels=LABELS)


def candidate(name: str, folder: Path, **changes: Any) -> Candidate:  # noqa: ANN401 - fields of a candidate
    path = folder / f"{name}-model"
    path.write_bytes(b"x")
    one = Candidate(
        id=name, runtime="null", precision="int8", files={"model": path}, inputs=(TENSOR,), outputs=(TENSOR,)
    )
    return replace(one, **changes)


def wrong(count: int, cosine: float = 0.995) -> Answers:
    """Answer all but the first `count` frames right."""
    indices = LABELS.copy()
    indices[:count] = (indices[:count] + 1) % 3
    return Answers(indices=indices, margins=np.ones(90), cosines=np.full((1, 90), cosine))


def context(recipe: Recipe, metric: str = "accuracy", **reference: object) -> Any:  # noqa: ANN401 - a stand-in
    """Return what judging needs of a context, with a teacher that is always right."""
    known = {
        "validation": LABELS,
        "scale": None,
        "outputs": {"validation": (np.ones((90, 3), np.float32),)},
        **reference,
    }
    return SimpleNamespace(
        recipe=recipe,
        data=SimpleNamespace(validation=SPLIT, metric=metric, labels=("a", "b", "c")),
        reference=SimpleNamespace(**known),
        views=SimpleNamespace(normalize=Normalizer(logical_input(recipe))),
        reporter=NullReporter(),
    )


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return read_recipe(write_toy(tmp_path / "recipe"))


def test_each_variant_is_judged_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: Recipe
) -> None:
    answers = {"good": wrong(8), "bad": wrong(10)}
    monkeypatch.setattr(verification, "answer", lambda manifest, one, *rest: answers[one.id])  # noqa: ARG005
    manifest = draft(recipe, ("a", "b", "c"))
    candidates = [candidate(name, tmp_path) for name in answers]
    kept, left_out = verify(manifest, candidates, context(recipe))
    assert [(v.candidate.id, v.drop, v.cosine) for v in kept] == [("good", pytest.approx(800 / 90), 0.995)]
    assert [one.id for one in left_out] == ["bad"]
    assert left_out[0].reason == "on the validation split 11.11 points under the teacher, the budget is 10"


@pytest.mark.parametrize(
    ("metric", "budget", "reasons"),
    [
        ("accuracy", BudgetOptions(drop=12), []),
        ("accuracy", BudgetOptions(drop=10), ["11.11 points under the teacher"]),
        ("agreement", BudgetOptions(drop=10), ["11.11 points of disagreement with the teacher"]),
        ("agreement", BudgetOptions(drop=100, cosine=0.99), []),
        (
            "accuracy",
            BudgetOptions(drop=10, cosine=0.999),
            ["11.11 points under", "cosine to the teacher 0.9950"],
        ),
        ("cosine", BudgetOptions(drop=0, cosine=0.99), []),
        ("cosine", BudgetOptions(drop=0, cosine=0.999), ["the budget is 0.999"]),
    ],
)
def test_both_gates_of_the_budget_hold(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recipe: Recipe,
    metric: str,
    budget: BudgetOptions,
    reasons: list[str],
) -> None:
    monkeypatch.setattr(verification, "answer", lambda *_: wrong(10))
    recipe = replace(recipe, budget=budget)
    manifest = draft(recipe, ("a", "b", "c"))
    verdict = judge(manifest, candidate("one", tmp_path), context(recipe, metric))
    assert bool(verdict.reason) == bool(reasons)
    assert all(reason in verdict.reason for reason in reasons)
    assert verdict.drop == (0 if metric == "cosine" else pytest.approx(1000 / 90))


def test_of_several_outputs_the_worst_median_counts() -> None:
    answers = Answers(
        indices=LABELS, margins=np.ones(90), cosines=np.stack([np.linspace(0.0, 1.0, 90), np.full(90, 0.4)])
    )
    assert answers.cosine == pytest.approx(0.4)


def test_a_file_that_no_runtime_loads_is_left_out(tmp_path: Path, recipe: Recipe) -> None:
    manifest = draft(recipe, ("a", "b", "c"))
    broken = Candidate(
        id="onnx-int8",
        runtime="onnx",
        precision="int8",
        files={"graph": tmp_path / "recipe" / "recipe.toml", "weights": tmp_path / "recipe" / "recipe.toml"},
        inputs=(TENSOR,),
        outputs=(TENSOR,),
    )
    kept, left_out = verify(manifest, [broken], context(recipe))
    assert kept == ()
    assert [one.id for one in left_out] == ["onnx-int8"]


def test_a_file_answers_as_the_network_it_was_made_of(tmp_path: Path, recipe: Recipe) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(144, 3)).eval()
    onnx.export(model, recipe, tmp_path / "m.onnx")
    export = SimpleNamespace(
        id="m", runtime="onnx", precision="float32", path=tmp_path / "m.onnx", isa=(), float_layers=()
    )
    made = strip(export, recipe, tmp_path)  # type: ignore[arg-type]
    manifest, around = draft(recipe, ("a", "b", "c")), context(recipe)
    assert export_error(manifest, made, model, around) < 1e-5
    with torch.no_grad():
        wanted = model(around.views.normalize(SPLIT.prepared)).numpy()
    exact = replace(recipe, budget=BudgetOptions(drop=100.0, cosine=0.999999))
    verdict = judge(manifest, made, context(exact, outputs={"validation": (wanted,)}))
    assert verdict.reason == ""
    assert np.array_equal(verdict.answers.indices, wanted.argmax(1))
    opposite = judge(manifest, made, context(exact, outputs={"validation": (-wanted,)}))
    assert opposite.cosine == pytest.approx(-1)
    with torch.no_grad():
        model[1].bias += 1.0  # type: ignore[operator]
    assert export_error(manifest, made, model, around) > 0.01


def test_golden_samples_are_clear_to_every_variant(tmp_path: Path) -> None:
    first, second = wrong(0), wrong(6)
    first.margins[:12] = 0.1

    class Data:
        labels: tuple[str, ...] = ("a", "b", "c")
        validation = SPLIT

    ranked = [
        Verified(candidate=candidate(name, tmp_path), drop=0.0, cosine=1.0, validation=answers)
        for name, answers in (("one", first), ("two", second))
    ]
    chosen = choose(Data, ranked)  # type: ignore[arg-type]
    assert chosen == list(range(12, 12 + 3 * PER_CLASS))
    second.margins[:] = 0.1
    second.margins[40] = 0.15
    assert choose(Data, ranked) == [6, 40]  # type: ignore[arg-type]
    Data.labels = ()
    assert choose(Data, ranked) == list(range(RAW_SAMPLES))  # type: ignore[arg-type]


def test_a_variant_for_another_cpu_comes_right_before_the_one_for_all(tmp_path: Path) -> None:
    changes: dict[str, dict[str, Any]] = {
        "float": {"precision": "float32"},
        "plain": {},
        "elsewhere": {"isa": ("no_such_isa",)},
        "other": {"runtime": "other"},
    }
    kept = [
        Verified(candidate=candidate(name, tmp_path, **change), drop=0.0, cosine=1.0, validation=wrong(0))
        for name, change in changes.items()
    ]
    times = {"float": 4.0, "plain": 2.0, "elsewhere": 9.0, "other": 1.0}
    latencies = {name: Latency(min_ms=ms, p50_ms=ms) for name, ms in times.items()}
    assert [v.candidate.id for v in rank(kept, latencies)] == ["other", "elsewhere", "plain", "float"]
