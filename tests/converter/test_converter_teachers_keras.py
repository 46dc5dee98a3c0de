"""Keras files run on torch; Keras takes seconds to import, so this is one file."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch

from outrider_bundle.errors import DataError
from outrider_converter import measure
from outrider_converter.formats import onnx
from outrider_converter.quiet import quiet
from outrider_converter.recipe import Recipe, read_recipe
from outrider_converter.reference import load_teacher
from outrider_converter.teachers.keras import _keras
from tests.fakes.toy import write_toy

pytestmark = pytest.mark.skipif(find_spec("keras") is None, reason="the extra keras is not installed")


@pytest.fixture(scope="module")
def keras() -> Any:  # noqa: ANN401 - untyped library
    return _keras()


def build(keras: Any, *, softmax: str, shape: tuple[int, ...] = (12, 8, 3)) -> Any:  # noqa: ANN401 - untyped library
    """Build a small network whose softmax is an activation, a layer, or not there."""
    layers, one = keras.layers, len(shape) == 2
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input(shape),
            (layers.Conv1D if one else layers.Conv2D)(4, 3),
            layers.BatchNormalization(),
            layers.ReLU(),
            (layers.GlobalAveragePooling1D if one else layers.GlobalAveragePooling2D)(),
            layers.Dense(3, activation="softmax" if softmax == "activation" else None),
        ]
    )
    if softmax == "layer":
        model.add(layers.Softmax())
    return model


def recipe_for(folder: Path, file: str, *, output: str = "probabilities") -> Recipe:
    teacher = f'file = "{file}"\noutput = "{output}"'
    changes = (("shape = [1, 1, 12, 12]", "shape = [1, 3, 12, 8]"), ('color = "gray"', 'color = "rgb"'))
    return read_recipe(write_toy(folder, ('callable = "models:teacher"', teacher), *changes))


@pytest.mark.parametrize("softmax", ["activation", "layer", "none"])
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_keras_file_gives_logits(tmp_path: Path, keras: Any, softmax: str, suffix: str) -> None:  # noqa: ANN401
    path = tmp_path / f"t.{suffix}"
    batch = torch.rand(4, 3, 12, 8)
    with quiet():
        made = build(keras, softmax=softmax)
        made.save(path)
        wanted = torch.as_tensor(made(batch.permute(0, 2, 3, 1), training=False)).detach()
    recipe = recipe_for(tmp_path, path.name, output="logits" if softmax == "none" else "probabilities")
    model = load_teacher(recipe, 3, tmp_path)
    with torch.inference_mode():
        answers = model(batch)
    if softmax != "none":
        assert not torch.allclose(answers.sum(1), torch.ones(4), atol=1e-2)
        answers = torch.softmax(answers, 1)
    assert torch.allclose(answers, wanted, atol=1e-5)
    assert measure.cost(model, recipe.input.shape).macs == 10 * 6 * 4 * 27 + 12


def test_windows_come_channels_last(tmp_path: Path, keras: Any) -> None:  # noqa: ANN401
    with quiet():
        made = build(keras, softmax="none", shape=(20, 2))
        made.save(tmp_path / "t.keras")
    kind = ('kind = "image"\ncolor = "gray"', 'kind = "array"')
    recipe = read_recipe(
        write_toy(
            tmp_path,
            ('callable = "models:teacher"', 'file = "t.keras"'),
            ("shape = [1, 1, 12, 12]", "shape = [1, 2, 20]"),
            ('layout = "NCHW"', 'layout = "NCT"'),
            ('family = "res-cnn"', 'family = "ds-cnn-1d"'),
            ("shift = 1\n", ""),
            kind,
        )
    )
    batch = torch.rand(4, 2, 20)
    with torch.inference_mode():
        answers = load_teacher(recipe, 3, tmp_path)(batch)
        assert torch.allclose(answers, made(batch.permute(0, 2, 1), training=False), atol=1e-5)


def test_it_can_be_exported(tmp_path: Path, keras: Any) -> None:  # noqa: ANN401
    with quiet():
        build(keras, softmax="activation").save(tmp_path / "t.keras")
    recipe = recipe_for(tmp_path, "t.keras")
    model = load_teacher(recipe, 3, tmp_path)
    onnx.export(model, recipe, tmp_path / "out.onnx")
    frame = torch.rand(1, 3, 12, 8)
    session = ort.InferenceSession(tmp_path / "out.onnx", providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        wanted = model(frame).numpy()
    assert np.allclose(np.asarray(session.run(None, {"image": frame.numpy()})[0]), wanted, atol=1e-4)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_broken_keras_file(tmp_path: Path, keras: Any, suffix: str, share: float) -> None:  # noqa: ANN401
    path = tmp_path / f"t.{suffix}"
    with quiet():
        build(keras, softmax="none").save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=rf"t\.{suffix} cannot be read") as caught:
        load_teacher(recipe_for(tmp_path, path.name), 3, tmp_path)
    assert "\n" not in str(caught.value)


def test_another_backend_is_refused(tmp_path: Path, keras: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401
    (tmp_path / "t.keras").write_bytes(b"")
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(DataError, match=r"Keras runs on jax.*KERAS_BACKEND=torch"):
        load_teacher(recipe_for(tmp_path, "t.keras"), 3, tmp_path)
    assert "tensorflow" not in sys.modules
