"""Golden proofs of every task, from a bundle through a runtime to a perception."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from outrider_bundle.container import Bundle
from outrider_bundle.manifest import (
    ControlDecoder,
    Decoder,
    DetectionDecoder,
    Expected,
    File,
    RegressionDecoder,
    RelativeTolerance,
    SsdDecoder,
    StepTolerance,
    Tensor,
    Variant,
)
from outrider_bundle.slot import Slot, unpack
from outrider_runtime.perception import Anomaly, Control, Detections, Regression
from outrider_runtime.pipeline import Model
from outrider_runtime.proof import RELATIVE, Proof, judge, prove
from outrider_runtime.session import Array
from tests.fakes.provable import SAMPLES
from tests.fakes.tasks import TASKS, write_task

PERCEPTIONS = {
    "detection": Detections,
    "regression": Regression,
    "control": Control,
    "anomaly": Anomaly,
}


@pytest.fixture(params=TASKS)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Slot, Model]]:
    write_task(tmp_path / "task.orb", request.param)
    with Bundle.open(tmp_path / "task.orb") as bundle:
        slot = Slot.open(unpack(bundle, ["onnx"], tmp_path / "slots"))
    variant = slot.manifest.variant("onnx")
    with contextlib.closing(Model.open(slot.manifest, variant, slot.files("onnx"))) as model:
        yield slot, model


def proof(slot: Slot, model: Model, answers: bytes) -> Proof:
    return prove(slot.manifest, slot.manifest.variant("onnx"), model, SAMPLES, answers)


def test_a_bundle_reproduces_itself_and_perceives(opened: tuple[Slot, Model]) -> None:
    slot, model = opened
    found = proof(slot, model, slot.read("answers"))
    assert (found.ok, found.worst, found.agreement, found.reason) == (True, 0.0, 1.0, "")
    seen = [model.perceive(sample) for sample in SAMPLES]
    assert {type(one) for one in seen} == {PERCEPTIONS[slot.manifest.task]}
    assert len(set(map(str, seen))) > 1, "each sample says the same"


def test_answers_of_another_size_are_seen(opened: tuple[Slot, Model]) -> None:
    slot, model = opened
    answers = np.frombuffer(slot.read("answers"), np.float32)
    assert proof(slot, model, (answers * np.float32(1 + RELATIVE / 3)).tobytes()).ok
    assert not proof(slot, model, (answers * np.float32(1.01)).tobytes()).ok


def test_a_reconstruction_is_compared_with_the_frame(tmp_path: Path) -> None:
    write_task(tmp_path / "task.orb", "reconstruction")
    with Bundle.open(tmp_path / "task.orb") as bundle:
        slot = Slot.open(unpack(bundle, ["onnx"], tmp_path / "slots"))
    with contextlib.closing(
        Model.open(slot.manifest, slot.manifest.variant("onnx"), slot.files("onnx"))
    ) as model:
        for sample in SAMPLES:
            again = model.outputs(sample)[0].copy()
            seen = model.perceive(sample)
            assert isinstance(seen, Anomaly)
            assert seen.score == pytest.approx(float(((sample / 255 - again[0, 0]) ** 2).mean()), rel=1e-5)


# --- by hand --------------------------------------------------------------------------------------


def judged(
    decoder: Decoder,
    actual: list[Array],
    wanted: list[Array],
    agreement: float = 0.0,
    tolerance: RelativeTolerance | StepTolerance = RelativeTolerance(relative=RELATIVE),  # noqa: B008 - frozen
) -> Proof:
    outputs = tuple(
        Tensor(name=f"y{at}", shape=(1, *one.shape[1:]), dtype="float32") for at, one in enumerate(wanted)
    )
    variant = Variant(
        id="v",
        runtime="null",
        precision="float32",
        rank=0,
        files=(File(role="model", blob="m"),),
        inputs=(Tensor(name="x", shape=(1, 1, 8, 8), dtype="float32", layout="NCHW"),),
        outputs=outputs,
    )
    expected = Expected(variant="v", blob="x", tolerance=tolerance, agreement=agreement)
    return judge(variant, expected, actual, wanted, decoder)


SSD = SsdDecoder(labels=("cat", "dog"))


def told(*objects: tuple[float, float, float]) -> list[Array]:
    """Return one sample of four rows: each object is its left edge, its class and its score."""
    rows = [*objects, *[(0.0, 0.0, 0.0)] * (4 - len(objects))]
    boxes = [[left, 0.1, left + 0.2, 0.4] for left, _, _ in rows]
    parts = boxes, [one[1] for one in rows], [one[2] for one in rows], [len(objects)]
    boxes_, classes, scores, count = (np.array([part], np.float32) for part in parts)
    return [boxes_, classes, scores, count.reshape(1)]


def as_rows(outputs: list[Array]) -> list[Array]:
    boxes, classes, scores, count = outputs
    image = np.where(np.arange(4) < count[0], 0.0, -1.0)[np.newaxis, :, np.newaxis]
    rows = np.concatenate([image, classes[..., np.newaxis], scores[..., np.newaxis], boxes], axis=2)
    return [rows[:, np.newaxis].astype(np.float32)]


def as_end(outputs: list[Array]) -> list[Array]:
    boxes, classes, scores, _ = outputs
    return [np.concatenate([boxes * 300, scores[..., np.newaxis], classes[..., np.newaxis]], axis=2)]


FIRST, SECOND = (0.1, 0, 0.8), (0.5, 1, 0.79999)


@pytest.mark.parametrize("form", ["told", "rows", "end"])
@pytest.mark.parametrize(
    ("actual", "wanted", "ok", "unit"),
    [
        ([FIRST, SECOND], [FIRST, SECOND], True, ""),
        # Rounding may exchange two.
        ([(0.5, 1, 0.80001), FIRST], [FIRST, SECOND], True, ""),
        ([(0.1, 0, 0.85), SECOND], [FIRST, SECOND], False, "relative"),
        ([(0.11, 0, 0.8), SECOND], [FIRST, SECOND], False, "relative"),
        ([(0.1, 1, 0.8)], [FIRST], False, "classes"),
        ([FIRST], [FIRST, SECOND], False, ""),
        ([FIRST, SECOND], [FIRST], False, "relative"),
        ([(0.1, 1, 0.8), FIRST], [FIRST, (0.1, 1, 0.79999)], True, ""),
        # What nobody reads may be anywhere, and anything.
        ([FIRST, (0.7, 1, 0.1)], [FIRST, (0.3, 0, 0.1)], True, ""),
        ([FIRST, (0.7, 1, 0.1)], [FIRST, (0.3, 0, 0.2)], False, "relative"),
    ],
)
def test_objects_that_are_told_once_are_judged_by_what_is_read(
    actual: list[tuple[float, float, float]],
    wanted: list[tuple[float, float, float]],
    ok: bool,  # noqa: FBT001 - a table column
    unit: str,
    form: str,
) -> None:
    decoder, turn = {
        "told": (SSD, list[Array]),
        "rows": (replace(SSD, outputs=("rows",), box="xyxy"), as_rows),
        "end": (DetectionDecoder(labels=("cat", "dog"), layout="end"), as_end),
    }[form]
    found = judged(decoder, turn(told(*actual)), turn(told(*wanted)))
    assert found.ok is ok, found
    assert not unit or found.unit == unit
    assert found.agreement == 1.0


def test_steps_allow_no_other_class() -> None:
    """Classes are whole numbers, so that a tolerance made of the answers has steps of 1."""
    steps = StepTolerance(step=1.0, steps=3.0)
    found = judged(SSD, told((0.1, 1, 0.8)), told(FIRST), tolerance=steps)
    assert (found.ok, found.unit, found.worst) == (False, "classes", 1.0)
    assert "differs by 1 classes, allowed are 0" in found.reason


def test_nan_never_passes() -> None:
    for at in range(4):
        spoiled = told(FIRST)
        spoiled[at].reshape(-1)[-1] = np.nan
        for actual, wanted in ((spoiled, told(FIRST)), (told(FIRST), spoiled)):
            found = judged(SSD, actual, wanted)
            assert not found.ok
            assert "NaN or infinity" in found.reason


def test_scores_of_a_heap_of_boxes_are_judged_by_their_own_size() -> None:
    plan = SsdDecoder(outputs=("boxes", "scores"), labels=("cat", "dog"))
    source = np.random.default_rng(1)
    boxes, scores = (source.uniform(0, 1, shape).astype(np.float32) for shape in ((1, 50, 4), (1, 50, 2)))
    scores *= 1e-6  # noise: relative to itself nobody could reproduce it
    assert judged(plan, [boxes, scores * 2], [boxes, scores]).ok
    assert not judged(plan, [boxes, scores + np.float32(0.1)], [boxes, scores]).ok
    assert not judged(plan, [boxes + np.float32(0.01), scores], [boxes, scores]).ok


def test_a_measurement_near_zero_is_judged_by_those_of_other_samples() -> None:
    plan = RegressionDecoder(names=("angle",))
    wanted = np.array([[1.0], [1e-7], [-2.0]], np.float32)
    assert judged(plan, [wanted + np.float32(1e-6)], [wanted]).ok
    assert not judged(plan, [wanted + np.float32(1e-3)], [wanted]).ok


@pytest.mark.parametrize(("space", "ok", "agreement"), [("discrete", False, 0.0), ("continuous", True, 1.0)])
def test_only_discrete_actions_must_be_the_same(space: str, ok: bool, agreement: float) -> None:  # noqa: FBT001
    wanted, actual = np.array([[1.0, 1.00001]], np.float32), np.array([[1.00001, 1.0]], np.float32)
    plan = ControlDecoder(names=("a", "b"), space=space)  # type: ignore[arg-type]
    found = judged(plan, [actual], [wanted], agreement=1.0)
    assert (found.ok, found.agreement) == (ok, agreement)
