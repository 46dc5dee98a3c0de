import json
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from outrider_bundle import dispatch
from outrider_bundle.container import Bundle
from outrider_bundle.errors import BundleError
from outrider_bundle.manifest import RelativeTolerance, StepTolerance
from outrider_bundle.slot import Slot, unpack
from outrider_runtime.pipeline import Model
from outrider_runtime.proof import Proof, prove, tolerance
from tests.fakes.provable import SAMPLES, write_provable


@pytest.fixture
def slot(tmp_path: Path) -> Slot:
    write_provable(tmp_path / "tiny.orb")
    with Bundle.open(tmp_path / "tiny.orb") as bundle:
        return Slot.open(unpack(bundle, [v.id for v in bundle.manifest.variants], tmp_path / "slots"))


def proof(slot: Slot, name: str, answers: bytes | None = None, samples: np.ndarray = SAMPLES) -> Proof:
    variant = slot.manifest.variant(name)
    model = Model.open(slot.manifest, variant, slot.files(name))
    try:
        blob = slot.read(f"{name}-golden") if answers is None else answers
        return prove(slot.manifest, variant, model, samples, blob)
    finally:
        model.close()


@pytest.mark.parametrize("name", ["onnx-float32", "tflite-int8", "null-float32"])
def test_a_variant_reproduces_itself_exactly(slot: Slot, name: str) -> None:
    found = proof(slot, name)
    assert found.ok
    assert found.worst == 0
    assert found.agreement == 1
    assert found.margin == 1
    assert found.samples == len(SAMPLES)


@pytest.mark.parametrize(("offset", "ok"), [(3, True), (4, False)])
def test_int8_may_be_off_by_the_allowed_steps_and_no_more(slot: Slot, offset: int, ok: bool) -> None:  # noqa: FBT001 - a table column
    answers = np.frombuffer(slot.read("tflite-int8-golden"), np.int8).astype(int)
    answers -= np.sign(answers) * offset
    found = proof(slot, "tflite-int8", answers.astype(np.int8).tobytes())
    assert found.ok is ok
    assert found.worst == offset
    assert found.unit == "steps"


@pytest.mark.parametrize(("factor", "ok"), [(1.0009, True), (1.01, False)])
def test_float_may_be_off_by_the_relative_tolerance(slot: Slot, factor: float, ok: bool) -> None:  # noqa: FBT001 - a table column
    answers = np.frombuffer(slot.read("onnx-float32-golden"), np.float32) * np.float32(factor)
    assert proof(slot, "onnx-float32", answers.tobytes()).ok is ok


def test_another_winner_fails_even_within_the_tolerance(slot: Slot) -> None:
    answers = np.frombuffer(slot.read("null-float32-golden"), np.float32).reshape(-1, 3)
    variant = slot.manifest.variant("null-float32")
    wide = tuple(
        replace(e, tolerance=RelativeTolerance(relative=1.0)) if e.variant == variant.id else e
        for e in slot.manifest.golden.expected
    )
    manifest = replace(slot.manifest, golden=replace(slot.manifest.golden, expected=wide))
    turned = answers.copy()
    turned[0] = np.roll(answers[0], 1) * 1.5
    model = Model.open(manifest, variant, slot.files(variant.id))
    found = prove(manifest, variant, model, SAMPLES, turned.tobytes())
    assert not found.ok
    exact = prove(manifest, variant, model, SAMPLES, answers.tobytes())
    assert exact.ok


def test_nan_never_passes(slot: Slot) -> None:
    answers = np.frombuffer(slot.read("onnx-float32-golden"), np.float32).copy()
    answers[3] = np.nan
    found = proof(slot, "onnx-float32", answers.tobytes())
    assert not found.ok
    assert found.worst == np.inf


def test_a_model_that_cannot_take_the_samples_is_a_verdict_not_a_crash(slot: Slot) -> None:
    found = proof(slot, "onnx-float32", samples=SAMPLES.astype(np.float32))
    assert not found.ok
    assert "frame" in found.reason


def test_a_variant_without_answers_is_a_broken_bundle(slot: Slot) -> None:
    expected = tuple(e for e in slot.manifest.golden.expected if e.variant != "onnx-float32")
    manifest = replace(slot.manifest, golden=replace(slot.manifest.golden, expected=expected))
    variant = manifest.variant("onnx-float32")
    model = Model.open(manifest, variant, slot.files(variant.id))
    with pytest.raises(BundleError, match="no golden answers"):
        prove(manifest, variant, model, SAMPLES, b"")


def test_tolerances_follow_the_precision(slot: Slot) -> None:
    floating, integer = slot.manifest.variant("onnx-float32"), slot.manifest.variant("tflite-int8")
    assert isinstance(tolerance(floating, b""), RelativeTolerance)
    assert tolerance(integer, b"") == StepTolerance(step=1.0, steps=3.0)
    grid = (np.array([[-4, 0, 9], [5, 6, 7]]) * 0.125).astype(np.float32)
    quantized = replace(floating, precision="int8")
    assert tolerance(quantized, grid.tobytes()) == StepTolerance(step=0.125, steps=3.0)
    rough = np.array([[0.1, 0.234, 0.71], [0.5, 0.61, 0.8]], np.float32)
    assert isinstance(tolerance(quantized, rough.tobytes()), RelativeTolerance)


def test_the_command_proves_every_variant(
    slot: Slot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert slot.present
    assert dispatch.main(["prove", str(tmp_path / "tiny.orb"), "--all-variants", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["variant"] for row in rows] == ["onnx-float32", "tflite-int8", "null-float32"]
    assert all(row["ok"] and row["margin"] == 1 for row in rows)
    assert dispatch.main(["prove", str(tmp_path / "tiny.orb")]) == 0
    assert "reproduced" in capsys.readouterr().out


def test_the_command_fails_with_21_if_one_does_not_reproduce(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_provable(tmp_path / "bad.orb", spoiled=("tflite-int8",))
    assert dispatch.main(["prove", str(tmp_path / "bad.orb"), "--all-variants"]) == 21
    assert "tflite-int8" in capsys.readouterr().err
    assert dispatch.main(["prove", str(tmp_path / "bad.orb"), "--variant", "onnx-float32"]) == 0
    assert dispatch.main(["prove", str(tmp_path / "bad.orb"), "--variant", "onnx"]) == 2
    assert dispatch.main(["prove", str(tmp_path / "none.orb")]) == 10
