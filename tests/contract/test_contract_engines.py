"""What both engines do alike: in this process (`inline`) and in one of its own (`child`)."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from msgspec.structs import replace

from outrider_agent.engine import child, inline
from outrider_agent.engine.seam import Answer, Engine, GoneError, Plan, SharedError
from outrider_bundle.errors import EngineError, MissingExtraError, OutriderError, UsageError
from outrider_runtime.loading import load_variant
from outrider_runtime.placing import PlacementError
from outrider_runtime.session import Array, Session
from tests.fakes import faulty_runtime, plans
from tests.fakes.faulty_runtime import tell
from tests.fakes.models import Sample, null_files, onnx_files, tflite_files

Start = Callable[[Plan], Engine]
STARTS: dict[str, Start] = {"inline": inline.start, "child": child.start}
MODELS: dict[str, Callable[[Path], Sample]] = {
    "null": null_files,
    "onnx": onnx_files,
    "tflite": tflite_files,
}
PATIENCE_S = 20.0


@pytest.fixture(params=STARTS)
def start(request: pytest.FixtureRequest) -> Iterator[Start]:
    """Return what starts an engine; it is closed at the end."""
    engines: list[Engine] = []

    def started(plan: Plan) -> Engine:
        engines.append(STARTS[request.param](plan))
        return engines[-1]

    yield started
    for engine in engines:
        engine.close()


@pytest.fixture(params=MODELS)
def plan(request: pytest.FixtureRequest, tmp_path: Path) -> Plan:
    return plans.plan(request.param, *MODELS[request.param](tmp_path))


@pytest.fixture
def engine(start: Start, plan: Plan) -> Engine:
    return start(plan)


@pytest.fixture
def session(plan: Plan) -> Iterator[Session]:
    loaded = load_variant(plan.variant, plan.files)
    yield loaded
    loaded.close()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder for plans of the faulty runtime, which is installed."""
    faulty_runtime.use(monkeypatch, tmp_path / "site")
    return tmp_path / "faulty"


def fill(arrays: object, seed: int) -> None:
    random = np.random.default_rng(seed)
    for array in arrays:  # type: ignore[attr-defined]
        floating = array.dtype.kind == "f"
        array[...] = random.random(array.shape) if floating else random.integers(0, 100, array.shape)


def answer(engine: Engine, seq: int, seed: int = 0) -> Answer:
    fill(engine.slot(), seed)
    engine.submit(seq)
    found = engine.collect(PATIENCE_S)
    assert found is not None
    return found


def test_slots_are_what_the_manifest_says_and_may_be_written(engine: Engine, plan: Plan) -> None:
    assert isinstance(engine, Engine)
    arrays = engine.slot()
    assert len(arrays) == len(plan.variant.inputs)
    for array, tensor in zip(arrays, plan.variant.inputs, strict=True):
        assert (array.shape, array.dtype.name) == (tensor.shape, tensor.dtype)
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert array.ctypes.data % 16 == 0


def test_it_answers_what_its_session_answers(engine: Engine, session: Session) -> None:
    for seed in range(5):
        found = answer(engine, seq=100 + seed, seed=seed)
        assert (found.seq, found.late) == (100 + seed, False)
        assert found.took_ns > 0
        inputs = [array.copy() for array in engine.slot()]
        fill(inputs, seed)
        for mine, theirs in zip(found.outputs, session.run(inputs), strict=True):
            assert (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype)
            np.testing.assert_array_equal(mine, theirs)


def test_many_frames_go_through_the_same_memory(engine: Engine) -> None:
    inputs, outputs = set[tuple[int, ...]](), set[tuple[int, ...]]()
    for seq in range(300):
        arrays = engine.slot()
        fill(arrays, seq % 3)
        engine.submit(seq)
        found = engine.collect(PATIENCE_S)
        assert found is not None
        assert found.seq == seq
        inputs.add(tuple(map(id, arrays)))
        outputs.add(tuple(map(id, found.outputs)))
    assert len(inputs) == len(outputs) == 1


def test_a_number_may_come_again(engine: Engine) -> None:
    assert [answer(engine, seq=7).seq for _ in range(3)] == [7, 7, 7]


def test_without_a_run_there_is_no_answer_and_a_run_has_one(engine: Engine) -> None:
    assert engine.collect(PATIENCE_S) is None
    answer(engine, seq=0)
    assert engine.collect(PATIENCE_S) is None
    assert engine.collect(0.0) is None


def test_without_a_deadline_it_can_be_asked_again_and_again(engine: Engine) -> None:
    fill(engine.slot(), 1)
    engine.submit(3)
    end_s = time.monotonic() + PATIENCE_S
    while (found := engine.collect(0.0)) is None:
        assert time.monotonic() < end_s
    assert (found.seq, found.late) == (3, False)


def test_outputs_stay_until_the_next_slot(engine: Engine) -> None:
    found = answer(engine, seq=0, seed=1)
    kept = [array.copy() for array in found.outputs]
    assert engine.collect(0.0) is None
    for array, copy in zip(found.outputs, kept, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_pixels_are_resized_straight_into_a_slot(engine: Engine, session: Session) -> None:
    (array,) = engine.slot()
    image = np.random.default_rng(0).integers(0, 100, (16, 16)).astype(array.dtype)
    view: Array = array.reshape(8, 8)
    written = cv2.resize(image, (8, 8), dst=view, interpolation=cv2.INTER_NEAREST)
    assert written.ctypes.data == array.ctypes.data
    engine.submit(0)
    found = engine.collect(PATIENCE_S)
    assert found is not None
    expected = cv2.resize(image, (8, 8), interpolation=cv2.INTER_NEAREST).reshape(array.shape)
    np.testing.assert_array_equal(found.outputs[0], session.run([np.ascontiguousarray(expected)])[0])


def test_it_tells_where_it_runs(engine: Engine, session: Session) -> None:
    assert engine.placement == session.placement()
    assert not engine.exclusive
    os.kill(engine.pid, 0)


def test_closing_twice_is_closing_once(engine: Engine) -> None:
    answer(engine, seq=0)
    engine.close()
    engine.close()


@pytest.mark.parametrize("fault", ["raise", "refuse"])
def test_a_failed_run_is_an_error_and_the_next_may_work(start: Start, site: Path, fault: str) -> None:
    engine = start(plans.faulty(site))
    answer(engine, seq=0)
    tell(site / "trigger", fault)
    for _ in range(3):
        fill(engine.slot(), 0)
        engine.submit(1)
        with pytest.raises(EngineError, match=r"gave up|driver says no") as caught:
            engine.collect(PATIENCE_S)
        assert not isinstance(caught.value, GoneError)
        assert engine.collect(0.0) is None
    tell(site / "trigger", "")
    assert answer(engine, seq=2).seq == 2


def test_what_is_late_says_so_and_never_passes_for_another(start: Start, site: Path) -> None:
    engine = start(plans.faulty(site, given={"slow_s": 0.5}, hang_s=PATIENCE_S))
    values = [int(answer(engine, seq=seed, seed=seed).outputs[0].argmax()) for seed in range(3)]
    assert values[1] != values[2]
    tell(site / "trigger", "slow")
    fill(engine.slot(), 1)
    engine.submit(11)
    begun_s = time.monotonic()
    late = engine.collect(0.05)
    assert late is None or late.late
    assert late is not None or time.monotonic() - begun_s < 0.45
    tell(site / "trigger", "")
    found = answer(engine, seq=12, seed=2)
    assert (found.seq, int(found.outputs[0].argmax())) == (12, values[2])
    assert answer(engine, seq=13, seed=1).outputs[0].argmax() == values[1]


def test_a_model_that_holds_its_device_alone_is_not_loaded_beside_another(start: Start, site: Path) -> None:
    plan = plans.faulty(site, "faulty-exclusive", alone=False)
    tell(site / "trigger", "load-exit")  # it must not come that far
    with pytest.raises(SharedError, match="faulty-exclusive holds its device alone"):
        start(plan)
    tell(site / "trigger", "")
    assert start(plans.faulty(site, "faulty-exclusive")).exclusive


def refused(start: Start, plan: Plan) -> OutriderError:
    with pytest.raises(OutriderError) as caught:
        start(plan)
    assert "\n" not in str(caught.value)
    return caught.value


def test_what_cannot_be_loaded_is_the_same_error_in_both(start: Start, site: Path) -> None:
    plan = plans.faulty(site)
    cases: dict[str, tuple[type[OutriderError], str]] = {
        "load-refuse": (EngineError, "The delegate refuses the model. Convert it again."),
        "load-raise": (
            EngineError,
            "The runtime faulty failed to load: RuntimeError('the driver says no')",
        ),
        "load-missing": (
            MissingExtraError,
            "'faulty' needs nonesuch, which is not installed. Install it: pip install 'outrider[faulty]'.",
        ),
        "load-shape": (EngineError, "The output of the file is"),
    }
    for fault, (kind, words) in cases.items():
        tell(site / "trigger", fault)
        error = refused(start, plan)
        assert type(error) is kind
        assert str(error).startswith(words)


def test_an_unknown_runtime_option_or_file_is_an_error_in_both(start: Start, tmp_path: Path) -> None:
    files, options = onnx_files(tmp_path)
    plan = plans.plan("onnx", files, options)
    variant = plan.variant
    unknown = replace(variant, runtime="nope")
    assert type(refused(start, Plan(variant=unknown, files=files))) is UsageError
    error = refused(start, Plan(variant=variant, files=files, options={"thread": 2}))
    assert (type(error), error.cure) == (EngineError, "Did you mean 'threads'?")
    files["graph"].unlink()
    assert type(refused(start, plan)) is EngineError


def test_a_policy_decides_what_happens_where_nodes_stay_behind(start: Start, site: Path) -> None:
    half = {"device": "NPU", "half": True}
    error = refused(start, plans.faulty(site, given=half, policy="require"))
    assert type(error) is PlacementError
    assert "1 of 2 nodes run on NPU" in str(error)
    placement = start(plans.faulty(site, given=half, policy="prefer")).placement
    assert (placement.asked, placement.share) == ("NPU", 0.5)
    assert "1 of 2" in placement.reason
    whole = start(plans.faulty(site, given={"device": "NPU"}, policy="require")).placement
    assert (whole.backend, whole.share, whole.reason) == ("NPU", 1.0, "")


def test_a_device_that_is_gone_is_done_without_if_that_is_allowed(start: Start, site: Path) -> None:
    gone = site / "gone"
    given = {"device": "NPU", "gone": str(gone)}
    plan, must = (plans.faulty(site, given=given, policy=policy) for policy in ("prefer", "require"))
    gone.touch()
    engine = start(plan)
    assert (engine.placement.backend, engine.placement.asked, engine.placement.share) == ("CPU", "NPU", 0.0)
    assert "NPU cannot be opened" in engine.placement.reason
    assert answer(engine, seq=1).seq == 1
    assert refused(start, must).cure == "Plug it in again"
