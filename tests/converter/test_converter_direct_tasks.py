"""`outrider convert MODEL --task ...`: detectors, policies, numbers and anomalies as they come."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from outrider_bundle.container import Bundle
from outrider_bundle.dispatch import main
from outrider_bundle.errors import DataError, UsageError
from outrider_bundle.manifest import (
    AnomalyDecoder,
    ControlDecoder,
    DetectionDecoder,
    RawDecoder,
    RegressionDecoder,
    SsdDecoder,
)
from outrider_bundle.slot import Slot, unpack
from outrider_converter.report import Report
from outrider_runtime.perception import Detections
from outrider_runtime.pipeline import Model
from tests.fakes import unlearned
from tests.fakes.boxes import write_ssd
from tests.fakes.detector import ANCHORS, LABELS, PREPROCESS, pictures, write_detector, write_pictures

ARRAY = 'kind = "array"\nmean = [0.0]\nstd = [1.0]\nlayout = "NC"\n'


def write_linear(path: Path, outputs: int, *, softmax: bool = False) -> Path:
    """Write a layer from four features to `outputs` numbers."""
    weights = np.random.default_rng(5).normal(0, 1, (4, outputs)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y" if not softmax else "sums"], "layer")]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["sums"], ["y"], "softmax", axis=1))
    ports = [("x", 4), ("y", outputs)]
    entry, answer = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, size]) for n, size in ports)
    graph = helper.make_graph(nodes, "linear", [entry], [answer], [numpy_helper.from_array(weights, "w")])
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return path


def write_memory(path: Path) -> Path:
    """Write what remembers of a window of 8 samples of 2 channels, `(1, 8, 2)`, the mean over time."""
    entry, answer = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 8, 2]) for n in ("x", "y"))
    mean = numpy_helper.from_array(np.full((1, 8, 8), 1 / 8, np.float32), "mean")
    nodes = [helper.make_node("MatMul", ["mean", "x"], ["y"], "layer")]
    graph = helper.make_graph(nodes, "memory", [entry], [answer], [mean])
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return path


def given(folder: Path, *, labelled: bool = False) -> list[str]:
    """Return the options that say what four features are."""
    (folder / "pre.toml").write_text(ARRAY)
    rows = np.random.default_rng(1).normal(0, 1, (400, 4)).astype(np.float32)
    if labelled:
        np.savez(folder / "rows.npz", x=rows, y=np.zeros(400, np.int64))
    else:
        np.savez(folder / "rows.npz", x=rows)
    place = ["--calibration", str(folder / "rows.npz"), "--preprocess", str(folder / "pre.toml")]
    return [*place, "--target", "cpu-x86-avx2"]


def convert(folder: Path, model: Path, options: Sequence[str]) -> tuple[Report, Path]:
    out = folder / "out"
    assert main(["convert", str(model), *options, "--out", str(out)]) == 0
    report = msgspec.json.decode((out / "report.json").read_bytes(), type=Report)
    return report, out / f"{model.stem}.orb"


def test_a_yolo_file_becomes_a_bundle_whose_objects_are_proved(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "names.txt").write_text("\n".join(LABELS))
    (tmp_path / "pre.toml").write_text(PREPROCESS)
    images = write_pictures(tmp_path / "images", 40)
    options = ["--task", "detection", "--labels", str(tmp_path / "names.txt"), "--min-score", "0.5"]
    options += ["--calibration", str(images), "--preprocess", str(tmp_path / "pre.toml")]
    model = write_detector(tmp_path / "parts.onnx")
    report, path = convert(tmp_path, model, [*options, "--target", "cpu-x86-avx2", "--drop", "15"])
    said = capfd.readouterr().err
    assert f"inferred: the layout is yolo, by 'output0' (1, 7, {ANCHORS}) and 3 labels" in said
    assert "# Inferred: the layout is yolo" in report.recipe
    assert (report.metric, report.budget, report.budget_cosine) == ("dice", 15.0, None)
    floats = {v.id: v for v in report.variants}["onnx-float32"]
    assert (floats.accuracy, floats.agreement_with_teacher) == (pytest.approx(1.0, abs=0.02), floats.accuracy)
    # Beside boxes the steps of scores are too coarse to find anything: where both are joined is float.
    mixed = {v.id: v for v in report.variants}["onnx-int8"]
    assert (mixed.precision, mixed.accuracy > 0.8) == ("mixed", True)
    assert any("cat" in layer for layer in mixed.float_layers)
    assert main(["prove", str(path), "--all-variants"]) == 0
    with Bundle.open(path) as bundle:
        manifest = bundle.manifest
        slot = Slot.open(unpack(bundle, [v.id for v in manifest.variants], tmp_path / "slots"))
    assert manifest.task == "detection"
    assert manifest.outputs[0].decoder == DetectionDecoder(labels=LABELS, min_score=0.5)
    assert all(expected.agreement == 0.0 for expected in manifest.golden.expected)
    opened = Model.open(manifest, manifest.ranked()[0], slot.files(manifest.ranked()[0].id))
    seen = [opened.perceive(picture) for picture in pictures(10)]
    opened.close()
    assert all(isinstance(one, Detections) for one in seen)
    assert {label for one in seen for label in one.labels} <= {*LABELS}
    assert any(one.labels for one in seen)


def test_an_ssd_file_keeps_its_two_outputs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "names.txt").write_text("\n".join(unlearned.LABELS))
    (tmp_path / "pre.toml").write_text(unlearned.PREPROCESS)
    images = unlearned.write_images(tmp_path / "images", 60)
    options = ["--task", "detection", "--labels", str(tmp_path / "names.txt"), "--target", "cpu-x86-avx2"]
    options += ["--calibration", str(images), "--preprocess", str(tmp_path / "pre.toml")]
    model = write_ssd(tmp_path / "bands.onnx")
    assert main(["convert", str(model), *options, "--out", str(tmp_path / "out")]) == UsageError.exit_code
    assert "Say --box xyxy or --box yxyx" in capfd.readouterr().err
    report, path = convert(tmp_path, model, [*options, "--box", "xyxy"])
    assert "the outputs are: 'boxes' boxes, 'scores' scores" in capfd.readouterr().err
    assert all(v.accuracy > 0.9 for v in report.variants)
    assert main(["prove", str(path), "--all-variants"]) == 0
    with Bundle.open(path) as bundle:
        manifest = bundle.manifest
        slot = Slot.open(unpack(bundle, [v.id for v in manifest.variants], tmp_path / "slots"))
    first, second = (one.decoder for one in manifest.outputs)
    assert (type(first), type(second)) == (SsdDecoder, RawDecoder)
    best = manifest.ranked()[0]
    opened = Model.open(manifest, best, slot.files(best.id))
    frames, labels = unlearned.bands(6)
    seen = [opened.perceive(frame) for frame in frames]
    opened.close()
    names = [unlearned.LABELS[label] for label in labels]
    assert all(name in one.labels for name, one in zip(names, seen, strict=True))


@pytest.mark.parametrize("softmax", [False, True])
def test_a_policy_file_keeps_its_actions(tmp_path: Path, *, softmax: bool) -> None:
    model = write_linear(tmp_path / "policy.onnx", 2, softmax=softmax)
    report, path = convert(tmp_path, model, ["--task", "control", "--names", "left,right", *given(tmp_path)])
    assert (report.metric, report.budget, report.data.labels) == ("agreement", 2.0, ("left", "right"))
    assert {v.id for v in report.variants} == {"onnx-float32", "onnx-int8"}
    assert ('output = "probabilities"' in report.recipe) is softmax
    assert main(["prove", str(path), "--all-variants"]) == 0
    with Bundle.open(path) as bundle:
        assert bundle.manifest.outputs[0].decoder == ControlDecoder(names=("left", "right"))


def test_numbers_get_their_names_and_are_compared_by_r2(tmp_path: Path) -> None:
    model = write_linear(tmp_path / "gauge.onnx", 3)
    options = ["--task", "regression", "--names", "a,b,c", *given(tmp_path)]
    report, path = convert(tmp_path, model, options)
    assert report.metric == "r2"
    assert all(v.accuracy > 0.98 for v in report.variants)
    assert main(["prove", str(path), "--all-variants"]) == 0
    with Bundle.open(path) as bundle:
        assert bundle.manifest.outputs[0].decoder == RegressionDecoder(names=("a", "b", "c"))


def test_a_reconstruction_is_judged_by_its_score(tmp_path: Path) -> None:
    model = write_linear(tmp_path / "memory.onnx", 4)
    report, path = convert(tmp_path, model, ["--task", "anomaly", "--threshold", "2.5", *given(tmp_path)])
    assert report.metric == "r2"
    assert all(v.accuracy > 0.98 for v in report.variants)
    assert main(["prove", str(path), "--all-variants"]) == 0
    with Bundle.open(path) as bundle:
        decoder = bundle.manifest.outputs[0].decoder
    assert decoder == AnomalyDecoder(threshold=2.5, method="reconstruction")


def test_a_reconstruction_of_windows_with_the_channels_last_is_read_in_that_order(tmp_path: Path) -> None:
    model = write_memory(tmp_path / "memory.onnx")
    (tmp_path / "pre.toml").write_text('kind = "array"\nmean = [0.0]\nstd = [1.0]\nlayout = "NTC"\n')
    source = np.random.default_rng(1)
    windows = source.normal(0, 0.3, (400, 2, 8)) + source.normal(0, 1, (400, 2, 1))
    np.savez(tmp_path / "windows.npz", x=windows.astype(np.float32))
    options = ["--task", "anomaly", "--threshold", "0.2", "--target", "cpu-x86-avx2", "--drop", "20"]
    options += ["--calibration", str(tmp_path / "windows.npz"), "--preprocess", str(tmp_path / "pre.toml")]
    report, path = convert(tmp_path, model, options)
    floats = {v.id: v for v in report.variants}["onnx-float32"]
    assert floats.accuracy == pytest.approx(1.0, abs=1e-6)
    assert main(["prove", str(path), "--all-variants"]) == 0


def test_all_that_is_missing_of_a_task_is_said_at_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = write_linear(tmp_path / "policy.onnx", 2)
    assert main(["convert", str(model), "--task", "control"]) == UsageError.exit_code
    said = capfd.readouterr().err
    assert all(option in said for option in ("--names LEFT,RIGHT", "--target", "--calibration"))
    assert "--labels none" not in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--task", "regression", "--names", "a,b,c", "--threshold", "1"], "does not take --threshold"),
        (
            ["--task", "anomaly", "--threshold", "1", "--method", "guess"],
            "An option is wrong: Invalid enum value 'guess'",
        ),
    ],
)
def test_wrong_options_are_one_clear_error(
    tmp_path: Path, options: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    model = write_linear(tmp_path / "policy.onnx", 3)
    assert main(["convert", str(model), *options, *given(tmp_path)]) == UsageError.exit_code
    assert message in capfd.readouterr().err


def test_samples_with_classes_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = write_linear(tmp_path / "policy.onnx", 3)
    options = ["--task", "regression", "--names", "a,b,c", *given(tmp_path, labelled=True)]
    assert main(["convert", str(model), *options]) == DataError.exit_code
    assert "judged by the float model" in capfd.readouterr().err
