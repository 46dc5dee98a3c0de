import contextlib
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from outrider_bundle.container import Bundle
from outrider_bundle.errors import BundleError
from outrider_bundle.manifest import Expected, Manifest, Quantization, RelativeTolerance, StepTolerance
from outrider_bundle.slot import Slot, unpack
from outrider_runtime.pipeline import Model
from outrider_runtime.proof import (
    RELATIVE,
    RELATIVE_HALF,
    RELATIVE_MIXED,
    STEPS,
    Proof,
    expected_for,
    expected_outputs,
    golden_samples,
    judge,
    prove,
    tolerance,
)
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


@pytest.mark.parametrize(("factor", "ok"), [(1 + 9e-5, True), (1 + 1.2e-4, False)])
def test_float_may_be_off_by_the_relative_tolerance(slot: Slot, factor: float, ok: bool) -> None:  # noqa: FBT001 - a table column
    answers = np.frombuffer(slot.read("onnx-float32-golden"), np.float32) * np.float32(factor)
    found = proof(slot, "onnx-float32", answers.tobytes())
    assert found.ok is ok
    assert found.worst == pytest.approx(factor - 1, rel=0.01)
    assert found.margin == pytest.approx(1 - (factor - 1) / RELATIVE, abs=0.01)


def test_one_bad_sample_among_good_ones_is_seen(slot: Slot) -> None:
    """Each sample is measured against its own norm: a large one hides nothing of a small one."""
    answers = np.frombuffer(slot.read("onnx-float32-golden"), np.float32).reshape(-1, 3).copy()
    answers[2] *= 1.001
    assert not proof(slot, "onnx-float32", answers.tobytes()).ok


def loosened(slot: Slot, name: str, agreement: float = 1.0) -> Manifest:
    golden = slot.manifest.golden
    loose = replace(
        expected_for(golden, name), tolerance=RelativeTolerance(relative=1.0), agreement=agreement
    )
    others = tuple(e for e in golden.expected if e.variant != name)
    return replace(slot.manifest, golden=replace(golden, expected=(*others, loose)))


@pytest.mark.parametrize(("agreement", "ok"), [(1.0, False), (0.9, False), (5 / 6, True), (0.5, True)])
def test_another_winner_counts_even_within_the_tolerance(slot: Slot, agreement: float, ok: bool) -> None:  # noqa: FBT001 - a table column
    name = "onnx-float32"
    answers = np.frombuffer(slot.read(f"{name}-golden"), np.float32).reshape(-1, 3).copy()
    first, second = np.argsort(answers[0])[::-1][:2]
    answers[0, second] = answers[0, first] + 0.1
    variant, manifest = slot.manifest.variant(name), loosened(slot, name, agreement)
    with contextlib.closing(Model.open(manifest, variant, slot.files(name))) as model:
        found = prove(manifest, variant, model, SAMPLES, answers.tobytes())
    assert found.worst < 1
    assert found.agreement == pytest.approx(5 / 6)
    assert found.ok is ok
    assert ("agrees on 83.3%" in found.reason) is not ok


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["relative", "steps"])
def test_nan_and_infinity_never_pass_on_either_side(slot: Slot, bad: float, kind: str) -> None:
    variant = slot.manifest.variant("onnx-float32")
    steps, relative = StepTolerance(step=1.0, steps=255.0), RelativeTolerance(relative=1.0)
    limit = replace(
        expected_for(slot.manifest.golden, variant.id),
        tolerance=steps if kind == "steps" else relative,
        agreement=0.0,
    )
    good, spoiled = np.ones((2, 3), np.float32), np.ones((2, 3), np.float32)
    spoiled[1, 2] = bad
    assert judge(variant, limit, [good], [good]).ok
    for actual, wanted in ((spoiled, good), (good, spoiled), (spoiled, spoiled)):
        found = judge(variant, limit, [actual], [wanted])
        assert not found.ok
        assert found.worst == np.inf
        assert "NaN or infinity" in found.reason


def test_answers_of_the_length_of_another_number_of_samples_are_a_broken_bundle(slot: Slot) -> None:
    answers = slot.read("onnx-float32-golden")
    for blob in (answers[:-12], bytes(answers) + bytes(12), b""):
        with pytest.raises(BundleError, match="samples"):
            proof(slot, "onnx-float32", blob)


def test_an_expectation_of_nothing_but_zeros_is_met_by_zeros_alone(slot: Slot) -> None:
    variant = slot.manifest.variant("onnx-float32")
    limit = expected_for(slot.manifest.golden, variant.id)
    zeros = np.zeros((2, 3), np.float32)
    assert judge(variant, limit, [zeros], [zeros]).ok
    assert not judge(variant, limit, [zeros + np.float32(1e-6)], [zeros]).ok


def test_relative_errors_of_integers_are_those_of_the_real_values(slot: Slot) -> None:
    """Far from its zero point a stored number is large, whatever it stands for."""
    variant = slot.manifest.variant("tflite-int8")
    tensor = replace(variant.outputs[0], quantization=Quantization(scale=0.5, zero_point=-100))
    limit = Expected(variant=variant.id, blob="x", tolerance=RelativeTolerance(relative=0.2))
    wanted, actual = np.array([[-98, -100, -100]], np.int8), np.array([[-97, -100, -100]], np.int8)
    found = judge(replace(variant, outputs=(tensor,)), limit, [actual], [wanted])
    assert found.worst == pytest.approx(0.5)
    assert not found.ok


@pytest.mark.parametrize(
    ("worst", "limit", "margin"),
    [(0.0, 3.0, 1.0), (0.0, 0.0, 1.0), (1.0, 4.0, 0.75), (6.0, 3.0, -1.0), (1.0, 0.0, -np.inf)],
)
def test_margin_is_the_share_of_the_tolerance_that_is_left(worst: float, limit: float, margin: float) -> None:
    assert Proof(ok=True, variant="x", worst=worst, limit=limit).margin == margin


def test_golden_answers_are_stored_output_by_output(slot: Slot) -> None:
    """And little endian, whatever the machine is."""
    name = "onnx-float32"
    variant = slot.manifest.variant(name)
    with contextlib.closing(Model.open(slot.manifest, variant, slot.files(name))) as model:
        raw = expected_outputs(model, SAMPLES)
        rows = [model.outputs(sample)[0].copy() for sample in SAMPLES]
    np.testing.assert_array_equal(np.frombuffer(raw, "<f4").reshape(-1, 3), np.concatenate(rows))


def test_samples_are_read_as_the_manifest_says(slot: Slot) -> None:
    golden = slot.manifest.golden
    samples = golden_samples(golden, slot.read(golden.blob))
    np.testing.assert_array_equal(samples, SAMPLES)
    with pytest.raises(BundleError, match="383 bytes"):
        golden_samples(golden, bytes(383))


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
    assert tolerance(floating, b"") == RelativeTolerance(relative=RELATIVE)
    assert tolerance(replace(floating, precision="float16"), b"") == RelativeTolerance(relative=RELATIVE_HALF)
    assert tolerance(integer, b"") == StepTolerance(step=1.0, steps=STEPS)


def test_the_step_of_an_int8_model_with_float_outputs_is_found_in_its_answers(slot: Slot) -> None:
    quantized = replace(slot.manifest.variant("onnx-float32"), precision="int8")
    stored = np.random.default_rng(3).integers(-128, 128, (40, 3)).astype(np.float32)
    for scale in (0.0699577, 1e-3, 17.0):
        found = tolerance(quantized, (stored * np.float32(scale)).tobytes())
        assert isinstance(found, StepTolerance)
        assert found.step == pytest.approx(scale, rel=1e-4)
        assert found.steps == STEPS


@pytest.mark.parametrize("kind", ["rough", "one ulp apart", "constant"])
def test_answers_on_no_grid_get_a_relative_tolerance(slot: Slot, kind: str) -> None:
    quantized = replace(slot.manifest.variant("onnx-float32"), precision="int8")
    answers = {
        "rough": np.array([[0.1, 0.234, 0.71], [0.5, 0.61, 0.8]], np.float32),
        "one ulp apart": np.array([[1.0, np.nextafter(np.float32(1), np.float32(2)), 1.5]], np.float32),
        "constant": np.ones((2, 3), np.float32),
    }[kind]
    assert tolerance(quantized, answers.tobytes()) == RelativeTolerance(relative=RELATIVE_MIXED)
