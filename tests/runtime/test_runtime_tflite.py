import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from outrider_bundle.errors import EngineError
from outrider_runtime.runtimes.tflite import TfliteRuntime, TfliteSession, _tensor
from tests.fakes.models import FIXTURES

FLOAT, INT8 = ({"model": FIXTURES / f"tiny-{kind}.tflite"} for kind in ("float32", "int8"))
IMAGES = np.random.default_rng(5).random((20, 1, 8, 8, 1), np.float32)


@pytest.fixture
def session() -> Iterator[TfliteSession]:
    loaded = TfliteRuntime().load(INT8, {})
    yield loaded
    loaded.close()


def test_quantization_is_read_from_the_file(session: TfliteSession) -> None:
    given, answer = session.inputs[0], session.outputs[0]
    assert (given.shape, given.dtype, answer.shape, answer.dtype) == ((1, 8, 8, 1), "int8", (1, 3), "int8")
    assert given.quantization is not None
    assert answer.quantization is not None
    # Calibrated on 0..1: a bit more than 1/255 a step, and 0 at the lower end.
    assert given.quantization.scale == pytest.approx(1 / 255, rel=0.02)
    assert given.quantization.zero_point == -128


def test_int8_computes_what_float_computes(session: TfliteSession) -> None:
    floating = TfliteRuntime().load(FLOAT, {})
    assert floating.inputs[0].dtype == floating.outputs[0].dtype == "float32"
    assert floating.inputs[0].quantization is None
    given, answer = session.inputs[0].quantization, session.outputs[0].quantization
    assert given is not None
    assert answer is not None
    for image in IMAGES:
        stored = np.clip(np.rint(image / given.scale + given.zero_point), -128, 127).astype(np.int8)
        wanted = np.clip(floating.run([image])[0] / answer.scale + answer.zero_point, -128, 127)
        # 16 of 255 steps: a wrong scale, zero point or tensor is off by more.
        np.testing.assert_allclose(session.run([stored])[0], wanted, atol=16)
    floating.close()


@pytest.mark.parametrize("files", [FLOAT, INT8])
def test_placement_tells_whether_xnnpack_took_the_model(files: dict[str, Path]) -> None:
    for xnnpack, backend in ((True, "XNNPACK"), (False, "CPU")):
        loaded = TfliteRuntime().load(files, {"xnnpack": xnnpack, "threads": 2})
        placement = loaded.placement()
        assert (placement.device, placement.backend, placement.threads) == ("cpu", backend, 2)
        loaded.close()


def test_both_kernels_agree_within_the_default_tolerance() -> None:
    with_it, without = (TfliteRuntime().load(INT8, {"xnnpack": choice}) for choice in (True, False))
    stored = (IMAGES * 255 - 128).astype(np.int8)
    for image in stored:
        gap = with_it.run([image])[0].astype(int) - without.run([image])[0]
        assert np.abs(gap).max() <= 2
    with_it.close()
    without.close()


def test_nothing_of_the_interpreter_is_given_away(session: TfliteSession) -> None:
    """A view that is kept makes the interpreter refuse to run."""
    kept = [session.run([np.zeros((1, 8, 8, 1), np.int8)]) for _ in range(3)]
    assert all(array.flags.owndata for arrays in kept for array in arrays)


@pytest.mark.parametrize("files", [{}, {"graph": INT8["model"]}, {**INT8, "weights": INT8["model"]}])
def test_files_of_other_roles_are_refused(files: dict[str, Path]) -> None:
    with pytest.raises(EngineError, match="role 'model'"):
        TfliteRuntime().load(files, {})


def test_a_folder_or_another_file_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="does not load"):
        TfliteRuntime().load({"model": tmp_path}, {})
    fake = tmp_path / "fake"
    fake.write_bytes(b"\x1c\0\0\0TFL3" + bytes(3000))
    with pytest.raises(EngineError, match="does not load fake"):
        TfliteRuntime().load({"model": fake}, {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape_signature": np.array([-1, 4])}, "dynamic"),
        ({"dtype": np.complex64}, "plain dtype"),
        ({"shape": np.array([], int), "shape_signature": np.array([], int)}, "dynamic"),
        ({"quantization_parameters": {"scales": [0.1, 0.2], "zero_points": [0, 0]}}, "per channel"),
    ],
)
def test_tensors_that_a_device_cannot_use_are_refused(change: dict[str, object], message: str) -> None:
    details = {
        "name": "x",
        "shape": np.array([1, 4]),
        "shape_signature": np.array([1, 4]),
        "dtype": np.int8,
        "quantization_parameters": {"scales": np.array([0.5], np.float32), "zero_points": np.array([3])},
    }
    assert _tensor(details).quantization is not None
    with pytest.raises(EngineError, match=message):
        _tensor({**details, **change})


FIND = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in sys.argv[1:]:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)

sys.meta_path.insert(0, Absent())
from outrider_runtime.loading import runtime

try:
    runtime("tflite")
except Exception as error:
    print(type(error).__name__, error)
"""


def said(path: Path, *absent: str) -> str:
    """Return what is said where `absent` are not installed and `path` is looked through first."""
    env = {**os.environ, "PYTHONPATH": str(path)}
    command = [sys.executable, "-c", FIND, *absent]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout


def test_no_library_is_one_error_with_its_pip_line(tmp_path: Path) -> None:
    error = said(tmp_path, "ai_edge_litert", "tflite_runtime")
    assert error.startswith("MissingExtraError 'tflite' needs ai_edge_litert, which is not installed.")
    assert "pip install 'outrider[tflite]'" in error


@pytest.mark.skipif(np.__version__.startswith("1."), reason="this numpy suits the older library")
def test_the_older_library_is_refused_where_it_would_fail_later(tmp_path: Path) -> None:
    """As compiled it imports with numpy 2, and ends in a SystemError at the first call."""
    (tmp_path / "tflite_runtime").mkdir()
    (tmp_path / "tflite_runtime" / "interpreter.py").touch()
    error = said(tmp_path, "ai_edge_litert")
    assert error.startswith(f"EngineError tflite_runtime does not work with numpy {np.__version__}")
