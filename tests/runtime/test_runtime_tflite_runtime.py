"""The older library `tflite_runtime`, in an environment of its own that has no LiteRT."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from outrider_agent.engine import child
from outrider_agent.engine.seam import GoneError, Plan
from outrider_bundle.errors import EngineError
from outrider_runtime.loading import load_variant
from tests.fakes import delegates, plans, venvs
from tests.fakes.models import FIXTURES
from tests.fakes.provable import write_provable

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),  # the environment is made by the first test
    pytest.mark.skipif(not venvs.has_tflite_runtime(), reason="tflite_runtime has no wheel for this Python"),
]
ROOT = Path(__file__).parents[2]
IMAGES = np.random.default_rng(3).random((10, 1, 8, 8, 1), np.float32)
CONTRACT = "tests/contract/test_contract_runtimes.py"


@pytest.fixture(scope="module")
def python() -> Path:
    return venvs.tflite_runtime()


@pytest.fixture
def plan(python: Path, tmp_path: Path) -> Plan:
    made = plans.plan("tflite", {"model": delegates.mixed(tmp_path)}, {})
    return replace(made, python=str(python))


def run(python: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(python), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_it_is_the_older_library(python: Path) -> None:
    done = run(python, "-c", "from outrider_runtime.runtimes import tflite; print(tflite.lite.__name__)")
    assert done.stdout == "tflite_runtime.interpreter\n", done.stderr


def test_it_keeps_the_contract_of_runtimes(python: Path) -> None:
    """All but two: a truncated file crashes it, for it verifies none, and its XNNPACK takes no int8."""
    suite = ["-m", "pytest", "-q", "-p", "no:cacheprovider", CONTRACT, "tests/runtime/test_runtime_tflite.py"]
    but = "not broken_file and not whether_xnnpack"
    done = run(python, *suite, "-k", f"tflite and {but}")
    assert done.returncode == 0, done.stdout
    assert int(done.stdout.splitlines()[-1].split(" passed")[0]) > 30


def test_it_proves_what_litert_answered(python: Path, tmp_path: Path) -> None:
    write_provable(tmp_path / "tiny.orb")
    outrider = python.with_name("outrider")
    done = run(outrider, "prove", tmp_path / "tiny.orb", "--variant", "tflite-int8", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tflite-int8" in json.dumps(json.loads(done.stdout))


def test_it_is_an_engine_by_another_interpreter(plan: Plan) -> None:
    session, engine = load_variant(plan.variant, plan.files), child.start(plan)
    assert engine.placement == session.placement()
    for seq, image in enumerate(IMAGES):
        np.copyto(engine.slot()[0], image)
        engine.submit(seq)
        answer = engine.collect(10)
        assert answer is not None
        np.testing.assert_allclose(answer.outputs[0], session.run([image])[0], atol=1e-6)
    assert "tflite_runtime" in Path(f"/proc/{engine.pid}/maps").read_text()
    engine.close()
    session.close()


def test_its_delegates_are_told_of_alike(plan: Plan) -> None:
    library = delegates.build()
    engine = child.start(replace(plan, options=delegates.options(library)))
    rest = delegates.NODES - delegates.TAKEN
    assert engine.placement.nodes == {delegates.NAME: delegates.TAKEN, "XNNPACK": rest}
    engine.close()
    with pytest.raises(EngineError, match="finds no device"):
        child.start(replace(plan, options=delegates.options(library, device="absent"), policy="require"))


def test_a_delegate_that_crashes_ends_the_engine_alone(plan: Plan) -> None:
    options = delegates.options(delegates.build(), fault="segfault", after=1)
    engine = child.start(replace(plan, options=options))
    engine.slot()
    engine.submit(0)
    assert engine.collect(10) is not None
    engine.slot()
    engine.submit(1)
    with pytest.raises(GoneError, match="SIGSEGV"):
        engine.collect(10)
    engine.close()


def test_a_truncated_file_ends_the_engine_alone(plan: Plan, tmp_path: Path) -> None:
    whole = (FIXTURES / "tiny-int8.tflite").read_bytes()
    (tmp_path / "half").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EngineError, match="SIGSEGV"):
        child.start(replace(plan, files={"model": tmp_path / "half"}))
