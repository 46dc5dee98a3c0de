from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from outrider_bundle.errors import EngineError, UsageError
from outrider_bundle.manifest import Quantization, Scalar
from outrider_runtime.loading import load_variant, runtime
from tests.fakes.models import dynamic_onnx, onnx_files
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


def test_a_dynamic_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="dynamic"):
        runtime("onnx").load({"graph": dynamic_onnx(tmp_path)}, {})


@pytest.mark.parametrize(
    "options", [{"providers": "CUDAExecutionProvider"}, {"providers": ""}, {"threads": 0}]
)
def test_a_provider_that_is_not_there_is_an_error_and_no_fallback(
    tmp_path: Path, options: dict[str, Scalar]
) -> None:
    files, _ = onnx_files(tmp_path)
    with pytest.raises(EngineError, match=r"provider|threads"):
        runtime("onnx").load(files, options)


def test_external_weights_are_read_from_beside_the_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slot").mkdir()
    files, _ = onnx_files(tmp_path / "slot")
    monkeypatch.chdir(tmp_path)
    session = runtime("onnx").load(files, {})
    ones = np.ones((1, 1, 8, 8), np.float32)
    weights = np.frombuffer(files["weights"].read_bytes(), np.float32).reshape(64, 3)
    np.testing.assert_allclose(session.run([ones])[0][0], weights.sum(0), rtol=1e-5)
    session.close()
    files["weights"].unlink()
    with pytest.raises(EngineError):
        runtime("onnx").load(files, {})
