import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import ArrayPreprocess, Input, Quantization, Tensor
from outrider_runtime.preprocess import Preprocessor, preprocessor

MEAN, STD = (1.0, 2.0), (2.0, 4.0)


def build(
    shape: tuple[int, ...] = (1, 3, 2),
    layout: str = "NTC",
    into: str = "",
    dtype: str = "float32",
    steps: Quantization | None = None,
) -> tuple[Preprocessor, Tensor]:
    values: Any = {"mean": MEAN, "std": STD}
    source: Any = Input(name="x", shape=shape, layout=layout, preprocess=ArrayPreprocess(**values))  # type: ignore[arg-type]
    into = into or layout
    turned = tuple(shape[layout.index(letter)] for letter in into)
    kind: Any = {"dtype": dtype, "layout": into}
    tensor = Tensor(name="x", shape=turned, quantization=steps, **kind)
    return preprocessor(source, tensor), tensor


def test_arrays_are_normalized_by_feature() -> None:
    writer, _ = build()
    out = np.empty((1, 3, 2), np.float32)
    sample = np.array([[1, 2], [3, 6], [5, 10]], np.float32)
    for given_ in (sample, sample[None], sample.astype(np.int16), sample.astype(np.float64)):
        out.fill(9)
        writer.write(given_, out)
        assert out[0].tolist() == [[0, 0], [1, 1], [2, 2]]


@pytest.mark.parametrize(
    ("shape", "layout", "into"),
    [
        ((1, 2), "NC", "NC"),
        ((1, 3, 2), "NTC", "NCT"),
        ((1, 2, 3), "NCT", "NTC"),
        ((1, 2, 3), "NCT", "NCT"),
        ((1, 2, 3, 5), "NCHW", "NHWC"),
        ((1, 3, 5, 2), "NHWC", "NCHW"),
    ],
)
def test_features_are_turned_into_the_layout_of_the_tensor(
    shape: tuple[int, ...], layout: str, into: str
) -> None:
    writer, tensor = build(shape, layout, into)
    sample = np.random.default_rng(1).normal(size=shape)
    features_last = np.moveaxis(sample, layout.index("C"), -1)
    wanted = np.moveaxis((features_last - MEAN) / STD, -1, layout.index("C"))
    wanted = wanted.transpose([layout.index(letter) for letter in into])
    out = np.empty(tensor.shape, np.float32)
    writer.write(sample[0], out)
    np.testing.assert_allclose(out, wanted, atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=6, max_size=6))
def test_int8_is_rounded_and_clipped(values: list[float]) -> None:
    writer, _ = build(dtype="int8", steps=Quantization(scale=0.5, zero_point=3))
    sample, out = np.array(values).reshape(3, 2), np.empty((1, 3, 2), np.int8)
    writer.write(sample, out)
    wanted = np.clip(np.rint((sample - MEAN) / STD / 0.5 + 3), -128, 127)
    np.testing.assert_array_equal(out[0], wanted)


def test_integers_without_quantization_are_rounded_and_clipped_too() -> None:
    writer, _ = build(dtype="uint8")
    out = np.empty((1, 3, 2), np.uint8)
    writer.write(np.array([[1, 2], [4.2, 7.6], [999, -999]]), out)
    assert out[0].tolist() == [[0, 0], [2, 1], [255, 0]]


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_after_the_first_sample_nothing_of_its_size_is_allocated(dtype: str) -> None:
    steps = Quantization(scale=0.1) if dtype == "int8" else None
    writer, tensor = build((1, 50_000, 2), "NTC", "NCT", dtype, steps)
    sample, out = np.ones((50_000, 2), np.float32), np.empty(tensor.shape, dtype)
    writer.write(sample, out)
    tracemalloc.start()
    writer.write(sample, out)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The sample as int8 has 100 KB; numpy 1 casts through a buffer of 64 KB, numpy 2 through none.
    assert peak < 80_000


@pytest.mark.parametrize(
    "sample",
    [
        np.zeros((2, 2)),
        np.zeros(6),
        np.zeros((2, 3)),
        np.zeros((3, 2), complex),
        np.full((3, 2), None),
        np.full((3, 2), np.nan),
        np.array([[0, 0], [np.inf, -np.inf], [0, 0]]),
    ],
)
def test_samples_that_do_not_fit_or_are_not_numbers_are_refused(sample: np.ndarray) -> None:
    with pytest.raises(EngineError, match="sample"):
        build()[0].write(sample, np.empty((1, 3, 2), np.float32))


def test_what_is_not_the_tensor_is_refused() -> None:
    for out in (np.empty((1, 3, 2)), np.empty((3, 2), np.float32)):
        with pytest.raises(EngineError, match="input 'x'"):
            build()[0].write(np.zeros((3, 2)), out)


@pytest.mark.parametrize(
    ("shape", "layout", "stored", "into"),
    [
        ((1, 3, 2), "NTC", (1, 2, 3), "NTC"),
        ((1, 3, 2), "NTC", (1, 6), "NC"),
        ((2, 3, 2), "NTC", (2, 3, 2), "NTC"),
        ((1, 3, 2), "NC", (1, 3, 2), "NC"),
    ],
)
def test_shapes_and_layouts_that_contradict_are_refused(
    shape: tuple[int, ...], layout: str, stored: tuple[int, ...], into: str
) -> None:
    source: Any = {"shape": shape, "layout": layout, "preprocess": ArrayPreprocess()}
    kind: Any = {"shape": stored, "layout": into, "dtype": "float32"}
    with pytest.raises(EngineError, match="cannot fill"):
        preprocessor(Input(name="x", **source), Tensor(name="x", **kind))


def test_a_mean_per_feature() -> None:
    with pytest.raises(EngineError, match="2 and 2 entries for 3 features"):
        build((1, 2, 3), "NTC")
