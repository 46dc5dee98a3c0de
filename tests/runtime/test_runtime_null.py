import numpy as np
import pytest

from outrider_bundle.errors import EngineError
from outrider_runtime.runtimes.null import NullRuntime


def test_options_give_the_shapes() -> None:
    session = NullRuntime().load({}, {"input": "1, 2,3", "input_dtype": "int16", "output": "1,7"})
    assert (session.inputs[0].shape, session.inputs[0].dtype) == ((1, 2, 3), "int16")
    assert (session.outputs[0].shape, session.outputs[0].dtype) == ((1, 7), "float32")


@pytest.mark.parametrize(("pixels", "index"), [([0, 0, 0], 0), ([1, 2, 0], 3), ([255, 255, 4], 4)])
def test_the_answer_is_one_hot_at_the_sum_of_the_bytes(pixels: list[int], index: int) -> None:
    session = NullRuntime().load({}, {"input": "1,3", "input_dtype": "uint8", "output": "1,5"})
    (answer,) = session.run([np.array([pixels], np.uint8)])
    assert answer[0].tolist() == np.eye(5)[index].tolist()


@pytest.mark.parametrize(
    "options",
    [{"input": "1,x"}, {"output": ""}, {"output": "1,0"}, {"output": "1,-2"}, {"input_dtype": "float128"}],
)
def test_shapes_that_are_none_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(EngineError, match="runtime null"):
        NullRuntime().load({}, options)
