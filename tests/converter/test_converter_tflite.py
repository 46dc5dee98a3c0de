"""TFLite from end to end, once: its libraries take long to import."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from outrider_bundle.container import Bundle
from outrider_bundle.manifest import Manifest
from outrider_converter import finish, pipeline, seeding
from outrider_converter.artifact import Artifact, Context
from outrider_converter.formats import tflite
from outrider_converter.progress import NullReporter
from outrider_converter.recipe import read_recipe
from outrider_converter.students import res_cnn
from tests.fakes.toy import write_toy

SAMPLES = np.random.default_rng(0).normal(size=(16, 12, 12, 1)).astype(np.float32)


def outputs(path: Path) -> tuple[NDArray[np.generic], dict[str, object], dict[str, object]]:
    """Return the raw outputs for all samples, and the details of input and output."""
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    entry, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    rows = []
    for sample in SAMPLES:
        value = sample[None]
        if entry["dtype"] == np.int8:
            scale, zero = entry["quantization"]
            value = np.clip(np.rint(value / scale) + zero, -128, 127).astype(np.int8)
        interpreter.set_tensor(entry["index"], value)
        interpreter.invoke()
        rows.append(interpreter.get_tensor(result["index"]))
    return np.stack(rows), entry, result


@pytest.mark.timeout(240)
def test_a_conversion_to_both_formats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[str, tuple[Path, bytes]] = {}

    def keep(manifest: Manifest, artifact: Artifact, context: Context) -> object:
        for export in artifact.exports:
            kept[export.id] = tmp_path / f"{export.id}.raw", export.path.read_bytes()
        return original(manifest, artifact, context)

    original = finish._strip
    monkeypatch.setattr(finish, "_strip", keep)
    recipe = write_toy(tmp_path / "recipe", ('formats = ["onnx"]', 'formats = ["onnx", "tflite"]'))
    report = pipeline.convert(recipe, tmp_path / "out", NullReporter())

    found = {v.id: v for v in report.variants}
    assert set(found) == {"onnx-float32", "onnx-int8", "tflite-float32", "tflite-int8"}
    assert sorted(v.rank for v in found.values()) == [0, 1, 2, 3]
    assert all(v.accuracy > 0.9 and v.agreement_with_teacher > 0.9 for v in found.values())
    assert all(v.speedup_vs_teacher is not None for v in found.values())
    assert found["tflite-int8"].bytes < 0.45 * found["tflite-float32"].bytes
    assert set(report.teacher.latency) == {"onnx", "tflite"}
    with Bundle.open(tmp_path / "out" / "toy.orb") as bundle:
        int8 = bundle.manifest.variant("tflite-int8")
        assert (int8.inputs[0].layout, int8.inputs[0].dtype, int8.outputs[0].dtype) == (
            "NHWC",
            "int8",
            "int8",
        )
        assert int8.inputs[0].quantization is not None
        for name in ("tflite-float32", "tflite-int8"):
            check_stripped(kept[name], bytes(bundle.blob(f"{name}-model")), tmp_path / f"{name}.stripped")


def check_stripped(raw: tuple[Path, bytes], stripped: bytes, path: Path) -> None:
    """Compare the file as the tools wrote it with the packaged one."""
    raw[0].write_bytes(raw[1])
    path.write_bytes(stripped)
    before, after = outputs(raw[0]), outputs(path)
    assert before[0].std() > 0
    assert np.array_equal(before[0], after[0])
    assert len(stripped) < 0.9 * len(raw[1])
    assert (after[1]["name"], after[2]["name"]) == ("image", "scores")
    assert b"serving_default" not in stripped
    assert b"litert" not in stripped.lower()


def test_the_order_of_weights_in_memory_does_not_matter(tmp_path: Path) -> None:
    recipe = read_recipe(write_toy(tmp_path))
    with seeding.seeded(0, "net"):
        model = res_cnn(1, 3, 16)
    with torch.no_grad():
        model.train()(torch.from_numpy(SAMPLES).permute(0, 3, 1, 2))
    model = model.eval().to(memory_format=torch.channels_last)
    tflite.export(model, recipe, tmp_path / "x.tflite")
    with torch.inference_mode():
        wanted = model(torch.from_numpy(SAMPLES).permute(0, 3, 1, 2)).numpy()
    assert wanted.std() > 0.01
    assert np.allclose(outputs(tmp_path / "x.tflite")[0][:, 0], wanted, atol=1e-5)
    assert next(model.parameters()).is_contiguous(memory_format=torch.channels_last)
