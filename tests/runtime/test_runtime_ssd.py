"""Detectors with boxes and scores apart: the three sets of outputs, by hand."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import ArrayPreprocess, Input, SsdDecoder
from outrider_runtime.perception import Detections
from outrider_runtime.session import Array
from tests.fakes.ends import quantized, reading, tensor

LABELS = ("cat", "dog")
YXYX, XYXY = [0.25, 0.125, 0.5, 0.375], [0.125, 0.25, 0.375, 0.5]
BOX = (80.0, 60.0, 160.0, 60.0)
"""Of both, in a frame of 640x240."""


def f32(values: Any) -> Array:  # noqa: ANN401 - nested lists
    return np.array(values, np.float32)


def told(
    boxes: list[list[float]], classes: list[float], scores: list[float], count: float
) -> dict[str, Array]:
    return {"boxes": f32([boxes]), "classes": f32([classes]), "scores": f32([scores]), "count": f32([count])}


def seen(outputs: dict[str, Array], **plan: Any) -> list[tuple[str, float, tuple[float, ...]]]:  # noqa: ANN401
    decoder = SsdDecoder(outputs=tuple(outputs), labels=LABELS, **plan)  # type: ignore[arg-type]
    made = reading(decoder, [tensor(array.shape) for array in outputs.values()])
    found = made.decode(list(outputs.values()), (240, 640, 3))
    assert isinstance(found, Detections)
    assert found.frame == (640, 240)
    return [(one.label, one.score, one.box) for one in found.objects]


@pytest.mark.parametrize(
    ("outputs", "plan"),
    [
        (told([YXYX, YXYX], [1, 0], [0.75, 0.1], 2), {}),
        (told([XYXY, XYXY], [2, 0], [0.75, 0.9], 2), {"background": True, "box": "xyxy"}),
        ({"boxes": f32([[YXYX] * 3]), "scores": f32([[[0, 0.75], [0.2, 0.5], [0.1, 0.1]]])}, {}),
        (
            {"boxes": f32([[YXYX] * 2]), "scores": f32([[[0.25, 0, 0.75], [0.9, 0.1, 0]]])},
            {"background": True},
        ),
        ({"scores": f32([[[0, 0.75]]]), "boxes": f32([[XYXY]])}, {"box": "xyxy"}),
        (
            {"rows": f32([[[[0, 2, 0.75, *XYXY], [0, 0, 0.9, *XYXY], [-1, 2, 0.9, *XYXY]]]])},
            {"box": "xyxy", "background": True},
        ),
    ],
)
def test_a_set_of_outputs_is_read(outputs: dict[str, Array], plan: dict[str, Any]) -> None:
    assert seen(outputs, **plan) == [("dog", 0.75, BOX)]


def test_outputs_come_in_any_order() -> None:
    outputs = told([YXYX], [1], [0.75], 1)
    assert seen({role: outputs[role] for role in ("scores", "boxes", "count", "classes")}) == [
        ("dog", 0.75, BOX)
    ]


@pytest.mark.parametrize(("count", "objects"), [(0, 0), (1, 1), (2, 2), (9, 2)])
def test_what_is_behind_the_count_is_not_there(count: int, objects: int) -> None:
    assert len(seen(told([YXYX] * 2, [0, 1], [0.75, 0.5], count))) == objects


def test_of_boxes_on_one_object_the_surest_is_kept() -> None:
    """Of those that the model has not suppressed; the others are as it wants them."""
    near = [edge + 0.01 for edge in YXYX]
    scores = [[0.5, 0], [0.75, 0], [0, 0.5]]
    found = seen({"boxes": f32([[YXYX, near, YXYX]]), "scores": f32([scores])})
    assert [(label, score) for label, score, _ in found] == [("cat", 0.75), ("dog", 0.5)]
    assert len(seen(told([YXYX, near], [0, 0], [0.5, 0.75], 2))) == 2


def test_quantized_outputs_are_those_of_their_real_values() -> None:
    boxes, boxes_tensor = quantized(f32([[YXYX] * 2]), 1 / 64, -9)
    scores, scores_tensor = quantized(f32([[[0.0, 0.75], [0.2, 0.0]]]), 1 / 64, -60)
    made = reading(SsdDecoder(outputs=("boxes", "scores"), labels=LABELS), [boxes_tensor, scores_tensor])
    found = made.decode([boxes, scores], (240, 640))
    assert isinstance(found, Detections)
    assert [(one.label, one.score, one.box) for one in found.objects] == [("dog", 0.75, BOX)]


def test_boxes_are_clipped_to_the_frame_and_those_outside_are_nothing() -> None:
    found = seen(
        told([[-0.5, -0.5, 0.25, 0.125], [1.5, 0, 2, 1], [0.5, 0.5, 0.5, 0.6]], [0] * 3, [0.9] * 3, 3)
    )
    assert [box for _, _, box in found] == [(0.0, 0.0, 80.0, 60.0)]


def test_no_more_than_the_best_are_told() -> None:
    found = seen(told([YXYX] * 3, [0] * 3, [0.5, 0.75, 0.625], 3), max_objects=2)
    assert [score for _, score, _ in found] == [0.75, 0.625]


@pytest.mark.parametrize("label", [-1.0, 2.0, 90.0])
def test_a_label_that_nobody_named_is_an_error(label: float) -> None:
    with pytest.raises(EngineError, match="answered the class"):
        seen(told([YXYX], [label], [0.75], 1))


SETS: list[tuple[dict[str, Sequence[int]], dict[str, Any]]] = [
    ({"boxes": (1, 5, 4), "classes": (1, 5), "scores": (1, 5), "count": (1,)}, {}),
    ({"boxes": (1, 5, 4), "scores": (1, 5, 2)}, {}),
    ({"rows": (1, 1, 5, 7)}, {"box": "xyxy"}),
]


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(SETS), st.sampled_from([np.nan, np.inf, -np.inf]), st.data())
def test_no_malformed_output_is_read(
    chosen: tuple[dict[str, Sequence[int]], dict[str, Any]], bad: float, data: st.DataObject
) -> None:
    shapes, plan = chosen
    outputs = {role: np.zeros(shape, np.float32) for role, shape in shapes.items()}
    flat = outputs[data.draw(st.sampled_from(sorted(outputs)))].reshape(-1)
    flat[data.draw(st.integers(0, flat.size - 1))] = bad
    with pytest.raises(EngineError, match="NaN or infinity"):
        seen(outputs, **plan)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(SETS), st.randoms(use_true_random=False))
def test_any_numbers_are_read_or_refused(
    chosen: tuple[dict[str, Sequence[int]], dict[str, Any]],
    random: Any,  # noqa: ANN401 - Hypothesis' own
) -> None:
    shapes, plan = chosen
    source = np.random.default_rng(random.getrandbits(32))
    outputs = {role: (source.normal(size=shape) * 3).astype(np.float32) for role, shape in shapes.items()}
    try:
        found = seen(outputs, **plan)
    except EngineError as error:
        assert "class" in error.what  # noqa: PT017 - both are fine
        return
    for _, score, (left, top, width, height) in found:
        assert score >= 0.25
        assert 0 <= left < left + width <= 640 + 1e-9
        assert 0 <= top < top + height <= 240 + 1e-9


@pytest.mark.parametrize(
    ("outputs", "plan", "fault"),
    [
        ({"boxes": (1, 5, 4)}, {}, "is read from boxes"),
        ({"boxes": (1, 5, 4), "classes": (1, 5)}, {}, "is read from boxes, classes"),
        ({"boxes": (1, 5, 4), "scores": (1, 5, 3)}, {}, "scores of the shape"),
        ({"boxes": (1, 5, 4), "scores": (1, 5, 2)}, {"background": True}, "scores of the shape"),
        ({"boxes": (1, 5, 5), "scores": (1, 5, 2)}, {}, "boxes of the shape"),
        ({"rows": (1, 5, 7)}, {"box": "xyxy"}, "rows of the shape"),
        ({"rows": (1, 1, 5, 7)}, {}, "left, top, right and bottom"),
        (
            {"boxes": (1, 5, 4), "classes": (1, 5), "scores": (1, 5), "count": (5,)},
            {},
            "count of the shape",
        ),
    ],
)
def test_outputs_that_are_no_set_are_refused(
    outputs: dict[str, tuple[int, ...]], plan: dict[str, Any], fault: str
) -> None:
    with pytest.raises(EngineError, match=fault):
        seen({role: np.zeros(shape, np.float32) for role, shape in outputs.items()}, **plan)


def test_an_input_that_is_no_image_is_refused() -> None:
    numbers = Input(name="x", shape=(1, 9), layout="NC", preprocess=ArrayPreprocess())
    with pytest.raises(EngineError, match="no image"):
        reading(SsdDecoder(outputs=("rows",), labels=LABELS, box="xyxy"), [tensor((1, 1, 5, 7))], numbers)
