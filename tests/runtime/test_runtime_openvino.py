import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import Scalar
from outrider_runtime.runtimes import openvino
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
    assert placement.nodes == {"CPU": 2}, "a reshape and a product"
    assert (placement.asked, placement.share) == ("", 1.0)
    session.close()


def test_auto_finds_the_cpu_and_answers_the_same(tmp_path: Path) -> None:
    files, _ = openvino_files(tmp_path)
    image = np.random.default_rng(1).normal(size=(1, 1, 8, 8)).astype(np.float32)
    plain, auto = OpenvinoRuntime().load(files, {}), OpenvinoRuntime().load(files, {"device": "AUTO"})
    np.testing.assert_allclose(auto.run([image])[0], plain.run([image])[0], rtol=1e-5)
    assert "cpu" in auto.placement().device
    plain.close()
    auto.close()


@pytest.mark.parametrize(
    ("device", "asked"),
    [
        ("CPU", ""),
        ("AUTO", ""),
        ("AUTO:CPU", ""),
        ("AUTO:CPU,GPU", ""),
        ("GPU", "GPU"),
        ("GPU.1", "GPU.1"),
        ("AUTO:GPU,CPU", "GPU"),
        ("AUTO: GPU.1 , GPU.0 ", "GPU.1"),
    ],
)
def test_without_what_was_asked_there_is_the_cpu(device: str, asked: str) -> None:
    rest = (asked, {"device": "CPU"}) if asked else None
    assert OpenvinoRuntime().fallback({"device": device}) == rest


@dataclass
class Compiled:
    """What OpenVINO says where it has a GPU, which is not here."""

    devices: list[str]

    def get_property(self, name: str) -> list[str]:
        assert name == "EXECUTION_DEVICES"
        return self.devices


@pytest.mark.parametrize(
    ("devices", "asked", "backend", "share"),
    [
        (["GPU.0"], "GPU", "GPU.0", 1.0),
        (["GPU.1"], "GPU.1", "GPU.1", 1.0),
        (["CPU"], "GPU", "CPU", 0.0),
        (["(CPU)"], "GPU", "CPU", 0.0),
        (["GPU.0"], "GPU.1", "GPU.0", 0.0),
        (["GPU.0"], "", "GPU.0", 1.0),
    ],
)
def test_placement_is_the_device_that_executes(
    devices: list[str], asked: str, backend: str, share: float
) -> None:
    placement = openvino._placement(Compiled(devices), 5, 1, asked)
    assert (placement.backend, placement.nodes, placement.share) == (backend, {backend: 5}, share)


@pytest.mark.parametrize("device", ["CPU", "AUTO", "AUTO:CPU"])
def test_a_compiled_model_is_cached_and_answers_the_same(
    tmp_path: Path, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, _ = openvino_files(tmp_path)
    seen = []
    real = openvino.OpenvinoSession
    monkeypatch.setattr(
        openvino, "OpenvinoSession", lambda made, where: seen.append(made) or real(made, where)
    )
    image = np.random.default_rng(1).normal(size=(1, 1, 8, 8)).astype(np.float32)
    answers = []
    for cache in ("", str(tmp_path / "cache"), str(tmp_path / "cache")):
        session = OpenvinoRuntime().load(files, {"device": device, "cache": cache})
        answers.append(session.run([image])[0].tobytes())
        session.close()
    assert len(set(answers)) == 1
    assert [made.get_property("LOADED_FROM_CACHE") for made in seen] == [False, True, True]
    (entry,) = (tmp_path / "cache").iterdir()
    assert sorted(path.suffix for path in entry.iterdir()) == ["", ".blob"]


def test_a_damaged_or_unwritable_cache_costs_nothing_but_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files, _ = openvino_files(tmp_path)
    image = np.random.default_rng(1).normal(size=(1, 1, 8, 8)).astype(np.float32)
    (tmp_path / "file").touch()
    answers = []
    for at, folder in enumerate(["cache", "cache", "file/cache"]):
        session = OpenvinoRuntime().load(files, {"cache": str(tmp_path / folder)})
        answers.append(session.run([image])[0].tobytes())
        session.close()
        if not at:
            (blob,) = (tmp_path / "cache").glob("*/*.blob")
            content = bytearray(blob.read_bytes())
            content[len(content) // 2] ^= 255
            blob.chmod(0o600)
            blob.write_bytes(content)
    assert len(set(answers)) == 1
    assert "it is damaged" in caplog.text
    assert "Nothing is cached" in caplog.text


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
        ({"device": "AUTO:TPU,CPU"}, "is 'AUTO:TPU,CPU'. Give one of"),
        ({"device": "AUTO:"}, "is 'AUTO:'. Give one of"),
        ({"device": "CPU,GPU"}, "is 'CPU,GPU'. Give one of .*AUTO:GPU,CPU"),
        ({"device": "MULTI:CPU"}, "is 'MULTI:CPU'. Give one of"),
        ({"device": "AUTO:GPU.7,CPU"}, "no device 'GPU.7' here, but CPU.*Install its driver"),
        ({"device": "GPU.7"}, "no device 'GPU.7' here, but CPU.*Install its driver"),
        ({"precision": "f23"}, "'precision' .* is 'f23'. Give one of f32"),
        ({"precison": "f32"}, "Did you mean 'precision'?"),
    ],
)
def test_a_wrong_option_is_refused_with_the_cure(
    tmp_path: Path, options: dict[str, Scalar], said: str
) -> None:
    if "GPU.7" in str(options.get("device")) and "GPU" in str(ov.Core().available_devices):
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
