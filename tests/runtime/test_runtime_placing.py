"""A model runs where it must, or it says where else and why."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from msgspec.structs import replace

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import File, Scalar, Variant
from outrider_runtime.loading import load_variant, runtime
from outrider_runtime.placing import MAX_FALLBACKS, Placed, PlacementError, Policy, load_placed, shortfall
from outrider_runtime.runtimes.null import NullRuntime, NullSession
from outrider_runtime.runtimes.onnx import CPU
from outrider_runtime.session import Placement
from outrider_runtime.untracked import openvino
from tests.fakes.models import null_files, onnx_files, openvino_files

AZURE, CUDA = "AzureExecutionProvider", "CUDAExecutionProvider"
SILENT = f"{AZURE},{CPU}"
"""A fallback as users know it: the provider loads, takes no node, and nobody says so."""

POLICIES: tuple[Policy, ...] = ("require", "prefer", "allow")
needs_azure = pytest.mark.skipif(
    AZURE not in onnxruntime.get_available_providers(), reason="this build has no second provider"
)
needs_no_cuda = pytest.mark.skipif(
    CUDA in onnxruntime.get_available_providers(), reason="this build has the provider that must be missing"
)
needs_no_gpu = pytest.mark.skipif(
    "GPU" in str(openvino.Core().available_devices), reason="this machine has the GPU that must be missing"
)
Loaded = tuple[Variant, Mapping[str, Path]]


def described(name: str, folder: Path) -> Loaded:
    makers = {"onnx": onnx_files, "null": null_files, "openvino": openvino_files}
    files, options = makers[name](folder)
    session = runtime(name).load(files, options)
    session.close()
    variant = Variant(
        id=f"{name}-float32",
        runtime=name,
        precision="float32",
        rank=0,
        files=tuple(File(role=role, blob=role) for role in files),
        inputs=session.inputs,
        outputs=session.outputs,
        options=options,
    )
    return variant, files


def placed(loaded: Loaded, policy: Policy, share: float = 1.0, **options: Scalar) -> Placement:
    """Return where it is; the session must be open and of use."""
    found = load_placed(*loaded, options, policy, share)
    assert isinstance(found, Placed)
    tensor = found.session.inputs[0]
    assert found.session.run([np.zeros(tensor.shape, tensor.dtype)])[0].shape == (1, 3)
    found.session.close()
    return found.placement


@pytest.fixture
def onnx(tmp_path: Path) -> Loaded:
    return described("onnx", tmp_path)


@pytest.mark.parametrize("policy", POLICIES)
def test_nothing_asked_is_nothing_missed(tmp_path: Path, policy: Policy) -> None:
    for name in ("onnx", "null", "openvino"):
        placement = placed(described(name, tmp_path), policy)
        assert (placement.asked, placement.reason, placement.share) == ("", "", 1.0)
        assert shortfall(placement, policy, 1.0) == ""


@needs_azure
def test_a_silent_fallback_is_refused_where_it_must_not_be(onnx: Loaded) -> None:
    with pytest.raises(PlacementError) as raised:
        placed(onnx, "require", providers=SILENT)
    assert raised.value.what == f"0 of 2 nodes run on {AZURE}, 2 on {CPU}"
    assert "set engine.placement to 'prefer'" in raised.value.cure
    assert raised.value.exit_code == 20


@needs_azure
@pytest.mark.parametrize("policy", ["prefer", "allow"])
def test_a_silent_fallback_is_told_where_it_may_be(onnx: Loaded, policy: Policy) -> None:
    placement = placed(onnx, policy, providers=SILENT)
    assert (placement.backend, placement.asked, placement.share) == (CPU, AZURE, 0.0)
    assert placement.reason == f"0 of 2 nodes run on {AZURE}, 2 on {CPU}"
    assert shortfall(placement, policy, 1.0) == (placement.reason if policy == "prefer" else "")


@needs_azure
@pytest.mark.parametrize("policy", POLICIES)
def test_a_share_of_nothing_is_always_met(onnx: Loaded, policy: Policy) -> None:
    placement = placed(onnx, policy, share=0.0, providers=SILENT)
    assert placement.asked == AZURE
    assert placement.reason
    assert shortfall(placement, policy, 0.0) == ""


@needs_azure
def test_a_provider_that_takes_nothing_and_may_not_share_falls_back_too(onnx: Loaded) -> None:
    placement = placed(onnx, "prefer", providers=AZURE)
    assert (placement.backend, placement.asked, placement.share) == (CPU, AZURE, 0.0)
    assert "does not load" in placement.reason
    with pytest.raises(EngineError, match="fallback"):
        placed(onnx, "require", providers=AZURE)


@needs_no_cuda
@pytest.mark.parametrize("providers", [CUDA, f"{CUDA}(device_id=1),{CPU}", f"{CUDA},{AZURE},{CPU}"])
def test_a_missing_provider_is_refused_or_told(onnx: Loaded, providers: str) -> None:
    for policy in ("prefer", "allow"):
        placement = placed(onnx, policy, providers=providers)
        assert (placement.backend, placement.asked, placement.share) == (CPU, CUDA, 0.0)
        assert placement.reason.startswith(f"ONNX Runtime has no provider '{CUDA}' here")
        assert shortfall(placement, policy, 1.0) == (placement.reason if policy == "prefer" else "")
    with pytest.raises(EngineError, match=f"no provider '{CUDA}' here.*Install the onnxruntime build"):
        placed(onnx, "require", providers=providers)


@needs_no_cuda
def test_the_variant_asks_like_the_device(onnx: Loaded) -> None:
    variant, files = onnx
    asking = replace(variant, options={"providers": f"{CUDA},{CPU}"})
    assert placed((asking, files), "prefer").asked == CUDA
    assert placed((asking, files), "require", providers=CPU).asked == ""
    with pytest.raises(EngineError, match=CUDA):
        load_variant(asking, files)


@needs_no_gpu
@pytest.mark.parametrize("device", ["GPU", "GPU.1", "AUTO:GPU,CPU"])
def test_a_missing_gpu_is_refused_or_told(tmp_path: Path, device: str) -> None:
    loaded = described("openvino", tmp_path)
    asked = "GPU.1" if device == "GPU.1" else "GPU"
    placement = placed(loaded, "prefer", device=device)
    assert (placement.backend, placement.asked, placement.share) == ("CPU", asked, 0.0)
    assert f"OpenVINO has no device '{asked}' here" in shortfall(placement, "prefer", 1.0)
    assert shortfall(placed(loaded, "allow", device=device), "allow", 1.0) == ""
    with pytest.raises(EngineError, match=r"no device .* Install its driver"):
        placed(loaded, "require", device=device)


@pytest.mark.parametrize("policy", POLICIES)
def test_what_is_broken_anywhere_is_an_error_under_every_policy(onnx: Loaded, policy: Policy) -> None:
    variant, files = onnx
    files["graph"].write_bytes(b"garbage " * 50)
    for options in ({}, {"providers": SILENT}):
        with pytest.raises(EngineError, match=r"does not load tiny-graph|no provider"):
            load_placed(variant, files, options, policy)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_runtime_without_a_fallback_fails_as_it_does(tmp_path: Path, policy: Policy) -> None:
    with pytest.raises(EngineError, match="no option 'device'"):
        placed(described("null", tmp_path), policy, device="GPU")


class Accelerated(NullRuntime):
    """A null runtime whose accelerators `first` and `second` share the nodes out as told, if they load."""

    here: tuple[str, ...] = ()
    nodes: Mapping[str, int] = {}

    def load(self, files: Mapping[str, Path], options: Mapping[str, Scalar]) -> "AcceleratedSession":
        device, rest = str(options["device"]), {name: v for name, v in options.items() if name != "device"}
        if device not in (*self.here, "cpu"):
            raise EngineError(f"There is no {device}", "Plug it in")
        plain = super().load(files, rest)
        session = AcceleratedSession(plain.inputs, plain.outputs)
        asked = "" if device == "cpu" else device
        nodes = dict(self.nodes) if asked else {}
        session.where = Placement(device=device, backend=device, nodes=nodes, asked=asked)
        return session

    def fallback(self, options: Mapping[str, Scalar]) -> tuple[str, dict[str, Scalar]] | None:
        device = str(options["device"])
        less = {"first": "second", "second": "cpu", "circle": "circle"}.get(device)
        if device == "bug":
            raise KeyError(device)
        return (device, {"device": less}) if less else None


class AcceleratedSession(NullSession):
    where: Placement

    def placement(self) -> Placement:
        return self.where


@pytest.fixture
def accelerated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Loaded, Accelerated]:
    loaded, plugin = described("null", tmp_path), Accelerated()
    monkeypatch.setattr("outrider_runtime.loading.plugins.load", lambda _group, _name: plugin)
    return loaded, plugin


@pytest.mark.parametrize(
    ("here", "backend", "asked"),
    [(("first", "second"), "first", "first"), (("second",), "second", "first"), ((), "cpu", "first")],
)
def test_one_accelerator_after_the_other_is_given_up(
    accelerated: tuple[Loaded, Accelerated], here: tuple[str, ...], backend: str, asked: str
) -> None:
    loaded, plugin = accelerated
    plugin.here = here
    placement = placed(loaded, "prefer", device="first")
    assert (placement.backend, placement.asked) == (backend, asked)
    assert placement.reason == ("" if backend == "first" else "There is no first. Plug it in.")
    assert placement.share == float(backend == "first")
    if backend != "first":
        with pytest.raises(EngineError, match="There is no first"):
            placed(loaded, "require", device="first")


@pytest.mark.parametrize(("share", "policy"), [(0.95, "require"), (0.96, "require"), (0.96, "prefer")])
def test_a_share_of_the_nodes_may_be_enough(
    accelerated: tuple[Loaded, Accelerated], share: float, policy: Policy
) -> None:
    loaded, plugin = accelerated
    plugin.here, plugin.nodes = ("first",), {"first": 61, "other": 2, "cpu": 1}
    said = "61 of 64 nodes run on first, 1 on cpu, 2 on other"
    if share == 0.96 and policy == "require":
        with pytest.raises(PlacementError, match=f"{said}.*engine.share = 0.953"):
            placed(loaded, policy, share, device="first")
        return
    placement = placed(loaded, policy, share, device="first")
    assert placement.reason == said
    assert shortfall(placement, policy, share) == (said if policy == "prefer" else "")


def test_the_cure_of_a_share_is_one(accelerated: tuple[Loaded, Accelerated]) -> None:
    """Two thirds, rounded up, would be refused again."""
    loaded, plugin = accelerated
    plugin.here, plugin.nodes = ("first",), {"first": 2, "cpu": 1}
    with pytest.raises(PlacementError, match=r"engine\.share = 0\.666") as raised:
        placed(loaded, "require", device="first")
    advised = float(raised.value.cure.rpartition("= ")[2])
    assert placed(loaded, "require", advised, device="first").share >= advised


def test_a_refused_session_is_closed(accelerated: tuple[Loaded, Accelerated]) -> None:
    loaded, plugin = accelerated
    plugin.here, plugin.nodes = ("first",), {"cpu": 1}
    closed = []
    real = AcceleratedSession.close
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AcceleratedSession, "close", lambda session: closed.append(1) or real(session))
        with pytest.raises(PlacementError, match="0 of 1 nodes run on first, 1 on cpu"):
            placed(loaded, "require", device="first")
    assert closed == [1]


def test_a_fallback_that_never_ends_does_end(accelerated: tuple[Loaded, Accelerated]) -> None:
    loaded, plugin = accelerated
    tries = []
    real = plugin.load
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugin, "load", lambda files, options: tries.append(1) or real(files, options))
        with pytest.raises(EngineError, match="There is no circle"):
            placed(loaded, "prefer", device="circle")
    assert len(tries) == MAX_FALLBACKS + 1


def test_a_fallback_that_fails_is_one_error(accelerated: tuple[Loaded, Accelerated]) -> None:
    with pytest.raises(EngineError, match="runtime null failed to find a fallback"):
        placed(accelerated[0], "prefer", device="bug")


def test_without_counts_the_backend_decides() -> None:
    here = Placement(device="gpu", backend="GPU", asked="GPU")
    gone = replace(here, backend="CPU")
    assert (here.share, gone.share) == (1.0, 0.0)
    assert shortfall(here, "prefer", 1.0) == ""
    assert shortfall(gone, "prefer", 1.0) == "The model runs on CPU and not on GPU"
