"""`outrider convert MODEL`: quantized, verified, packaged, proved; and refused by an agent if raw."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from outrider_agent import cli as agent
from outrider_bundle.container import Bundle
from outrider_bundle.dispatch import main
from outrider_bundle.errors import EngineError, IncompatibleError, UsageError
from outrider_bundle.manifest import ClassificationDecoder, RawDecoder, StepTolerance
from outrider_bundle.slot import Slot, unpack
from outrider_converter.report import Report
from outrider_runtime.pipeline import Model
from tests.fakes.unlearned import LABELS, PREPROCESS, bands, write_classifier, write_images, write_raw

FIXTURES = Path(__file__).parents[1] / "fixtures"

AGENT = """
[device]
id = "bench-1"
fleet = "plant"
app = "raw"
hardware = "any"
state_dir = "{folder}/state"

[trust]
allow_unsigned = true

[[pipelines]]
id = "one"
bundle = "{bundle}"
source = {{ kind = "images", path = "{folder}" }}
policy = {{ kind = "rules", rules = [{{ label = "left" }}] }}
"""


def convert(folder: Path, model: Path, *options: str, by_class: bool = False) -> tuple[Report, Path]:
    """Convert `model` on images of bands and return the report and the folder of the results."""
    (folder / "pre.toml").write_text(PREPROCESS)
    (folder / "names.txt").write_text("\n".join(LABELS))
    images = write_images(folder / "images", 80, by_class=by_class)
    given = ["--calibration", str(images), "--preprocess", str(folder / "pre.toml")]
    out = folder / "out"
    assert main(["convert", str(model), *given, *options, "--out", str(out)]) == 0
    return msgspec.json.decode((out / "report.json").read_bytes(), type=Report), out


def test_labelled_images_give_accuracies(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = write_classifier(tmp_path / "bands.onnx")
    report, out = convert(
        tmp_path, model, "--target", "cpu-x86-avx2", "--labels", str(tmp_path / "names.txt"), by_class=True
    )
    assert (report.metric, report.budget, report.budget_cosine) == ("accuracy", 2.0, 0.99)
    assert {v.id for v in report.variants} == {"onnx-float32", "onnx-int8"}
    assert all(v.accuracy > 0.95 and (v.cosine or 0) > 0.99 for v in report.variants)
    assert [t.name for t in report.targets] == ["cpu-x86-avx2"]
    assert "kernels" in report.variants[0].kernel
    assert main(["prove", str(out / "bands.orb"), "--all-variants"]) == 0
    with Bundle.open(out / "bands.orb") as bundle:
        assert bundle.manifest.task == "classification"
        decoder = bundle.manifest.outputs[0].decoder
        assert decoder == ClassificationDecoder(labels=LABELS, activation="softmax")
    assert "accuracy" in capfd.readouterr().out


def test_unlabelled_images_give_agreement_and_a_softmax_of_the_model_is_the_last_one(tmp_path: Path) -> None:
    model = write_classifier(tmp_path / "soft.onnx", softmax=True, batch="n")
    report, out = convert(tmp_path, model, "--target", "rpi5", "--labels", str(tmp_path / "names.txt"))
    assert (report.metric, report.budget) == ("agreement", 100.0)
    assert report.teacher.accuracy == 1.0
    assert all(v.accuracy == v.agreement_with_teacher > 0.9 for v in report.variants)
    with Bundle.open(out / "soft.orb") as bundle:
        manifest = bundle.manifest
        assert manifest.outputs[0].decoder.activation == "none"  # type: ignore[union-attr]
        assert manifest.evidence is not None
        assert manifest.evidence.metric == "agreement"
        slot = Slot.open(unpack(bundle, [v.id for v in manifest.variants], tmp_path / "slots"))
    best = manifest.ranked()[0]
    model_here = Model.open(manifest, best, slot.files(best.id))
    seen = model_here.perceive(bands(3)[0][1])
    model_here.close()
    assert (seen.label, 0.5 < seen.score <= 1) == ("middle", True)
    assert "agreement" in (out / "report.html").read_text()


def test_raw_outputs_are_compared_by_cosine_proved_and_refused_by_an_agent(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    report, out = convert(tmp_path, write_raw(tmp_path / "raw.onnx"), "--target", "cpu-x86-avx2")
    assert (report.metric, report.data.labels) == ("cosine", ())
    assert all(v.accuracy == v.cosine > 0.99 and v.low <= v.accuracy <= v.high for v in report.variants)  # type: ignore[operator]
    said = capfd.readouterr().out
    assert "cosine" in said
    assert "accuracy" not in said
    path = out / "raw.orb"
    with Bundle.open(path) as bundle:
        manifest = bundle.manifest
        slot = Slot.open(unpack(bundle, [v.id for v in manifest.variants], tmp_path / "slots"))
    assert manifest.task == "raw"
    assert [(o.name, o.shape, o.decoder) for o in manifest.outputs] == [
        ("map", (1, 4, 12, 12), RawDecoder()),
        ("sums", (1, 3), RawDecoder()),
    ]
    assert all(len(e.more) == 1 and e.agreement == 0 for e in manifest.golden.expected)
    assert manifest.baseline is not None
    assert (manifest.baseline.outputs, manifest.baseline.prior) == ({}, ())
    assert main(["prove", str(path), "--all-variants"]) == 0
    assert main(["bundle", "inspect", str(path)]) == 0
    assert "'map' is raw" in capfd.readouterr().out

    variant = manifest.ranked()[0]
    model = Model.open(manifest, variant, slot.files(variant.id))
    frames, labels = bands(3)
    sums = [np.array(model.outputs(frame)[1]).argmax() for frame in frames]
    assert sums == labels.tolist()
    with pytest.raises(EngineError, match="'map' is raw"):
        model.perceive(frames[0])
    model.close()

    config = tmp_path / "agent.toml"
    config.write_text(AGENT.format(folder=tmp_path, bundle=path))
    undecoded = r"no decoder.*act on these tasks: classification"
    with pytest.raises(UsageError, match=undecoded):
        agent.main(["check", str(config)])
    with pytest.raises(IncompatibleError, match=undecoded):
        agent.main(["run", "--config", str(config)])


def test_a_tflite_file_keeps_its_runtime(tmp_path: Path) -> None:
    model = tmp_path / "tiny.tflite"
    model.write_bytes((FIXTURES / "tiny-float32.tflite").read_bytes())
    report, out = convert(tmp_path, model, "--target", "rpi5", "--labels", "none", "--cosine", "0.9")
    assert {v.id for v in report.variants} == {"tflite-float32", "tflite-int8"}
    assert main(["prove", str(out / "tiny.orb"), "--all-variants"]) == 0


def test_a_variant_for_another_cpu_is_judged_in_float_arithmetic(tmp_path: Path) -> None:
    model = write_classifier(tmp_path / "bands.onnx")
    report, out = convert(
        tmp_path,
        model,
        "--target",
        "rpi5",
        "--target",
        "cpu-x86-vnni",
        "--labels",
        str(tmp_path / "names.txt"),
    )
    # One machine is never both: ARM or x86.
    strange = [v for v in report.variants if "lacks" in v.kernel]
    assert any("asimd" in v.isa or "avx512_vnni" in v.isa for v in strange)
    assert all(v.kernel.startswith("float arithmetic of the same file") for v in strange)
    assert "lacks" in (out / "report.html").read_text()
    with Bundle.open(out / "bands.orb") as bundle:
        expected = {e.variant: e.tolerance for e in bundle.manifest.golden.expected}
    for one in strange:  # nobody has seen the kernels that will run it
        tolerance = expected[one.id]
        wide = tolerance.steps >= 10 if isinstance(tolerance, StepTolerance) else tolerance.relative > 0.1
        assert wide, tolerance
    assert main(["prove", str(out / "bands.orb"), "--all-variants"]) == 0


def test_what_misses_the_cosine_is_left_out_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "pre.toml").write_text(PREPROCESS)
    model, images = write_raw(tmp_path / "raw.onnx"), write_images(tmp_path / "images", 40)
    given = ["--calibration", str(images), "--preprocess", str(tmp_path / "pre.toml"), "--target", "rpi5"]
    out = tmp_path / "out"
    code = main(["convert", str(model), *given, "--cosine", "1.0", "--out", str(out)])
    report = msgspec.json.decode((out / "report.json").read_bytes(), type=Report)
    reasons = {one.id: one.reason for one in report.left_out}
    assert "median cosine to the teacher" in reasons["onnx-int8-asimd"]
    assert "the budget is 1" in reasons["onnx-int8-asimd"]
    # Rounding alone may cost the float file the last bit.
    assert code == (0 if report.variants else 30)
    assert (out / "raw.orb").exists() is bool(report.variants)
