from pathlib import Path

import pytest
from msgspec.structs import replace

from outrider_bundle import plugins
from outrider_bundle.errors import EngineError, UsageError
from outrider_bundle.manifest import File, Quantization, Tensor, Variant
from outrider_runtime.loading import load_variant, runtime
from tests.fakes.provable import describe


def test_what_the_file_is_must_be_what_the_manifest_says(tmp_path: Path) -> None:
    variant, files = describe("tiny", "tflite", "int8", 0, tmp_path)
    load_variant(variant, files).close()
    tensor = variant.inputs[0]
    faults = [
        replace(tensor, name="other"),
        replace(tensor, shape=(1, 8, 8, 2)),
        replace(tensor, dtype="uint8"),
        replace(tensor, quantization=None),
        replace(tensor, quantization=Quantization(scale=0.5)),
    ]
    for fault in faults:
        with pytest.raises(EngineError, match="input"):
            load_variant(replace(variant, inputs=(fault,)), files)


def test_the_device_overrides_the_options_of_the_manifest(tmp_path: Path) -> None:
    variant, files = describe("tiny", "onnx", "float32", 0, tmp_path)
    variant = replace(variant, options={"threads": 1})
    session = load_variant(variant, files, {"threads": 2})
    assert session.placement().threads == 2
    session.close()


def test_an_unknown_runtime_lists_the_installed_ones() -> None:
    with pytest.raises(UsageError, match="onnx"):
        runtime("onyx")


class Broken:
    """A third party's runtime that keeps to nothing."""

    exclusive = False

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.closed = False
        self.inputs = self.outputs = (Tensor(name="x", shape=(1, 4), dtype="float32"),)

    def load(self, files: object, options: object) -> "Broken":
        del files, options
        if self.fault == "load":
            raise RuntimeError("segment\nviolated")
        return self

    def close(self) -> None:
        self.closed = True


def test_what_a_third_party_raises_becomes_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "load", lambda *_: Broken("load"))
    tensors = Broken("").inputs
    variant = Variant(
        id="x",
        runtime="broken",
        precision="float32",
        rank=0,
        files=(File(role="model", blob="x"),),
        inputs=tensors,
        outputs=tensors,
    )
    with pytest.raises(EngineError, match="runtime broken failed to load"):
        load_variant(variant, {})


def test_a_session_that_is_refused_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variant, files = describe("tiny", "onnx", "float32", 0, tmp_path)
    plugin = Broken("")
    monkeypatch.setattr(plugins, "load", lambda *_: plugin)
    with pytest.raises(EngineError, match=r"'x' float32 \(1, 4\), the manifest's is 'image'"):
        load_variant(variant, files)
    assert plugin.closed
    plugin.inputs = ()
    with pytest.raises(EngineError, match="0 inputs and the manifest 1"):
        load_variant(variant, files)


@pytest.mark.parametrize("thing", [object(), "text", print])
def test_what_is_no_runtime_is_refused(thing: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "load", lambda *_: thing)
    with pytest.raises(EngineError, match="not a runtime"):
        runtime("thing")
