import gc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from outrider_bundle.errors import EngineError
from outrider_runtime.runtimes.onnx import CPU, MAX_BINDINGS, OnnxRuntime, OnnxSession
from tests.fakes.models import dynamic_onnx, onnx_files

AZURE = "AzureExecutionProvider"
OTHER = pytest.mark.skipif(
    AZURE not in onnxruntime.get_available_providers(), reason="this build has no second provider"
)


def save(path: Path, kind: int, shape: list[Any], operator: str = "Identity", count: int = 1) -> Path:
    """Write a graph of `count` equal inputs and outputs with an operator between."""
    names = [(f"x{at}", f"y{at}") for at in range(count)]
    graph = helper.make_graph(
        [helper.make_node(operator, [x], [y]) for x, y in names],
        "g",
        [helper.make_tensor_value_info(x, kind, shape) for x, _ in names],
        [helper.make_tensor_value_info(y, kind, shape) for _, y in names],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))
    return path


@pytest.fixture
def session(tmp_path: Path) -> Iterator[OnnxSession]:
    loaded = OnnxRuntime().load(onnx_files(tmp_path)[0], {})
    yield loaded
    loaded.close()


def image(value: float = 1.0) -> np.ndarray:
    return np.full((1, 1, 8, 8), value, np.float32)


def scores() -> np.ndarray:
    return np.empty((1, 3), np.float32)


def test_it_says_where_every_node_runs_and_on_how_many_threads(session: OnnxSession) -> None:
    placement = session.placement()
    assert (placement.device, placement.backend, placement.threads) == ("cpu", CPU, 1)
    assert placement.nodes == {CPU: 2}


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        (TensorProto.BOOL, "bool"),
        (TensorProto.UINT8, "uint8"),
        (TensorProto.INT8, "int8"),
        (TensorProto.INT16, "int16"),
        (TensorProto.INT32, "int32"),
        (TensorProto.INT64, "int64"),
        (TensorProto.FLOAT16, "float16"),
        (TensorProto.FLOAT, "float32"),
        (TensorProto.DOUBLE, "float64"),
    ],
)
def test_every_dtype_goes_through_unchanged(tmp_path: Path, kind: int, dtype: str) -> None:
    session = OnnxRuntime().load({"graph": save(tmp_path / "g", kind, [1, 4])}, {})
    assert session.inputs[0].dtype == session.outputs[0].dtype == dtype
    given = np.array([[0, 1, 1, 0]], dtype)
    out = np.zeros((1, 4), dtype)
    session.run([given], [out])
    np.testing.assert_array_equal(out, given)
    np.testing.assert_array_equal(session.run([given])[0], given)
    session.close()


def test_tensors_of_no_plain_dtype_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"tensor\(string\).*plain dtype"):
        OnnxRuntime().load({"graph": save(tmp_path / "g", TensorProto.STRING, [1, 4])}, {})


def test_a_dynamic_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="dynamic"):
        OnnxRuntime().load({"graph": dynamic_onnx(tmp_path)}, {})


def test_inputs_and_outputs_are_bound_by_name_in_file_order(tmp_path: Path) -> None:
    session = OnnxRuntime().load({"graph": save(tmp_path / "g", TensorProto.FLOAT, [1, 4], count=3)}, {})
    assert [tensor.name for tensor in session.inputs] == ["x0", "x1", "x2"]
    given = [np.full((1, 4), at, np.float32) for at in range(3)]
    out = [np.empty((1, 4), np.float32) for _ in range(3)]
    for _ in range(2):
        session.run(given, out)
        assert [array[0, 0] for array in out] == [0, 1, 2]
    session.run(given[::-1], out)
    assert [array[0, 0] for array in out] == [2, 1, 0]
    session.close()


def test_arrays_that_come_again_are_bound_once(session: OnnxSession, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    bind = session._bind
    monkeypatch.setattr(session, "_bind", lambda *arrays: made.append(1) or bind(*arrays))
    slots = [(image(at), scores()) for at in range(4)]
    for _ in range(5):
        for given, out in slots:
            session.run([given], [out])
            np.testing.assert_array_equal(out, session.run([given])[0])
    assert len(made) == len(slots)


def test_a_dead_array_takes_its_binding_with_it(session: OnnxSession) -> None:
    """Memory and ids are given again at once, so that a stale binding would read or write elsewhere."""
    wanted = session.run([image(3)])[0]
    for _ in range(200):
        given, out = image(3), scores()
        session.run([given], [out])
        np.testing.assert_array_equal(out, wanted)
        other = scores()
        other.fill(-1)
        del given
        gc.collect(0)
        session.run([image(3)], [out])
        np.testing.assert_array_equal(out, wanted)
        assert (other == -1).all()
    assert len(session._bindings) <= MAX_BINDINGS


def test_numpy_does_not_move_the_memory_of_a_bound_array(session: OnnxSession) -> None:
    given, out = image(), scores()
    session.run([given], [out])
    with pytest.raises(ValueError, match="resize"):
        out.resize((1000, 1000))


def test_bindings_are_bounded(session: OnnxSession) -> None:
    alive = [(image(), scores()) for _ in range(3 * MAX_BINDINGS)]
    for given, out in alive:
        session.run([given], [out])
    assert len(session._bindings) <= MAX_BINDINGS


def test_a_failure_while_running_is_one_error_and_not_the_end(tmp_path: Path) -> None:
    table = helper.make_tensor("table", TensorProto.FLOAT, [4], [0, 10, 20, 30])
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.INT64, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        [table],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    (tmp_path / "g").write_bytes(model.SerializeToString())
    session = OnnxRuntime().load({"graph": tmp_path / "g"}, {})
    given, out = np.array([[9, 0]]), np.zeros((1, 2), np.float32)
    for _ in range(2):
        with pytest.raises(EngineError, match=r"failed.*out of data bounds"):
            session.run([given], [out])
    with pytest.raises(EngineError, match="failed"):
        session.run([given])
    given[0, 0] = 3
    session.run([given], [out])
    assert out.tolist() == [[30, 0]]
    session.close()


@pytest.mark.parametrize(
    ("providers", "message"),
    [
        ("CUDAExecutionProvider", "no provider 'CUDAExecutionProvider'.*CPUExecutionProvider"),
        (f"{CPU},NoneExecutionProvider", "no provider 'NoneExecutionProvider'"),
        ("", "empty"),
        (" , ", "cannot be read from ','"),
        (f"{CPU},,{CPU}", "cannot be read from ',CPU"),
        (f"{CPU} {CPU}", "cannot be read"),
        (f"{AZURE}(a=1", r"cannot be read from 'AzureExecutionProvider\(a=1'"),
        (f"{AZURE}(a)", "has 'a' where key=value must be"),
        (f"{AZURE}(=1)", "has '=1' where key=value must be"),
        (f"{AZURE}(a=1;a=2)", "has 'a' twice"),
        (f"{CPU},{CPU}", f"names {CPU} twice"),
        (f"{CPU}(arena=1)", f"{CPU} has no options. Set threads"),
    ],
)
def test_a_provider_that_is_not_there_is_an_error_with_the_cure(
    tmp_path: Path, providers: str, message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        OnnxRuntime().load(onnx_files(tmp_path)[0], {"providers": providers})


@OTHER
def test_nodes_that_fall_to_another_provider_are_shown_or_refused(tmp_path: Path) -> None:
    files, _ = onnx_files(tmp_path)
    session = OnnxRuntime().load(files, {"providers": f"{AZURE}(level=1), {CPU}"})
    placement = session.placement()
    assert (placement.backend, placement.nodes) == (CPU, {CPU: 2})
    assert (placement.asked, placement.share) == (AZURE, 0.0)
    session.close()
    with pytest.raises(EngineError, match="fallback"):
        OnnxRuntime().load(files, {"providers": AZURE})


def test_a_provider_that_the_library_drops_is_no_silent_fallback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is listed, but its driver is missing: then the library warns and takes the CPU."""
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *given, **_: real(*given, providers=[CPU]))
    with pytest.raises(EngineError, match=f"has {CPU} and not CUDA"):
        OnnxRuntime().load(onnx_files(tmp_path)[0], {"providers": f"CUDAExecutionProvider,{CPU}"})


def test_options_of_a_provider_reach_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine has no provider with options: what is given to the library is what can be seen."""
    seen = []
    real = onnxruntime.InferenceSession
    cuda = "CUDAExecutionProvider"

    def make(graph: str, settings: Any, providers: list[Any], **rest: Any) -> Any:  # noqa: ANN401 - as the library
        seen.append((providers, rest))
        return real(graph, settings, providers=[CPU])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [cuda, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", make)
    asked = f"{cuda}( device_id = 1 ; arena_extend_strategy=kSameAsRequested ),{CPU}"
    with pytest.raises(EngineError, match=f"has {CPU} and not CUDA"):
        OnnxRuntime().load(onnx_files(tmp_path)[0], {"providers": asked})
    options = {"device_id": "1", "arena_extend_strategy": "kSameAsRequested"}
    assert seen == [([(cuda, options), CPU], {"enable_fallback": 0})]


@pytest.mark.parametrize(
    ("asked", "name", "rest"),
    [
        (CPU, None, None),
        (f"{CPU},{AZURE}", None, None),
        ("CUDAExecutionProvider", "CUDAExecutionProvider", CPU),
        (
            f"CUDAExecutionProvider(device_id=1),{AZURE}(a=b),{CPU}",
            "CUDAExecutionProvider",
            f"{AZURE}(a=b),{CPU}",
        ),
        (f"{AZURE},CUDAExecutionProvider,{CPU}", AZURE, f"{AZURE},{CPU}"),
        (f"{AZURE},{CPU}", AZURE, CPU),
        (AZURE, AZURE, CPU),
    ],
)
@OTHER
def test_there_is_always_less_to_ask_for_down_to_the_cpu(
    asked: str, name: str | None, rest: str | None
) -> None:
    """The CUDA provider is not built in here."""
    assert OnnxRuntime().fallback({"providers": asked}) == (name and (name, {"providers": rest}))
    assert OnnxRuntime().fallback({"threads": 2}) is None


def test_external_weights_are_read_from_beside_the_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slot").mkdir()
    files, _ = onnx_files(tmp_path / "slot")
    monkeypatch.chdir(tmp_path)
    session = OnnxRuntime().load({role: path.relative_to(tmp_path) for role, path in files.items()}, {})
    weights = np.frombuffer(files["weights"].read_bytes(), np.float32).reshape(64, 3)
    np.testing.assert_allclose(session.run([image()])[0][0], weights.sum(0), rtol=1e-5)
    session.close()


@pytest.mark.parametrize("keep", [0, 100])
def test_weights_that_are_cut_off_are_an_error(tmp_path: Path, keep: int) -> None:
    files, _ = onnx_files(tmp_path)
    files["weights"].write_bytes(files["weights"].read_bytes()[:keep])
    with pytest.raises(EngineError, match="tiny-graph"):
        OnnxRuntime().load(files, {})


def test_files_of_other_roles_or_folders_are_refused(tmp_path: Path) -> None:
    files, _ = onnx_files(tmp_path)
    for wrong in ({}, {"model": files["graph"]}, {**files, "more": files["graph"]}):
        with pytest.raises(EngineError, match="'graph'"):
            OnnxRuntime().load(wrong, {})
    (tmp_path / "other").mkdir()
    elsewhere = files["weights"].rename(tmp_path / "other" / "tiny-weights")
    with pytest.raises(EngineError, match="different folders"):
        OnnxRuntime().load({**files, "weights": elsewhere}, {})


def test_threads_do_not_spin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda graph, settings, **rest: seen.append(settings) or real(graph, settings, **rest),
    )
    session = OnnxRuntime().load(onnx_files(tmp_path)[0], {"threads": 2})
    assert session.placement().threads == 2
    session.close()
    settings = seen[0]
    assert (settings.intra_op_num_threads, settings.inter_op_num_threads) == (2, 1)
    for threads in ("intra", "inter"):
        assert settings.get_session_config_entry(f"session.{threads}_op.allow_spinning") == "0"


def test_a_broken_file_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "g").write_bytes(b"garbage " * 50)
    with pytest.raises(EngineError, match="does not load g") as raised:
        OnnxRuntime().load({"graph": tmp_path / "g"}, {})
    assert "[ONNXRuntimeError]" not in str(raised.value)
    assert capfd.readouterr() == ("", "")


def test_optimization_is_full_or_disabled(tmp_path: Path) -> None:
    files = onnx_files(tmp_path)[0]
    with pytest.raises(
        EngineError, match=r"'optimization' of the runtime onnx is 'some'. Give full or disabled"
    ):
        OnnxRuntime().load(files, {"optimization": "some"})
    image = np.random.default_rng(0).random((1, 1, 8, 8), np.float32)
    answers = []
    for level in ("full", "disabled"):
        session = OnnxRuntime().load(files, {"optimization": level})
        answers.append(session.run([image])[0].copy())
        session.close()
    assert np.allclose(*answers, rtol=1e-5)


REPORTS = """
import os, sys
from pathlib import Path
from outrider_runtime.runtimes.onnx import OnnxRuntime
OnnxRuntime().load({"graph": Path(sys.argv[1]), "weights": Path(sys.argv[2])}, {}).close()
opened = [os.path.realpath(entry) for entry in Path("/proc/self/fd").iterdir()]
print([path for path in opened if "onnxruntime.db" in path])
"""


def test_it_reports_to_nobody(tmp_path: Path) -> None:
    """Left to itself the library opens a data base of its use in the home folder, and sends it."""
    home = tmp_path / "home"
    home.mkdir()
    files, _ = onnx_files(tmp_path)
    command = [sys.executable, "-c", REPORTS, *map(str, files.values())]
    done = subprocess.run(command, env={"HOME": str(home)}, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert not list(home.iterdir())
