"""Numbers in the units of what was measured, by hand."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import ArrayPreprocess, Dtype, Input, RegressionDecoder
from outrider_runtime.perception import Regression
from outrider_runtime.session import Array
from tests.fakes.ends import quantized, reading, tensor

NAMES = ("angle", "speed")
WINDOW = Input(name="x", shape=(1, 8, 3), layout="NTC", preprocess=ArrayPreprocess())


def read(array: Array, names: tuple[str, ...] = NAMES, **plan: Any) -> Regression:  # noqa: ANN401 - of a decoder
    kind: Dtype = array.dtype.name  # type: ignore[assignment]
    decoder = RegressionDecoder(names=names, **plan)
    seen = reading(decoder, [tensor(array.shape, kind)], WINDOW).decode([array])
    assert isinstance(seen, Regression)
    return seen


@pytest.mark.parametrize(
    ("plan", "values"),
    [
        ({}, (0.5, -2.0)),
        ({"std": (4.0,)}, (2.0, -8.0)),
        ({"mean": (1.0, 10.0)}, (1.5, 8.0)),
        ({"mean": (1.0, 10.0), "std": (2.0, 5.0)}, (2.0, 0.0)),
        ({"mean": (1.0,), "std": (2.0, 5.0)}, (2.0, -9.0)),
    ],
)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_normalization_is_undone(plan: dict[str, Any], values: tuple[float, ...], dtype: str) -> None:
    seen = read(np.array([[0.5, -2.0]], dtype), **plan)
    assert seen == Regression(names=NAMES, values=values)
    assert (seen.labels, seen.score) == ((), 1.0)


def test_the_shape_is_of_no_matter() -> None:
    assert read(np.array([[[[1.0]], [[2.0]]]], np.float32)).values == (1.0, 2.0)
    assert read(np.array([3], np.int32), ("count",)).values == (3.0,)


def test_quantized_outputs_are_dequantized_first() -> None:
    array, stored = quantized(np.array([[0.5, -2.0]]), 0.25, 3)
    seen = reading(RegressionDecoder(names=NAMES, mean=(10.0,), std=(2.0,)), [stored], WINDOW).decode([array])
    assert isinstance(seen, Regression)
    assert seen.values == (11.0, 6.0)


@given(st.sampled_from([np.nan, np.inf, -np.inf]), st.integers(0, 1))
def test_no_malformed_output_is_read(bad: float, place: int) -> None:
    array = np.zeros((1, 2), np.float32)
    array[0, place] = bad
    with pytest.raises(EngineError, match="NaN or infinity"):
        read(array)


def test_a_number_beyond_all_measure_is_none() -> None:
    with pytest.raises(EngineError, match="NaN or infinity"):
        read(np.array([[1e308, 0.0]]), std=(100.0,))


@pytest.mark.parametrize(
    ("plan", "shape", "fault"),
    [
        ({}, (1, 3), "2 names for a shape"),
        ({"mean": (1.0, 2.0, 3.0)}, (1, 2), "3 entries in mean for 2 names"),
        ({"std": (1.0, 2.0, 3.0)}, (1, 2), "3 entries in std"),
        ({"mean": (float("inf"),)}, (1, 2), "infinite number in mean"),
        ({"names": ("a", "a")}, (1, 2), "two of the name 'a'"),
    ],
)
def test_what_does_not_fit_is_refused(plan: dict[str, Any], shape: tuple[int, ...], fault: str) -> None:
    with pytest.raises(EngineError, match=fault):
        read(np.zeros(shape, np.float32), **plan)
