"""Numbers and actions are learned from the teacher alone, and judged by it."""

import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from outrider_bundle.container import Bundle
from outrider_bundle.errors import DataError, UsageError
from outrider_bundle.manifest import ControlDecoder, RegressionDecoder
from outrider_converter.dataset import load_dataset
from outrider_converter.pipeline import convert
from outrider_converter.progress import NullReporter
from outrider_converter.rating import mean_of, r2
from outrider_converter.recipe import read_recipe
from outrider_converter.scale import Scale
from tests.fakes.policy import OUTPUTS, write_policy


def test_a_policy_is_distilled_and_its_actions_are_judged_by_the_teachers(tmp_path: Path) -> None:
    report = convert(write_policy(tmp_path / "toy"), tmp_path / "out", NullReporter())
    assert (report.metric, report.data.labels) == ("agreement", ("left", "right"))
    assert {v.id for v in report.variants} == {"onnx-float32", "onnx-int8"}
    assert all(v.accuracy == v.agreement_with_teacher > 0.9 for v in report.variants)
    with Bundle.open(tmp_path / "out" / "toy.orb") as bundle:
        manifest = bundle.manifest
    assert manifest.task == "control"
    assert manifest.outputs[0].decoder == ControlDecoder(names=("left", "right"))
    assert all(expected.agreement == 1.0 for expected in manifest.golden.expected)
    assert manifest.golden.dtype == "float32"


def test_numbers_of_different_size_are_learned_alike_and_come_back_in_their_units(tmp_path: Path) -> None:
    recipe = write_policy(tmp_path / "toy", "regression", size=1000.0, offset=5000.0)
    report = convert(recipe, tmp_path / "out", NullReporter())
    assert (report.metric, report.data.labels, report.teacher.accuracy) == ("r2", (), 1.0)
    assert {v.id for v in report.variants} == {"onnx-float32", "onnx-int8"}
    assert all(0.95 < v.low <= v.accuracy <= v.high <= 1.0 for v in report.variants)
    assert all(v.drop == pytest.approx(100 * (1 - v.accuracy)) for v in report.variants)
    assert report.stages[-1].accuracy > 0.98
    assert "R²" in (tmp_path / "out" / "report.html").read_text()
    with Bundle.open(tmp_path / "out" / "toy.orb") as bundle:
        manifest = bundle.manifest
    decoder = manifest.outputs[0].decoder
    assert isinstance(decoder, RegressionDecoder)
    assert decoder.mean[1] == pytest.approx(5000.0, rel=0.2)
    assert decoder.std[1] > 500 * decoder.std[0] / 2
    predictions = msgspec.json.decode((tmp_path / "out" / "predictions.json").read_bytes())
    assert np.array(predictions["onnx-int8"]).shape == (300, 2)
    assert np.array(predictions["onnx-int8"])[:, 1].mean() == pytest.approx(5000.0, rel=0.2)


def test_actuators_are_learned_in_the_teachers_own_units(tmp_path: Path) -> None:
    report = convert(write_policy(tmp_path / "toy", "continuous"), tmp_path / "out", NullReporter())
    assert report.metric == "r2"
    assert all(v.accuracy > 0.95 for v in report.variants)
    with Bundle.open(tmp_path / "out" / "toy.orb") as bundle:
        decoder = bundle.manifest.outputs[0].decoder
    assert decoder == ControlDecoder(names=("left", "right"), space="continuous")


def test_a_teacher_of_numbers_may_be_its_own_student(tmp_path: Path) -> None:
    recipe = write_policy(tmp_path / "toy", "regression", student='family = "as-is"')
    report = convert(recipe, tmp_path / "out", NullReporter())
    assert report.variants[0].accuracy > 0.98
    with Bundle.open(tmp_path / "out" / "toy.orb") as bundle:
        assert bundle.manifest.outputs[0].decoder == RegressionDecoder(names=("here", "there"))


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("control", {"output": ""}, "the task control needs this table"),
        ("control", {"output": OUTPUTS["regression"]}, "output.kind: it is not of the task control"),
        ("classification", {"output": OUTPUTS["control"]}, "it is not of the task classification"),
        ("regression", {"output": OUTPUTS["regression"] + "\nstd = [1.0, 2.0, 3.0]"}, "output.std: give one"),
        ("regression", {"student": 'family = "auto"'}, "auto is for classes"),
        ("anomaly", {}, "takes the teacher as it is"),
        ("detection", {}, "objects are found in images"),
    ],
)
def test_what_contradicts_the_task_is_refused(
    tmp_path: Path, kind: str, changes: dict[str, str], said: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        read_recipe(write_policy(tmp_path, kind, **changes))


def test_labels_are_refused_where_nothing_is_done_with_them(tmp_path: Path) -> None:
    path = write_policy(tmp_path, "regression")
    module = tmp_path / "policies.py"
    module.write_text(module.read_text().replace("np.float32), None", "np.float32), np.zeros(count, int)"))
    with pytest.raises(DataError, match="learned from its teacher alone"):
        load_dataset(read_recipe(path), tmp_path)


def test_r2_is_1_for_the_same_0_for_the_mean_and_never_less() -> None:
    wanted = np.random.default_rng(0).normal(5.0, 2.0, (200, 2))
    assert r2(wanted, wanted).value == 1.0
    mean = r2(np.broadcast_to(wanted.mean(0), wanted.shape), wanted)
    assert mean.value == pytest.approx(0.0, abs=1e-9)
    assert r2(-wanted, wanted).value == 0.0
    half = r2(wanted * [1.0, 0.0] + [0.0, wanted[:, 1].mean()], wanted)
    assert (half.value, half.low <= half.value <= half.high) == (pytest.approx(0.5), True)


def test_r2_of_what_does_not_vary_is_all_or_nothing() -> None:
    flat = np.ones((10, 1))
    assert (r2(flat, flat).value, r2(flat + 1e-3, flat).value) == (1.0, 0.0)


def test_the_mean_of_shares_has_an_interval_within_0_and_1() -> None:
    found = mean_of(np.array([1.0, 1.0, 0.5, 0.0]))
    assert (found.value, found.low >= 0, found.high <= 1) == (0.625, True, True)


def test_a_scale_is_undone_behind_a_decoder_that_has_one() -> None:
    scale = Scale(mean=(10.0,), std=(2.0,))
    reading = RegressionDecoder(names=("t",), mean=(1.0,), std=(3.0,))
    stored = scale.standard(torch.tensor([[14.0]]))
    made = scale.undone(reading)
    assert float(stored) * made.std[0] + made.mean[0] == 14.0 * 3 + 1
