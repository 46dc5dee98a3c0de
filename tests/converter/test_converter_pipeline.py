"""A whole conversion of the toy, to ONNX: what is written, and what is not when the budget is missed."""

import copy
import hashlib
import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from outrider_bundle.container import Bundle
from outrider_bundle.errors import BudgetError, DataError, UsageError
from outrider_converter.formats import onnx
from outrider_converter.pipeline import convert
from outrider_converter.progress import NullReporter
from outrider_converter.recipe import DEFAULT_STEPS, Recipe
from outrider_converter.report import Report
from tests.fakes.toy import write_toy

FILES = ["calibration.json", "predictions.json", "report.html", "report.json", "toy.orb"]
UNTRAINED = (
    ("epochs = 6", "epochs = 0"),
    ("[prune]\nmacs = 0.2\nepochs = 2\nround_to = 4\n", ""),
)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Path]:
    folder = tmp_path_factory.mktemp("toy")
    return convert(write_toy(folder / "recipe"), folder / "out", NullReporter()), folder / "out"


def test_the_folder_holds_the_results_and_nothing_else(done: tuple[Report, Path]) -> None:
    report, out = done
    assert sorted(p.name for p in out.iterdir()) == FILES
    assert [p.name for p in out.parent.iterdir() if p.name.startswith(".")] == []
    assert msgspec.json.decode((out / "report.json").read_bytes(), type=Report) == report


def test_the_report_is_about_what_was_written(done: tuple[Report, Path]) -> None:
    report, out = done
    assert report.bundle is not None
    raw = (out / "toy.orb").read_bytes()
    assert report.bundle.path == str(out / "toy.orb")
    assert report.bundle.bytes == len(raw)
    assert report.bundle.sha256 == hashlib.sha256(raw).hexdigest()
    assert [v.rank for v in report.variants] == [0, 1]
    assert {v.id for v in report.variants} == {"onnx-float32", "onnx-int8"}
    assert report.variants[0].latency.p50_ms <= report.variants[1].latency.p50_ms
    assert report.left_out == ()


def test_accuracies_are_those_of_the_predictions(done: tuple[Report, Path]) -> None:
    report, out = done
    predictions = json.loads((out / "predictions.json").read_bytes())
    labels = np.arange(210) % 3
    assert set(predictions) == {v.id for v in report.variants}
    for variant in report.variants:
        answers = np.array(predictions[variant.id])
        assert variant.accuracy == pytest.approx((answers == labels).mean())
        assert variant.low <= variant.accuracy <= variant.high
        assert variant.accuracy > 0.9
        assert variant.drop == pytest.approx(100 * (report.teacher.accuracy - variant.accuracy))
        assert [c for c in variant.classes if c is not None] == pytest.approx(
            [(answers[labels == i] == i).mean() for i in range(3)]
        )


def test_stages_tell_what_each_step_did(done: tuple[Report, Path]) -> None:
    report, _ = done
    stages = {s.name: s for s in report.stages}
    assert tuple(stages) == DEFAULT_STEPS
    assert stages["prune"].macs <= 0.8 * stages["distill"].macs
    assert stages["prune"].params < stages["distill"].params
    assert report.variants[0].macs == stages["prune"].macs
    assert stages["distill"].accuracy > 0.9


def test_the_bundle_is_sound_and_complete(done: tuple[Report, Path]) -> None:
    report, out = done
    with Bundle.open(out / "toy.orb") as bundle:
        bundle.verify()
        manifest = bundle.manifest
        default = manifest.ranked()[0]
        assert default.id == report.variants[0].id
        assert manifest.golden.shape[1:] == (12, 12)
        assert manifest.golden.shape[0] == 6
        assert {e.variant for e in manifest.golden.expected} == {v.id for v in manifest.variants}
        assert manifest.outputs[0].decoder.labels == ("left", "middle", "right")
        assert manifest.baseline is not None
        assert manifest.baseline.samples == 32
        assert manifest.baseline.inputs["brightness"].mean == pytest.approx(89.5, abs=3)
        assert sum(manifest.baseline.prior) == pytest.approx(1.0, abs=1e-4)
        assert manifest.evidence is not None
        assert [v.accuracy for v in manifest.evidence.variants] == pytest.approx(
            [v.accuracy for v in report.variants], abs=1e-5
        )
        assert manifest.lineage is not None
        assert manifest.lineage.seed == 3
        assert manifest.lineage.recipe == hashlib.sha256(report.recipe.encode()).hexdigest()
        inner = msgspec.json.decode(bytes(bundle.blob("report")), type=Report)
        assert inner.variants == report.variants
        sizes = {v.id: sum(len(bundle.blob(f.blob)) for f in v.files) for v in manifest.variants}
        assert sizes == {v.id: v.bytes for v in report.variants}


def test_the_page_stands_alone_and_says_the_same(done: tuple[Report, Path]) -> None:
    report, out = done
    page = (out / "report.html").read_text(encoding="utf-8")
    assert f"{100 * report.variants[0].accuracy:.2f} %" in page
    assert f"{report.variants[0].id} (default)" in page
    assert "middle" in page
    assert "Left out" not in page
    assert "http" not in page
    assert "src=" not in page


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tmp_path: Path) -> None:
    quick = (*UNTRAINED[1:], ("epochs = 6", "epochs = 1"), ("drop = 10.0", "drop = 100.0"))
    blobs = []
    for name, change in (("a", ()), ("b", ()), ("c", (("seed = 3", "seed = 4"),))):
        convert(write_toy(tmp_path / f"recipe-{name}", *quick, *change), tmp_path / name, NullReporter())
        with Bundle.open(tmp_path / name / "toy.orb") as bundle:
            blobs.append(tuple(bytes(bundle.blob(f"onnx-{p}-weights")) for p in ("float32", "int8")))
    assert blobs[0] == blobs[1]
    assert blobs[0] != blobs[2]


def test_no_bundle_when_the_budget_is_missed_but_a_report_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match=r"onnx-int8: .* points under the teacher") as caught:
        convert(write_toy(tmp_path / "recipe", *UNTRAINED), tmp_path / "out", NullReporter())
    assert caught.value.exit_code == 30
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["report.html", "report.json"]
    report = msgspec.json.decode((tmp_path / "out" / "report.json").read_bytes(), type=Report)
    assert report.bundle is None
    assert {one.id for one in report.left_out} == {"onnx-float32", "onnx-int8"}
    assert "the budget is 10" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_an_exporter_at_fault_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that computes something else is not mistaken for a network that learned little."""

    def export(model: nn.Module, recipe: Recipe, path: Path) -> None:
        wrong = copy.deepcopy(model)
        with torch.no_grad():
            for weight in wrong.parameters():
                weight.mul_(1.01)
        right(wrong, recipe, path)

    right = onnx.export
    monkeypatch.setattr("outrider_converter.steps.export_onnx.onnx.export", export)
    quick = (*UNTRAINED[1:], ("epochs = 6", "epochs = 1"), ("drop = 10.0", "drop = 100.0"))
    report = convert(write_toy(tmp_path / "recipe", *quick), tmp_path / "out", NullReporter())
    assert [v.id for v in report.variants] == ["onnx-int8"]
    assert [one.id for one in report.left_out] == ["onnx-float32"]
    assert "The exporter is at fault" in report.left_out[0].reason


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (("width = 8", "width = 8.5"), UsageError),
        (('family = "res-cnn"', 'family = "rescnn"'), UsageError),
        (("[teacher]", "steps = ['distil']\n[teacher]"), UsageError),
        (('"models:teacher"', '"models:professor"'), DataError),
        (('"data:split"', '"date:split"'), DataError),
        (('labels = "data:LABELS"', 'labels = "models:LABELS"'), DataError),
    ],
)
def test_bad_input_leaves_nothing_behind(
    tmp_path: Path, change: tuple[str, str], kind: type[Exception]
) -> None:
    recipe = write_toy(tmp_path / "recipe", change)
    before = sorted(p.name for p in tmp_path.rglob("*") if "__pycache__" not in str(p))
    with pytest.raises(kind):
        convert(recipe, tmp_path / "out", NullReporter())
    assert sorted(p.name for p in tmp_path.rglob("*") if "__pycache__" not in str(p)) == before


def test_ranges_of_an_earlier_conversion_are_looked_up_beside_the_recipe(
    done: tuple[Report, Path], tmp_path: Path
) -> None:
    shutil.copytree(done[1], tmp_path / "first")
    quick = ("epochs = 6", "epochs = 0"), ("drop = 10.0", "drop = 100.0")
    path = write_toy(tmp_path, *quick, ("samples = 32", 'samples = 32\nprevious = "first"'))
    report = convert(path, tmp_path / "second", NullReporter())
    assert report.bundle is not None
    path.write_text(path.read_text().replace('previous = "first"', 'previous = "nowhere"'))
    with pytest.raises(DataError, match="nowhere"):
        convert(path, tmp_path / "third", NullReporter())
