"""Mounting: where a variant is loaded, what it is told, and that it is proven by the way that frames take."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from outrider_agent.admission import Admitted
from outrider_agent.config import Engine
from outrider_agent.engine.mount import Mounted, mount, options
from outrider_agent.engine.seam import SharedError
from outrider_bundle.errors import EngineError, MissingExtraError, ProofError
from tests.fakes import faulty_runtime, keepers, null_bundle
from tests.fakes.children import living
from tests.fakes.faulty_runtime import tell
from tests.fakes.keepers import INLINE, TABLE, children

AUTO = replace(TABLE, isolation="auto")


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faulty_runtime.use(monkeypatch, tmp_path / "site")


@pytest.fixture
def trigger(tmp_path: Path) -> Path:
    return tmp_path / "trigger"


@pytest.fixture
def none_left() -> Iterator[None]:
    """Check that no engine is left behind."""
    before = children()
    yield
    assert not {pid for pid in children() - before if living(pid)}


def mounted(model: Admitted, table: Engine = TABLE, *, alone: bool = True) -> Mounted:
    return mount(model, model.variants[0], table, model.slot.path, alone=alone, polite=False)


@pytest.mark.usefixtures("none_left")
@pytest.mark.parametrize("table", [TABLE, INLINE])
def test_a_mounted_variant_has_answered_its_golden_vectors_and_answers_more(
    tmp_path: Path, table: Engine
) -> None:
    found = mounted(keepers.bundle(tmp_path, table=table), table)
    assert found.isolation == table.isolation
    assert (found.engine.pid == os.getpid()) is (table.isolation == "inline")
    assert len(found.times_s) == len(null_bundle.SAMPLES)
    perceived = [found.ports.decode(found.outputs(image)).labels for image in null_bundle.SAMPLES]
    assert perceived == [(null_bundle.label_of(image),) for image in null_bundle.SAMPLES]
    found.close()
    found.close()


@pytest.mark.usefixtures("none_left")
@pytest.mark.parametrize("table", [TABLE, INLINE])
def test_one_that_computes_wrong_is_refused(tmp_path: Path, table: Engine) -> None:
    with pytest.raises(ProofError, match="differs by"):
        mounted(keepers.bundle(tmp_path, wrong=["null-a"]), table)


@pytest.mark.usefixtures("none_left")
@pytest.mark.parametrize(
    ("fault", "error", "why"),
    [
        ("segfault", EngineError, "SIGSEGV"),
        ("raise", EngineError, "the driver says no"),
        ("hang", EngineError, "no answer to a golden vector within 1.5 s"),
        ("nan", ProofError, "NaN"),
        ("load-refuse", EngineError, "refuses the model"),
        ("load-missing", MissingExtraError, "nonesuch"),
        ("load-segfault", EngineError, "SIGSEGV"),
    ],
)
def test_one_that_fails_in_its_proof_may_work_later_and_one_that_answers_wrong_will_not(
    tmp_path: Path, trigger: Path, fault: str, error: type[EngineError], why: str
) -> None:
    model = keepers.bundle(tmp_path, keepers.faulty("a", 0, trigger))
    tell(trigger, fault)
    table = replace(TABLE, load_s=1.5) if fault == "hang" else TABLE
    begun_s = time.monotonic()
    with pytest.raises(error, match=why) as caught:
        mounted(model, table)
    assert type(caught.value) is error or not isinstance(caught.value, ProofError)
    assert time.monotonic() - begun_s < 5.0


@pytest.mark.usefixtures("none_left")
def test_auto_keeps_what_is_fast_on_a_cpu_in_this_process_and_the_rest_out(
    tmp_path: Path, trigger: Path
) -> None:
    fast = mounted(keepers.bundle(tmp_path / "fast"), AUTO)
    assert fast.isolation == "inline"
    fast.close()
    tell(trigger, "slow")
    slow = mounted(keepers.bundle(tmp_path / "slow", keepers.faulty("a", 0, trigger, slow_s=0.002)), AUTO)
    assert slow.isolation == "child"
    slow.close()
    tell(trigger, "")
    device = mounted(keepers.bundle(tmp_path / "npu", keepers.faulty("a", 0, trigger, device="NPU")), AUTO)
    assert device.isolation == "child"
    device.close()


@pytest.mark.usefixtures("none_left")
@pytest.mark.parametrize("table", [TABLE, INLINE])
def test_an_exclusive_runtime_is_not_loaded_beside_another(tmp_path: Path, table: Engine) -> None:
    model = keepers.bundle(tmp_path, keepers.faulty("a", 0, runtime="faulty-exclusive"))
    with pytest.raises(SharedError, match="holds its device alone"):
        mounted(model, table, alone=False)
    found = mounted(model, table)
    assert found.engine.exclusive
    found.close()


def test_options_are_those_of_the_runtime_and_win_over_threads(tmp_path: Path) -> None:
    table = Engine(threads=3, options={"null": {"output": "1,9"}, "onnx": {"threads": 1}})
    assert options(null_bundle.variant("a", 0), table, tmp_path) == {"threads": 3, "output": "1,9"}
    assert options(null_bundle.variant("a", 0, "onnx"), table, tmp_path)["threads"] == 1
    assert options(null_bundle.variant("a", 0, "tflite"), Engine(), tmp_path) == {}
