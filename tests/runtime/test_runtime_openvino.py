import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import Scalar
from outrider_runtime.runtimes.openvino import DTYPES, OpenvinoRuntime
from outrider_runtime.untracked import openvino as ov
from tests.fakes.models import openvino_files

ops = ov.opset13


def save(folder: Path, kind: str, shape: list[int]) -> dict[str, Path]:
    """Write a network that answers its input."""
    entry = ops.parameter(shape, getattr(ov.Type, kind), name="x")
    entry.output(0).set_names({"x"})
    result = ops.reshape(entry, np.array([0, -1]), special_zero=True)
    result.output(0).set_names({"y"})
    ov.save_model(ov.Model([result], [entry]), folder / "model.xml", compress_to_fp16=False)
    return {"model": folder / "model.xml", "weights": folder / "model.bin"}


def test_it_says_where_it_runs_and_on_how_many_threads(tmp_path: Path) -> None:
    session = OpenvinoRuntime().load(openvino_files(tmp_path)[0], {"threads": 2})
    placement = session.placement()
    assert (placement.device, placement.backend, placement.threads) == ("cpu", "CPU", 2)
    session.close()


def test_auto_finds_the_cpu_and_answers_the_same(tmp_path: Path) -> None:
    files, _ = openvino_files(tmp_path)
    image = np.random.default_rng(1).normal(size=(1, 1, 8, 8)).astype(np.float32)
    plain, auto = OpenvinoRuntime().load(files, {}), OpenvinoRuntime().load(files, {"device": "AUTO"})
    np.testing.assert_allclose(auto.run([image])[0], plain.run([image])[0], rtol=1e-5)
    assert "cpu" in auto.placement().device
    plain.close()
    auto.close()


def test_it_computes_in_float32_whatever_the_cpu_prefers(tmp_path: Path) -> None:
    files, _ = openvino_files(tmp_path)
    session = OpenvinoRuntime().load(files, {})
    image = np.random.default_rng(1).normal(size=(1, 1, 8, 8)).astype(np.float32)
    weights = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)  # as `openvino_files` has them
    np.testing.assert_allclose(session.run([image])[0], image.reshape(1, 64) @ weights, rtol=1e-4, atol=1e-5)
    session.close()


@pytest.mark.parametrize(("kind", "dtype"), sorted(DTYPES.items()))
def test_every_dtype_goes_through_unchanged(tmp_path: Path, kind: str, dtype: str) -> None:
    session = OpenvinoRuntime().load(save(tmp_path, kind, [1, 4]), {})
    assert session.inputs[0].dtype == session.outputs[0].dtype == dtype
    given = np.array([[0, 1, 1, 0]], dtype)
    np.testing.assert_array_equal(session.run([given])[0], given)
    session.close()


def test_tensors_of_no_plain_dtype_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="The tensor 'x' is u32"):
        OpenvinoRuntime().load(save(tmp_path, "u32", [1, 4]), {})


def test_dynamic_shapes_are_refused_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"'x' has the dynamic shape .*batch 1"):
        OpenvinoRuntime().load(save(tmp_path, "f32", [-1, 4]), {})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"device": "TPU"}, "'device' .* is 'TPU'. Give one of CPU, GPU, AUTO"),
        ({"device": "GPU.7"}, "no device 'GPU.7' here, but CPU.*Install its driver"),
        ({"precision": "f23"}, "'precision' .* is 'f23'. Give one of f32"),
        ({"precison": "f32"}, "Did you mean 'precision'?"),
    ],
)
def test_a_wrong_option_is_refused_with_the_cure(
    tmp_path: Path, options: dict[str, Scalar], said: str
) -> None:
    if options.get("device") == "GPU.7" and "GPU" in str(ov.Core().available_devices):
        pytest.skip("this machine has a GPU")
    with pytest.raises(EngineError, match=said):
        OpenvinoRuntime().load(openvino_files(tmp_path)[0], options)


def test_other_roles_are_refused(tmp_path: Path) -> None:
    files, _ = openvino_files(tmp_path)
    with pytest.raises(EngineError, match=r"has the files model.*Give 'model' and 'weights'"):
        OpenvinoRuntime().load({"model": files["model"]}, {})


@pytest.mark.parametrize("size", [0, 100])
def test_weights_that_are_cut_off_are_one_error(tmp_path: Path, size: int) -> None:
    files, _ = openvino_files(tmp_path)
    files["weights"].write_bytes(files["weights"].read_bytes()[:size])
    with pytest.raises(EngineError, match="OpenVINO does not load tiny-model on CPU") as raised:
        OpenvinoRuntime().load(files, {})
    assert "Exception from" not in str(raised.value)


WATCH = """
import sys
from pathlib import Path

calls = []
sys.addaudithook(lambda event, given: calls.append(event) if event.startswith("socket.") else None)
from outrider_runtime.runtimes import openvino
openvino.ov.convert_model(sys.argv[1])
print([name for name in sys.modules if name.startswith("openvino_telemetry.")], calls)
"""


def test_it_reports_to_nobody(tmp_path: Path) -> None:
    """OpenVINO reports each import, and leaves an id in the home folder, unless it is kept from it."""
    from tests.fakes.models import dynamic_onnx  # noqa: PLC0415

    home = tmp_path / "home"
    home.mkdir()
    command = [sys.executable, "-c", WATCH, str(dynamic_onnx(tmp_path))]
    done = subprocess.run(command, env={"HOME": str(home)}, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] []"
    assert not list(home.iterdir())
