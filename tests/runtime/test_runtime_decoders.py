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
from outrider_runtime.decoders import decoder

Activation = Literal["softmax", "none"]
LABELS = ("bag", "boot", "coat")
GIVEN = Input(name="x", shape=(1, 1, 8, 8), layout="NCHW", preprocess=ImagePreprocess(color="gray"))


def read(values: list[float], dtype: str = "float32", activation: str = "softmax", scale: float = 0.0):  # noqa: ANN201 - a test helper
    quantization = Quantization(scale=scale, zero_point=-10) if scale else None
    tensor = Tensor(name="y", shape=(1, 3), dtype=dtype, quantization=quantization)  # type: ignore[arg-type]
    plan = ClassificationDecoder(labels=LABELS, activation=activation)  # type: ignore[arg-type]
    return decoder(Output(name="y", shape=(1, 3), decoder=plan), tensor, GIVEN).decode(
        np.array([values], dtype)
    )


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


@settings(max_examples=100, deadline=None)
@given(
    logits=st.lists(st.floats(-80, 80, width=32), min_size=2, max_size=40),
    activation=st.sampled_from(["softmax", "none"]),
)
def test_it_reads_what_the_formula_says(logits: list[float], activation: Activation) -> None:
    labels = tuple(f"label-{at}" for at in range(len(logits)))
    shape = (1, len(logits))
    plan = ClassificationDecoder(labels=labels, activation=activation)
    reader = decoder(
        Output(name="y", shape=shape, decoder=plan), Tensor(name="y", shape=shape, dtype="float32"), GIVEN
    )
    reader.decode(np.zeros(shape, np.float32))
    seen = reader.decode(np.array([logits], np.float32))
    values = np.array(logits, np.float32).astype(float)
    scores = np.exp(values - values.max()) if activation == "softmax" else values
    scores = scores / scores.sum() if activation == "softmax" else scores
    assert seen.index == int(np.argmax(values))
    assert seen.label == labels[seen.index]
    second, best = sorted(scores)[-2:]
    assert seen.score == pytest.approx(best)
    assert seen.margin == pytest.approx(best - second, abs=1e-9)


def test_the_output_is_left_alone() -> None:
    plan = ClassificationDecoder(labels=LABELS)
    reader = decoder(
        Output(name="y", shape=(1, 3), decoder=plan), Tensor(name="y", shape=(1, 3), dtype="float32"), GIVEN
    )
    answer = np.array([[1.0, 3.0, 2.0]], np.float32)
    answer.flags.writeable = False
    assert reader.decode(answer) == reader.decode(answer)
    assert answer.tolist() == [[1.0, 3.0, 2.0]]


def test_a_single_label_leads_by_its_whole_score() -> None:
    shape = (1, 1)
    plan = ClassificationDecoder(labels=("bag",), activation="none")
    reader = decoder(
        Output(name="y", shape=shape, decoder=plan), Tensor(name="y", shape=shape, dtype="float32"), GIVEN
    )
    seen = reader.decode(np.array([[0.75]], np.float32))
    assert (seen.label, seen.score, seen.margin) == ("bag", 0.75, 0.75)


def test_a_label_per_score() -> None:
    plan = ClassificationDecoder(labels=LABELS)
    with pytest.raises(EngineError, match="3 labels"):
        decoder(
            Output(name="y", shape=(1, 3), decoder=plan),
            Tensor(name="y", shape=(1, 4), dtype="float32"),
            GIVEN,
        )
