"""The statistics a device will compare its own frames with."""

import math

import numpy as np
import pytest

from outrider_bundle.manifest import ArrayPreprocess, ImagePreprocess, Input, Quantization, Tensor
from outrider_converter.baseline import baseline, noise, output_rows, probabilities, statistic

IMAGE = Input(name="x", shape=(1, 1, 8, 8), layout="NCHW", preprocess=ImagePreprocess(color="gray"))
ARRAY = Input(name="x", shape=(1, 4), layout="NC", preprocess=ArrayPreprocess())


def test_a_distribution_in_four_numbers() -> None:
    found = statistic(np.arange(101.0))
    assert (found.mean, found.p05, found.p95) == (50.0, 5.0, 95.0)
    assert found.std == pytest.approx(29.1548, abs=1e-3)


def test_noise_is_measured_and_structure_is_not() -> None:
    source = np.random.default_rng(0)
    ramp = np.add.outer(np.arange(64.0), 2 * np.arange(64.0))
    assert noise(ramp) == pytest.approx(0.0, abs=1e-9)
    assert noise(ramp + source.normal(0, 5, ramp.shape)) == pytest.approx(5.0, rel=0.05)
    assert noise(np.ones((2, 9))) == 0.0


def test_images_are_described_by_their_pixels() -> None:
    frames = np.stack([np.full((8, 8), 10, np.uint8), np.full((8, 8), 30, np.uint8)])
    found = baseline(frames, IMAGE, np.array([[0.9, 0.1], [0.2, 0.8]]))
    assert found.samples == 2
    assert found.inputs["brightness"].mean == 20.0
    assert found.inputs["contrast"].mean == 0.0
    assert found.prior == (0.5, 0.5)


def test_arrays_are_described_by_sample() -> None:
    found = baseline(np.array([[0.0, 2.0, 0.0, 2.0]] * 3), ARRAY, np.full((3, 2), 0.5))
    assert (found.inputs["mean"].mean, found.inputs["deviation"].mean) == (1.0, 1.0)


def test_decisions_are_described_by_their_probabilities() -> None:
    rows = output_rows(np.array([[0.7, 0.2, 0.1]]))
    assert rows["confidence"][0] == 0.7
    assert rows["margin"][0] == pytest.approx(0.5)
    assert rows["entropy"][0] == pytest.approx(-sum(p * math.log(p) for p in (0.7, 0.2, 0.1)))
    assert output_rows(np.array([[1.0, 0.0]]))["entropy"][0] == pytest.approx(0.0, abs=1e-9)


def test_stored_outputs_become_probabilities() -> None:
    tensor = Tensor(name="y", shape=(1, 3), dtype="int8", quantization=Quantization(scale=0.5, zero_point=-2))
    found = probabilities(np.array([[0, 2, -2]], np.int8), tensor, softmax=True)
    expected = np.exp([1.0, 2.0, 0.0])
    assert np.allclose(found[0], expected / expected.sum())
    raw = probabilities(
        np.array([[0.25, 0.75]]), Tensor(name="y", shape=(1, 2), dtype="float32"), softmax=False
    )
    assert raw.tolist() == [[0.25, 0.75]]
