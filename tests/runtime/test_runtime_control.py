"""What policy networks want done, by hand."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import ArrayPreprocess, ControlDecoder, Input
from outrider_runtime.perception import Control
from outrider_runtime.session import Array
from tests.fakes.ends import quantized, reading, tensor

NAMES = ("left", "right")
STATE = Input(name="x", shape=(1, 4), layout="NC", preprocess=ArrayPreprocess())


def read(values: list[float], **plan: Any) -> Control:  # noqa: ANN401 - of a decoder
    array = np.array([values], np.float32)
    seen = reading(ControlDecoder(names=NAMES, **plan), [tensor(array.shape)], STATE).decode([array])
    assert isinstance(seen, Control)
    return seen


@pytest.mark.parametrize(
    ("scores", "index"), [([1.0, 2.0], 1), ([2.0, 1.0], 0), ([1.0, 1.0], 0), ([-5.0, -4.0], 1)]
)
def test_the_best_discrete_action_is_taken(scores: list[float], index: int) -> None:
    seen = read(scores)
    assert seen == Control(names=NAMES, values=tuple(scores), index=index)
    assert (seen.labels, seen.score) == ((NAMES[index],), 1.0)


TANH = math.tanh(0.5)


@pytest.mark.parametrize(
    ("plan", "outputs", "values"),
    [
        ({}, [0.5, -0.25], (0.5, -0.25)),
        ({}, [3.0, -3.0], (1.0, -1.0)),
        ({"low": (0.0,), "high": (2.0,)}, [3.0, -3.0], (2.0, 0.0)),
        ({"low": (0.0, -5.0), "high": (2.0, 5.0)}, [3.0, -3.0], (2.0, -3.0)),
        ({"scaled": True, "low": (0.0, -10.0), "high": (2.0, 10.0)}, [0.5, 0.5], (1.5, 5.0)),
        ({"scaled": True, "low": (0.0,), "high": (2.0,)}, [-1.0, 1.0], (0.0, 2.0)),
        ({"scaled": True, "low": (0.0,), "high": (2.0,)}, [-7.0, 7.0], (0.0, 2.0)),
        ({"squash": "tanh"}, [0.5, 0.0], (TANH, 0.0)),
        ({"squash": "tanh", "low": (-0.25,), "high": (0.25,)}, [0.5, 0.0], (0.25, 0.0)),
        ({"squash": "tanh", "scaled": True, "low": (-3.0,), "high": (3.0,)}, [0.5, 50.0], (3 * TANH, 3.0)),
    ],
)
def test_a_continuous_action_is_brought_into_its_range(
    plan: dict[str, Any], outputs: list[float], values: tuple[float, ...]
) -> None:
    seen = read(outputs, space="continuous", **plan)
    assert seen.values == pytest.approx(values)
    assert (seen.index, seen.labels, seen.score) == (-1, (), 1.0)


@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=2),
    st.sampled_from(["none", "tanh"]),
    st.booleans(),
    st.tuples(st.floats(-100, 100), st.floats(0.001, 100)),
)
def test_no_actuator_leaves_its_range(
    outputs: list[float],
    squash: str,
    scaled: bool,  # noqa: FBT001 - drawn
    span: tuple[float, float],
) -> None:
    low, high = span[0], span[0] + span[1]
    seen = read(outputs, space="continuous", squash=squash, scaled=scaled, low=(low,), high=(high,))
    assert all(low <= value <= high for value in seen.values)


@pytest.mark.parametrize("space", ["discrete", "continuous"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1])
def test_no_malformed_output_is_read(space: str, bad: float, place: int) -> None:
    """Not even where `tanh` or a limit would make a number of it."""
    values = [0.0, 0.0]
    values[place] = bad
    with pytest.raises(EngineError, match="NaN or infinity"):
        read(values, space=space)


def test_quantized_outputs_are_dequantized_first() -> None:
    array, stored = quantized(np.array([[0.5, -0.25]]), 0.125, 11)
    decoder = ControlDecoder(names=NAMES, space="continuous")
    seen = reading(decoder, [stored], STATE).decode([array])
    assert isinstance(seen, Control)
    assert seen.values == (0.5, -0.25)


@pytest.mark.parametrize(
    ("plan", "fault"),
    [
        ({"low": (0.0, 0.0, 0.0)}, "3 entries in low for 2 names"),
        ({"high": (2.0, 2.0, 2.0)}, "3 entries in high"),
        ({"low": (1.0,)}, "'left' from 1 to 1"),
        ({"low": (0.0, 2.0), "high": (1.0,)}, "'right' from 2 to 1"),
        ({"low": (float("-inf"),)}, "infinite number in low"),
        ({"names": ("a", "a")}, "two of the name 'a'"),
        ({"names": ("a",)}, "1 names for a shape"),
        ({"space": "discrete", "scaled": True}, "neither squashed nor scaled"),
        ({"space": "discrete", "squash": "tanh"}, "neither squashed nor scaled"),
    ],
)
def test_what_does_not_fit_is_refused(plan: dict[str, Any], fault: str) -> None:
    chosen = {"names": NAMES, "space": "continuous"} | plan
    with pytest.raises(EngineError, match=fault):
        reading(ControlDecoder(**chosen), [tensor((1, 2))], STATE)


def test_the_output_is_left_alone() -> None:
    array: Array = np.array([[1.0, 2.0]], np.float32)
    array.flags.writeable = False
    made = reading(ControlDecoder(names=NAMES), [tensor(array.shape)], STATE)
    assert made.decode([array]) == made.decode([array])
