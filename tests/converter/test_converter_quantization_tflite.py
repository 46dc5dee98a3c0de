"""TFLite's share of quantization: layers by name, some of them float, ranges kept."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from torch import nn

from outrider_bundle.errors import DataError
from outrider_converter.formats import tflite
from outrider_converter.precision.makers import TfliteMaker
from outrider_converter.precision.sensitivity import short
from outrider_converter.quantization import kept
from outrider_converter.recipe import Recipe, read_recipe
from outrider_converter.strip import tflite as stripper
from outrider_converter.targets import Scheme
from tests.fakes.toy import write_toy

SAMPLES = np.random.default_rng(0).normal(size=(12, 1, 12, 12)).astype(np.float32)
SCHEME = Scheme(activation="int8", weights="full")


def network(head: int) -> nn.Module:
    torch.manual_seed(0)
    body = [nn.Conv2d(1, 8, 3), nn.ReLU6(), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    torch.manual_seed(head)
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(8, 3)).eval()


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return read_recipe(write_toy(tmp_path_factory.mktemp("recipe")))


@pytest.fixture(scope="module")
def source(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tflite") / "float.tflite"
    tflite.export(network(1), recipe, path)
    return path


def run(path: Path) -> tuple[NDArray[np.float64], tuple[type, type]]:
    """Return real outputs for all samples, and the types of input and output."""
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    entry, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    rows = []
    for sample in SAMPLES.transpose(0, 2, 3, 1):
        value = sample[None]
        if entry["dtype"] == np.int8:
            scale, zero = entry["quantization"]
            value = np.clip(np.rint(value / scale) + zero, -128, 127).astype(np.int8)
        interpreter.set_tensor(entry["index"], value)
        interpreter.invoke()
        raw = interpreter.get_tensor(result["index"])[0].astype(np.float64)
        scale, zero = result["quantization"]
        rows.append((raw - zero) * scale if scale else raw)
    return np.stack(rows), (entry["dtype"], result["dtype"])


@pytest.mark.timeout(240)
def test_layers_stay_float_by_name(source: Path, tmp_path: Path) -> None:
    layers = tflite.layers(source)
    assert len(layers) == 4
    assert "Conv2d_0" in short(layers[0])
    wanted, _ = run(source)
    maker = TfliteMaker(source, SAMPLES)
    errors = {}
    for name, exclude in (("none", ()), ("head", layers[-1:]), ("all", layers)):
        maker.write(tmp_path / f"{name}.tflite", SCHEME, "minmax", exclude)
        given, types = run(tmp_path / f"{name}.tflite")
        errors[name] = np.linalg.norm(given - wanted) / np.linalg.norm(wanted), types
    assert errors["none"][0] < 0.3
    assert errors["none"][1] == (np.int8, np.int8)
    assert errors["head"][1] == (np.int8, np.float32)
    assert errors["all"][0] < 0.05
    tflite.quantize(source, tmp_path / "once.tflite", SAMPLES)
    assert (tmp_path / "once.tflite").read_bytes() == (tmp_path / "none.tflite").read_bytes()


@pytest.mark.timeout(240)
def test_a_new_head_keeps_the_ranges_of_the_backbone(source: Path, recipe: Recipe, tmp_path: Path) -> None:
    old = TfliteMaker(source, SAMPLES).filed("minmax")
    tflite.export(network(2), recipe, tmp_path / "new.tflite")
    maker = TfliteMaker(tmp_path / "new.tflite", SAMPLES * 1.5, old)
    new = maker.filed("minmax")
    same = {key for key in old.ranges if new.ranges.get(key) == old.ranges[key]}
    assert len(old.ranges) == 5  # input, two convolutions, mean, scores
    assert len(same) == 4
    assert maker.kept == 4
    assert kept.tflite_keys(source)["serving_default_output_0_output"] not in same


def test_other_methods_and_broken_files_are_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no ranges by entropy.*minmax or auto"):
        tflite.quantize(source, tmp_path / "x.tflite", SAMPLES, "entropy")
    with pytest.raises(DataError, match="takes samples of shape"):
        tflite.quantize(source, tmp_path / "x.tflite", SAMPLES[:, :, :6])
    (tmp_path / "broken.tflite").write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be quantized"):
        tflite.quantize(tmp_path / "broken.tflite", tmp_path / "x.tflite", SAMPLES)
    with pytest.raises(DataError, match="cannot be read as TFLite"):
        tflite.layers(tmp_path / "broken.tflite")


def test_what_cannot_be_stripped_is_said(source: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"nothing at all")
    with pytest.raises(DataError, match="is not TFLite"):
        stripper.strip(broken, tmp_path / "x", "image", "scores")
    broken.write_bytes(source.read_bytes()[:64])
    with pytest.raises(DataError, match="cannot be read as TFLite"):
        stripper.strip(broken, tmp_path / "x", "image", "scores")
    assert not (tmp_path / "x").exists()
