from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import (
    ClassificationDecoder,
    ImagePreprocess,
    Input,
    Output,
    Quantization,
    Tensor,
)
from outrider_runtime.decoders import Decoder, decoder
from outrider_runtime.perception import Classification
from outrider_runtime.session import Array

Activation = Literal["softmax", "none"]
LABELS = ("bag", "boot", "coat")
GIVEN = Input(name="x", shape=(1, 1, 8, 8), layout="NCHW", preprocess=ImagePreprocess(color="gray"))
FED = Tensor(name="x", shape=(1, 1, 8, 8), dtype="float32", layout="NCHW")


def reader(plan: ClassificationDecoder, tensor: Tensor | None = None) -> Decoder:
    shape = (1, len(plan.labels))
    output = Output(name="y", shape=shape, decoder=plan)
    return decoder(output, [tensor or Tensor(name="y", shape=shape, dtype="float32")], GIVEN, FED)


def seen_in(made: Decoder, array: Array) -> Classification:
    seen = made.decode([array])
    assert isinstance(seen, Classification)
    return seen


def read(
    values: list[float], dtype: str = "float32", activation: str = "softmax", scale: float = 0.0
) -> Classification:
    quantization = Quantization(scale=scale, zero_point=-10) if scale else None
    tensor = Tensor(name="y", shape=(1, 3), dtype=dtype, quantization=quantization)  # type: ignore[arg-type]
    plan = ClassificationDecoder(labels=LABELS, activation=activation)  # type: ignore[arg-type]
    return seen_in(reader(plan, tensor), np.array([values], dtype))


def test_softmax_gives_probability_and_lead() -> None:
    seen = read([1.0, 3.0, 2.0])
    powers = np.exp([1.0, 3.0, 2.0])
    assert (seen.index, seen.label, seen.labels) == (1, "boot", ("boot",))
    assert seen.score == pytest.approx(powers[1] / powers.sum())
    assert seen.margin == pytest.approx((powers[1] - powers[2]) / powers.sum())


def test_scores_that_are_probabilities_stay_so() -> None:
    seen = read([0.2, 0.1, 0.7], activation="none")
    assert (seen.label, seen.score, seen.margin) == ("coat", pytest.approx(0.7), pytest.approx(0.5))


def test_stored_integers_are_dequantized_first() -> None:
    stored, real = read([-10, 10, 30], "int8", scale=0.1), read([0.0, 2.0, 4.0])
    assert stored.score == pytest.approx(real.score, abs=1e-6)
    assert stored.label == real.label == "coat"


def test_of_equal_scores_the_first_wins() -> None:
    assert read([1.0, 1.0, 1.0]).index == 0
    assert read([1.0, 1.0, 1.0]).margin == 0


def test_huge_logits_do_not_overflow() -> None:
    assert read([1e30, 0.0, -1e30]).score == 1.0


@pytest.mark.parametrize("activation", ["softmax", "none"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_is_not_a_number_is_an_error(bad: float, place: int, activation: str) -> None:
    values = [0.0, 5.0, 1.0]
    values[place] = bad
    with pytest.raises(EngineError, match="NaN or infinity"):
        read(values, activation=activation)


def test_opposite_infinities_do_not_cancel_out() -> None:
    with pytest.raises(EngineError, match="NaN or infinity"):
        read([np.inf, -np.inf, 1.0])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int32", "uint8"])
@pytest.mark.parametrize("activation", ["softmax", "none"])
def test_every_dtype_says_the_same(dtype: str, activation: str) -> None:
    seen, wanted = read([1, 7, 4], dtype, activation), read([1.0, 7.0, 4.0], "float64", activation)
    assert seen.label == "boot"
    assert (seen.score, seen.margin) == pytest.approx((wanted.score, wanted.margin), abs=1e-6)


@settings(max_examples=200, deadline=None)
@given(
    logits=st.lists(st.floats(-200, 200, width=32), min_size=2, max_size=200),
    activation=st.sampled_from(["softmax", "none"]),
)
def test_it_reads_what_the_formula_says(logits: list[float], activation: Activation) -> None:
    made = reader(ClassificationDecoder(labels=tuple(map(str, range(len(logits)))), activation=activation))
    made.decode([np.zeros((1, len(logits)), np.float32)])
    seen = seen_in(made, np.array([logits], np.float32))
    values = np.array(logits, np.float32).astype(float)
    scores = np.exp(values - values.max()) if activation == "softmax" else values
    scores = scores / scores.sum() if activation == "softmax" else scores
    assert seen.index == int(np.argmax(values))
    assert seen.label == str(seen.index)
    second, best = sorted(scores)[-2:]
    assert seen.score == pytest.approx(best, abs=1e-6)
    assert seen.margin == pytest.approx(best - second, abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(
    stored=st.lists(st.integers(-128, 127), min_size=2, max_size=100),
    scale=st.floats(1e-3, 4.0),
    zero_point=st.integers(-128, 127),
)
def test_quantized_scores_are_those_of_their_real_values(
    stored: list[int], scale: float, zero_point: int
) -> None:
    plan, shape = ClassificationDecoder(labels=tuple(map(str, range(len(stored))))), (1, len(stored))
    tensor = Tensor(
        name="y", shape=shape, dtype="int8", quantization=Quantization(scale=scale, zero_point=zero_point)
    )
    seen = seen_in(reader(plan, tensor), np.array([stored], np.int8))
    real = scale * (np.array(stored) - zero_point)
    powers = np.sort(np.exp(real - real.max()))
    assert seen.index == int(np.argmax(stored))
    assert seen.score == pytest.approx(powers[-1] / powers.sum())
    assert seen.margin == pytest.approx((powers[-1] - powers[-2]) / powers.sum(), abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(
    count=st.integers(1, 200),
    bad=st.sampled_from([np.nan, np.inf, -np.inf]),
    dtype=st.sampled_from(["float16", "float32", "float64"]),
    activation=st.sampled_from(["softmax", "none"]),
    data=st.data(),
)
def test_no_malformed_output_is_read(
    count: int, bad: float, dtype: str, activation: Activation, data: st.DataObject
) -> None:
    array = np.zeros((1, count), dtype)
    array[0, data.draw(st.lists(st.integers(0, count - 1), min_size=1))] = bad
    tensor = Tensor(name="y", shape=array.shape, dtype=dtype)  # type: ignore[arg-type]
    plan = ClassificationDecoder(labels=tuple(map(str, range(count))), activation=activation)
    with pytest.raises(EngineError, match="NaN or infinity"):
        reader(plan, tensor).decode([array])


def test_the_output_is_left_alone() -> None:
    made = reader(ClassificationDecoder(labels=LABELS))
    answer = np.array([[1.0, 3.0, 2.0]], np.float32)
    answer.flags.writeable = False
    assert made.decode([answer]) == made.decode([answer])
    assert answer.tolist() == [[1.0, 3.0, 2.0]]


def test_a_single_label_leads_by_its_whole_score() -> None:
    seen = seen_in(
        reader(ClassificationDecoder(labels=("bag",), activation="none")), np.array([[0.75]], np.float32)
    )
    assert (seen.label, seen.score, seen.margin) == ("bag", 0.75, 0.75)


def test_a_label_per_score() -> None:
    with pytest.raises(EngineError, match="3 labels"):
        reader(ClassificationDecoder(labels=LABELS), Tensor(name="y", shape=(1, 4), dtype="float32"))
