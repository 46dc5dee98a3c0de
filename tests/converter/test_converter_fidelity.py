"""The cosine sees direction only, in double precision, and has an answer for every pair of arrays."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider_bundle.manifest import ClassificationDecoder, Output, RawDecoder
from outrider_converter.fidelity import as_stated, cosine, middle, worst

ROWS = st.lists(st.integers(-127, 127), min_size=3, max_size=3)


@given(ROWS, st.integers(1, 1000))
def test_a_positive_factor_changes_nothing(row: list[int], factor: int) -> None:
    values = np.array(row, np.int8)
    assert cosine(values, values.astype(np.float32) * factor) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([1, 0], [0, 1], 0.0),
        ([1, 1], [-1, -1], -1.0),
        ([0, 0], [0, 0], 1.0),
        ([0, 0], [1, 0], 0.0),
        ([3, 4], [4, 3], 24 / 25),
    ],
)
def test_directions(one: list[int], other: list[int], expected: float) -> None:
    assert cosine(np.array([one]), np.array([other])) == pytest.approx(expected)


def test_nan_is_never_near() -> None:
    assert math.isnan(cosine(np.array([np.nan, 1.0]), np.array([1.0, 1.0])))


def test_a_median_has_an_interval_that_narrows_with_the_samples() -> None:
    source = np.random.default_rng(0)
    few, many = middle(source.random(20)), middle(source.random(2000))
    assert few.low <= few.value <= few.high
    assert many.high - many.low < few.high - few.low
    assert middle(np.array([0.5])) == middle(np.array([0.5, 0.5]))
    assert worst(np.array([[0.9, 0.9], [0.2, 0.2]])).value == pytest.approx(0.2)


def test_probabilities_are_compared_with_probabilities() -> None:
    logits = (np.array([[0.0, math.log(3.0)]], np.float32),)

    def stated(decoder: ClassificationDecoder | RawDecoder) -> list[float]:
        manifest = SimpleNamespace(outputs=(Output(name="y", shape=(1, 2), decoder=decoder),))
        return as_stated(manifest, logits)[0][0].tolist()  # type: ignore[arg-type]

    assert stated(ClassificationDecoder(labels=("a", "b"), activation="none")) == pytest.approx([0.25, 0.75])
    assert stated(ClassificationDecoder(labels=("a", "b"))) == logits[0][0].tolist()
    assert stated(RawDecoder()) == logits[0][0].tolist()
