"""How strange an input is: a score, or the difference from its reconstruction, by hand."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import (
    AnomalyDecoder,
    ArrayPreprocess,
    ImagePreprocess,
    Input,
    Layout,
    Quantization,
    Tensor,
)
from outrider_runtime.perception import Anomaly
from outrider_runtime.session import Array
from tests.fakes.ends import quantized, reading, tensor

IMAGE = Input(name="x", shape=(1, 3, 4, 5), layout="NCHW", preprocess=ImagePreprocess(color="rgb"))
WINDOW = Input(name="x", shape=(1, 6, 2), layout="NTC", preprocess=ArrayPreprocess())


@pytest.mark.parametrize(
    ("value", "score", "label"),
    [(0.5, 0.5, "anomaly"), (0.4375, 0.4375, "normal"), (7.0, 7.0, "anomaly"), (-3.0, 0.0, "normal")],
)
def test_a_score_from_the_threshold_on_is_an_anomaly(value: float, score: float, label: str) -> None:
    for array in (np.array([[value]], np.float32), np.array([value], np.float32)):
        seen = reading(AnomalyDecoder(threshold=0.5), [tensor(array.shape)], WINDOW).decode([array])
        assert seen == Anomaly(score=score, threshold=0.5)
        assert seen.labels == (label,)


def test_a_quantized_score_is_dequantized() -> None:
    array, stored = quantized(np.array([[0.75]]), 0.25, -100)
    assert reading(AnomalyDecoder(threshold=0.5), [stored], WINDOW).decode([array]).score == 0.75


PLAN = AnomalyDecoder(threshold=0.5, method="reconstruction")


def turned(array: Array, layout: Layout) -> Array:
    """Return an NCHW array in another layout, C-contiguous."""
    return np.ascontiguousarray(array.transpose([("NCHW").index(letter) for letter in layout]))


@pytest.mark.parametrize("fed_layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    ("out_layout", "out_shape"), [("NCHW", ()), ("NHWC", ()), ("NC", (1, 60)), ("same", ())]
)
def test_a_reconstruction_is_compared_place_by_place(
    fed_layout: Layout,
    out_layout: Any,  # noqa: ANN401 - a layout, or `same`
    out_shape: tuple[int, ...],
) -> None:
    """One number of 60 is wrong by 3: the mean squared difference is 9 / 60."""
    before = np.random.default_rng(1).normal(size=IMAGE.shape).astype(np.float32)
    after = before.copy()
    after[0, 1, 2, 3] += 3
    fed = turned(before, fed_layout)
    if out_layout == "same":  # no file knows the layout; the shape is that of the physical input
        answer, stored = turned(after, fed_layout), tensor(fed.shape)
    else:
        answer = after.reshape(out_shape) if out_shape else turned(after, out_layout)
        stored = Tensor(name="y", shape=answer.shape, dtype="float32", layout=out_layout)
    entry = Tensor(name="x", shape=fed.shape, dtype="float32", layout=fed_layout)
    seen = reading(PLAN, [stored], IMAGE, entry).decode([answer], (), fed)
    assert seen.score == pytest.approx(9 / 60, rel=1e-5)
    assert reading(PLAN, [stored], IMAGE, entry).decode([answer], (), fed) == seen


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0.01, 2.0), st.integers(-50, 50), st.floats(0.01, 2.0), st.integers(-50, 50), st.integers(0, 99)
)
def test_stored_integers_are_compared_as_real_values(
    scale: float, zero_point: int, out_scale: float, out_zero_point: int, seed: int
) -> None:
    source = np.random.default_rng(seed)
    fed, answer = (source.integers(-128, 128, WINDOW.shape).astype(np.int8) for _ in range(2))
    into, out_of = (
        Quantization(scale=scale, zero_point=zero_point),
        Quantization(scale=out_scale, zero_point=out_zero_point),
    )
    entry = Tensor(name="x", shape=fed.shape, dtype="int8", layout="NTC", quantization=into)
    made = reading(PLAN, [tensor(answer.shape, "int8", out_of)], WINDOW, entry)
    real = scale * (fed.astype(float) - zero_point) - out_scale * (answer.astype(float) - out_zero_point)
    assert made.decode([answer], (), fed).score == pytest.approx(float((real**2).mean()), rel=1e-9)


def test_an_exact_reconstruction_is_no_anomaly() -> None:
    fed, stored = quantized(np.arange(12.0).reshape(WINDOW.shape), 0.1, 5)
    entry = Tensor(name="x", shape=fed.shape, dtype="int8", layout="NTC", quantization=stored.quantization)
    assert reading(PLAN, [stored], WINDOW, entry).decode([fed], (), fed).score == 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("plan", [AnomalyDecoder(threshold=0.5), PLAN])
def test_no_malformed_output_is_read(plan: AnomalyDecoder, bad: float) -> None:
    array = np.zeros((1,) if plan.method == "score" else WINDOW.shape, np.float32)
    array.reshape(-1)[-1] = bad
    with pytest.raises(EngineError, match="NaN or infinity"):
        reading(plan, [tensor(array.shape)], WINDOW).decode([array], (), np.zeros(WINDOW.shape, np.float32))


def test_a_difference_beyond_all_measure_is_none() -> None:
    array = np.full(WINDOW.shape, 1e200)
    made = reading(PLAN, [tensor(array.shape, "float64")], WINDOW)
    with pytest.raises(EngineError, match="NaN or infinity"):
        made.decode([array], (), np.zeros(WINDOW.shape, np.float32))


def test_without_an_input_there_is_nothing_to_compare() -> None:
    array = np.zeros(WINDOW.shape, np.float32)
    with pytest.raises(EngineError, match="no input"):
        reading(PLAN, [tensor(array.shape)], WINDOW).decode([array])


def test_it_allocates_nothing_of_the_output_size() -> None:
    large = Input(name="x", shape=(1, 3, 256, 256), layout="NCHW", preprocess=ImagePreprocess(color="rgb"))
    array = np.zeros((1, 256, 256, 3), np.float32)
    entry = Tensor(name="x", shape=array.shape, dtype="float32", layout="NHWC")
    made = reading(PLAN, [tensor(array.shape)], large, entry)
    made.decode([array], (), array)
    tracemalloc.start()
    try:
        made.decode([array], (), array)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < array.nbytes / 3


@pytest.mark.parametrize(
    ("plan", "shape", "fault"),
    [
        (AnomalyDecoder(threshold=0.5), (1, 2), "A score is one number"),
        (PLAN, (1, 6, 3), "as many numbers as the input"),
        (AnomalyDecoder(threshold=float("inf")), (1, 1), "threshold of inf"),
    ],
)
def test_what_does_not_fit_is_refused(plan: AnomalyDecoder, shape: tuple[int, ...], fault: str) -> None:
    with pytest.raises(EngineError, match=fault):
        reading(plan, [tensor(shape)], WINDOW)


def test_an_input_in_an_order_that_cannot_be_told_is_refused() -> None:
    entry = Tensor(name="x", shape=(1, 12), dtype="float32", layout="NC")
    with pytest.raises(EngineError, match="another order"):
        reading(PLAN, [tensor(WINDOW.shape)], WINDOW, entry)
