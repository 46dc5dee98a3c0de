import numpy as np
import pytest

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import ClassificationDecoder, Output, Quantization, Tensor
from outrider_runtime.decoders import decoder

LABELS = ("bag", "boot", "coat")


def read(values: list[float], dtype: str = "float32", activation: str = "softmax", scale: float = 0.0):  # noqa: ANN201 - a test helper
    quantization = Quantization(scale=scale, zero_point=-10) if scale else None
    tensor = Tensor(name="y", shape=(1, 3), dtype=dtype, quantization=quantization)  # type: ignore[arg-type]
    plan = ClassificationDecoder(labels=LABELS, activation=activation)  # type: ignore[arg-type]
    return decoder(Output(name="y", shape=(1, 3), decoder=plan), tensor).decode(np.array([values], dtype))


def test_softmax_gives_probability_and_lead() -> None:
    seen = read([1.0, 3.0, 2.0])
    powers = np.exp([1.0, 3.0, 2.0])
    assert (seen.index, seen.label) == (1, "boot")
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


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_number_is_an_error(bad: float) -> None:
    with pytest.raises(EngineError, match="NaN or infinity"):
        read([0.0, bad, 1.0])


def test_a_label_per_score() -> None:
    plan = ClassificationDecoder(labels=LABELS)
    with pytest.raises(EngineError, match="3 labels"):
        decoder(Output(name="y", shape=(1, 3), decoder=plan), Tensor(name="y", shape=(1, 4), dtype="float32"))
