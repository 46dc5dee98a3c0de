"""The cache of optimized graphs: never another answer, never a reason to fail."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import Scalar
from outrider_runtime import onnx_loading
from outrider_runtime.runtimes.onnx import CPU, OnnxRuntime
from tests.fakes.graphs import save
from tests.fakes.models import onnx_files

Files = dict[str, Path]
IMAGES = np.random.default_rng(0).normal(size=(8, 1, 3, 16, 16)).astype(np.float32)


class Images(CalibrationDataReader):  # type: ignore[misc] # the library has no types
    def __init__(self) -> None:
        self.left = iter(IMAGES)

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self.left, None)
        return None if image is None else {"image": image}


def conv_net(path: Path, seed: int = 0) -> Path:
    """Write convolutions with what the library fuses: activations, a sum, pooling; weights in the graph."""
    source = np.random.default_rng(seed)
    weights = {
        name: (source.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        for name, shape in {
            "w0": (32, 3, 3, 3),
            "w1": (32, 1, 3, 3),
            "w2": (32, 32, 1, 1),
            "w3": (10, 32),
            "b3": (10,),
        }.items()
    }
    nodes = [
        helper.make_node("Conv", ["image", "w0"], ["a"], kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w1"], ["c"], kernel_shape=[3, 3], pads=[1] * 4, group=32),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Conv", ["d", "w2"], ["e"], kernel_shape=[1, 1]),
        helper.make_node("Add", ["b", "e"], ["f"]),
        helper.make_node("GlobalAveragePool", ["f"], ["g"]),
        helper.make_node("Flatten", ["g"], ["h"]),
        helper.make_node("Gemm", ["h", "w3", "b3"], ["scores"], transB=1),
    ]
    return save(path, nodes, weights, ([1, 3, 16, 16], [1, 10]))


def apart(folder: Path) -> Files:
    """Write it as a bundle has it: the weights in a file of their own."""
    model = onnx.load(conv_net(folder / "whole"))
    onnx.save_model(
        model, folder / "graph", save_as_external_data=True, location="constants", size_threshold=64
    )
    return {"graph": folder / "graph", "weights": folder / "constants"}


def quantized(folder: Path) -> Files:
    """Write it in int8 with QDQ nodes."""
    quantize_static(
        conv_net(folder / "whole"),
        folder / "int8",
        Images(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return {"graph": folder / "int8"}


def answers(files: Files, **options: Scalar) -> bytes:
    session = OnnxRuntime().load(files, options)
    try:
        return b"".join(session.run([image])[0].tobytes() for image in IMAGES)
    finally:
        session.close()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the paths of the graphs that are optimized and written from here on."""
    graphs: list[str] = []
    real = onnx_loading._optimize

    def optimize(request: onnx_loading.Request, folder: Path) -> None:
        graphs.append(request.files["graph"].name)
        real(request, folder)

    monkeypatch.setattr(onnx_loading, "_optimize", optimize)
    return graphs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.mark.parametrize("kind", ["whole", "apart", "int8"])
def test_answers_are_the_same_to_the_bit(tmp_path: Path, folder: Path, made: list[str], kind: str) -> None:
    if kind == "whole":
        files = {"graph": conv_net(tmp_path / "graph")}
    else:
        files = apart(tmp_path) if kind == "apart" else quantized(tmp_path)
    plain = answers(files)
    for _ in range(3):
        assert answers(files, cache=str(folder)) == plain
    assert len(made) == 1
    assert answers(files, cache=str(folder), threads=2) == answers(files, threads=2)
    assert len(made) == 1, "threads do not change the graph"


def test_every_load_says_the_same_of_its_nodes(tmp_path: Path, folder: Path) -> None:
    files = apart(tmp_path)
    nodes = []
    for _ in range(2):
        session = OnnxRuntime().load(files, {"cache": str(folder)})
        nodes.append(session.placement().nodes)
        session.close()
    plain = OnnxRuntime().load(files, {})
    assert nodes[0] == nodes[1]
    assert 0 < nodes[0][CPU] < plain.placement().nodes[CPU], "fused nodes count as one"
    plain.close()


def test_other_weights_are_another_entry(tmp_path: Path, folder: Path, made: list[str]) -> None:
    files = apart(tmp_path)
    first = answers(files, cache=str(folder))
    content = bytearray(files["weights"].read_bytes())
    content[:400] = bytes(400)
    files["weights"].write_bytes(content)
    second = answers(files, cache=str(folder))
    assert second == answers(files) != first
    assert len(made) == 2


def test_weights_that_nobody_listed_are_not_cached(tmp_path: Path, folder: Path, made: list[str]) -> None:
    """The graph alone says where they are, so that no key covers them."""
    files = apart(tmp_path)
    alone = {"graph": files["graph"]}
    (tmp_path / "decoy").write_bytes(b"x")
    assert answers(alone, cache=str(folder)) == answers(files)
    assert answers({**alone, "weights": tmp_path / "decoy"}, cache=str(folder)) == answers(files)
    assert not made
    assert not folder.exists()


@pytest.mark.parametrize(
    "options", [{}, {"optimization": "disabled"}, {"providers": f"AzureExecutionProvider,{CPU}"}]
)
def test_only_what_is_optimized_for_the_cpu_is_cached(
    tmp_path: Path, folder: Path, made: list[str], options: dict[str, Scalar]
) -> None:
    if "providers" in options and "AzureExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this build has no second provider")
    if options:
        options["cache"] = str(folder)
    answers(apart(tmp_path), **options)
    assert not made
    assert not folder.exists()


@pytest.mark.parametrize("victim", ["graph", "weights"])
@pytest.mark.parametrize("fault", ["flip", "cut", "gone"])
def test_a_damaged_entry_is_made_again(
    tmp_path: Path, folder: Path, made: list[str], victim: str, fault: str
) -> None:
    files = apart(tmp_path)
    plain = answers(files, cache=str(folder))
    (entry,) = folder.iterdir()
    content = bytearray((entry / victim).read_bytes())
    (entry / victim).unlink()
    if fault != "gone":
        content[len(content) // 2] ^= 255
        (entry / victim).write_bytes(content if fault == "flip" else content[:100])
    assert answers(files, cache=str(folder)) == plain
    assert answers(files, cache=str(folder)) == plain
    assert len(made) == 2


def test_an_entry_that_does_not_load_is_removed_and_the_file_itself_taken(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    files = apart(tmp_path)
    monkeypatch.setattr(
        onnx_loading, "_optimize", lambda _, entry: (entry / "graph").write_bytes(b"nonsense")
    )
    assert answers(files, cache=str(folder)) == answers(files)
    assert "removed from the cache" in caplog.text
    assert not list(folder.iterdir())


def test_a_broken_file_is_the_error_it_is_without_a_cache(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "graph").write_bytes(b"garbage " * 50)
    with pytest.raises(EngineError, match="does not load graph"):
        OnnxRuntime().load({"graph": tmp_path / "graph"}, {"cache": str(folder)})
    assert not list(folder.iterdir())


LOADS = """
import json, resource, sys
from pathlib import Path
import numpy as np
from outrider_runtime.runtimes.onnx import OnnxRuntime
graph, weights, folder, limit = sys.argv[1:]
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
session = OnnxRuntime().load({"graph": Path(graph), "weights": Path(weights)}, {"cache": folder})
image = np.full((1, 3, 16, 16), 0.5, np.float32)
sys.stdout.write(json.dumps(session.run([image])[0].tolist()))
"""


@pytest.mark.parametrize("limit", [500, 3000])
def test_a_disk_that_is_full_costs_the_cache_alone(tmp_path: Path, folder: Path, limit: int) -> None:
    """A limit on the size of a file fails writing as a full disk does: in the graph or in its weights."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    files = apart(tmp_path)
    command = [sys.executable, "-c", LOADS, *map(str, files.values()), str(folder)]
    full = subprocess.run([*command, str(limit)], capture_output=True, text=True, check=True)
    assert full.stderr.count("Nothing is cached") == 1
    assert not list(folder.iterdir())
    free = subprocess.run([*command, "0"], capture_output=True, text=True, check=True)
    assert json.loads(free.stdout) == json.loads(full.stdout)
    assert len(list(folder.iterdir())) == 1


def test_processes_that_start_at_once_share_one_entry(tmp_path: Path, folder: Path) -> None:
    files = apart(tmp_path)
    command = [sys.executable, "-c", LOADS, *map(str, files.values()), str(folder), "0"]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    done = [(*process.communicate(timeout=60), process.returncode) for process in running]
    assert {code for _, _, code in done} == {0}
    assert len({said for said, _, _ in done}) == 1
    assert {errors for _, errors, _ in done} == {""}
    (entry,) = folder.iterdir()
    assert sorted(path.name for path in entry.iterdir()) == ["graph", "sums", "weights"]


def test_the_tiny_graph_of_the_suites_is_cached_too(tmp_path: Path, folder: Path, made: list[str]) -> None:
    """Its weights are below the size that is kept apart."""
    files, _ = onnx_files(tmp_path)
    image = np.random.default_rng(1).random((1, 1, 8, 8), np.float32)
    found = []
    for options in ({}, {"cache": str(folder)}, {"cache": str(folder)}):
        session = OnnxRuntime().load(files, options)
        found.append(session.run([image])[0].tobytes())
        session.close()
    assert len(set(found)) == len(made) == 1
