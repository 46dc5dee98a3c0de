"""The layouts of YOLO exports, by hand; and that few and many candidates are read by one rule."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import DetectionDecoder, Dtype, Quantization
from outrider_runtime.decoders import detection, objects
from outrider_runtime.decoders.objects import Candidate, kept, kept_of_few, kept_of_many
from outrider_runtime.perception import Detections
from outrider_runtime.session import Array
from tests.fakes.ends import quantized, reading, tensor

LABELS = ("cat", "dog")
FRAME = (100, 100, 3)
"""Of a frame; the input is 100 wide and 50 high, so that a frame is twice as high."""


def seen(array: Array, **plan: Any) -> list[tuple[str, float, tuple[float, ...]]]:  # noqa: ANN401 - of a decoder
    made = reading(DetectionDecoder(labels=LABELS, **plan), [tensor(array.shape)])
    found = made.decode([array], FRAME)
    assert isinstance(found, Detections)
    assert found.frame == (100, 100)
    return [
        (one.label, round(one.score, 4), tuple(round(edge, 4) for edge in one.box)) for one in found.objects
    ]


# Centre (30, 20), 10 wide, 8 high: edges 25, 16, 35, 24 in the input; 25, 32, 35, 48 in the frame.
BOX = (25.0, 32.0, 10.0, 16.0)
XYWH, XYXY = [30, 20, 10, 8], [25, 16, 35, 24]


@pytest.mark.parametrize(
    ("plan", "numbers", "score"),
    [
        ({}, [*XYWH, 0.25, 0.75], 0.75),
        ({"layout": "xyxy"}, [*XYXY, 0.25, 0.75], 0.75),
        ({"objectness": True}, [*XYWH, 0.5, 0.25, 0.75], 0.375),
        ({"layout": "xyxy", "objectness": True}, [*XYXY, 0.5, 0.25, 0.75], 0.375),
        ({"layout": "end"}, [*XYXY, 0.75, 1], 0.75),
    ],
)
@pytest.mark.parametrize("count", [1, 3, 40])
@pytest.mark.parametrize("turned", [False, True])
def test_a_layout_is_read(
    plan: dict[str, Any],
    numbers: list[float],
    score: float,
    count: int,
    turned: bool,  # noqa: FBT001 - a table column
) -> None:
    array = np.zeros((1, count, len(numbers)), np.float32)
    array[0, -1] = numbers
    if turned and plan.get("layout") != "end":
        array = np.ascontiguousarray(array.transpose(0, 2, 1))
    assert seen(array, **plan) == [("dog", score, BOX)]


@pytest.mark.parametrize(
    ("objectness", "score", "told"),
    [(0.5, 0.5, True), (0.5, 0.499, False), (0.2, 1.0, False), (1.0, 0.25, True), (0.0, 1.0, False)],
)
def test_objectness_multiplies_the_scores(objectness: float, score: float, told: bool) -> None:  # noqa: FBT001 - a table column
    array = np.array([[[*XYWH, objectness, 0, score]] * 2], np.float32)
    assert bool(seen(array, objectness=True)) is told


def test_quantized_objectness_is_that_of_real_values() -> None:
    plan = DetectionDecoder(labels=LABELS, objectness=True)
    real = np.array([[[30, 20, 10, 8, 0.5, 0.25, 0.75]] * 2], np.float32)
    array, stored = quantized(real, 0.25, -7)
    found = reading(plan, [stored]).decode([array], FRAME)
    assert isinstance(found, Detections)
    assert [(one.label, one.score, one.box) for one in found.objects] == [("dog", 0.375, BOX)]


def test_objects_of_the_layout_end_overlap_as_they_like() -> None:
    array = np.array([[[*XYXY, 0.5, 0], [*XYXY, 0.75, 0], [*XYXY, 0.2, 9]]], np.float32)
    assert [score for _, score, _ in seen(array, layout="end")] == [0.75, 0.5]
    assert [score for _, score, _ in seen(array, layout="end", max_objects=1)] == [0.75]


@pytest.mark.parametrize("index", [-1, 2, 1e9])
def test_a_label_that_nobody_named_is_an_error(index: float) -> None:
    array = np.array([[[*XYXY, 0.5, index]]], np.float32)
    with pytest.raises(EngineError, match="answered the class"):
        seen(array, layout="end")


@pytest.mark.parametrize(
    ("plan", "shape", "fault"),
    [
        ({}, (1, 6, 6), "as many candidates as numbers"),
        ({}, (1, 7, 9), "2 labels for a shape"),
        ({"objectness": True}, (1, 6, 9), r"\(1, 7, n\)"),
        ({"layout": "end"}, (1, 6, 9), r"\(1, n, 6\)"),
        ({"layout": "end", "objectness": True}, (1, 9, 6), "no objectness"),
    ],
)
def test_a_shape_that_fits_no_layout_or_two_is_refused(
    plan: dict[str, Any], shape: tuple[int, ...], fault: str
) -> None:
    with pytest.raises(EngineError, match=fault):
        seen(np.zeros(shape, np.float32), **plan)


@settings(max_examples=150, deadline=None)
@given(
    plan=st.sampled_from(
        [
            {},
            {"layout": "xyxy"},
            {"objectness": True},
            {"layout": "end"},
            {"layout": "xyxy", "objectness": True},
        ]
    ),
    bad=st.sampled_from([np.nan, np.inf, -np.inf]),
    dtype=st.sampled_from(["float16", "float32", "float64"]),
    turned=st.booleans(),
    data=st.data(),
)
def test_no_malformed_output_is_read(
    plan: dict[str, Any],
    bad: float,
    dtype: Dtype,
    turned: bool,  # noqa: FBT001 - drawn
    data: st.DataObject,
) -> None:
    array = np.zeros((1, 30, 7 if "objectness" in plan else 6), dtype)
    array[0, :, 4:] = data.draw(st.sampled_from([0.0, 0.9]))
    if plan.get("layout") == "end":
        array[0, :, 5] = 1
    places = st.tuples(st.integers(0, 29), st.integers(0, array.shape[2] - 1))
    for row, column in data.draw(st.lists(places, min_size=1, max_size=4)):
        array[0, row, column] = bad
    if turned and plan.get("layout") != "end":
        array = np.ascontiguousarray(array.transpose(0, 2, 1))
    made = reading(DetectionDecoder(labels=LABELS, **plan), [tensor(array.shape, dtype)])
    with pytest.raises(EngineError, match="NaN or infinity"):
        made.decode([array], FRAME)


# --- few and many ---------------------------------------------------------------------------------

numbers32 = st.floats(-20, 120, width=32)
lengths = st.floats(0, 80, width=32)
probabilities = st.floats(0, 1, width=32)


@settings(max_examples=300, deadline=None)
@given(
    rows=st.lists(
        st.tuples(numbers32, numbers32, lengths, lengths, probabilities, probabilities, probabilities),
        min_size=1,
        max_size=14,
    ),
    plan=st.sampled_from([{}, {"layout": "xyxy"}, {"objectness": True}]),
    kind=st.sampled_from(["float32", "float16", "int8"]),
    turned=st.booleans(),
    iou=st.sampled_from([0.0, 0.3, 0.45, 1.0]),
)
def test_few_candidates_are_read_as_many_are(
    rows: list[tuple[float, ...]],
    plan: dict[str, Any],
    kind: Dtype,
    turned: bool,  # noqa: FBT001 - drawn
    iou: float,
) -> None:
    """The very same objects, to the last bit."""
    array = np.zeros((1, 30, 6 + ("objectness" in plan)), np.float32)
    array[0, : len(rows)] = np.array(rows, np.float32)[:, : array.shape[2]]
    if turned:
        array = np.ascontiguousarray(array.transpose(0, 2, 1))
    stored = tensor(array.shape, kind, Quantization(scale=0.9, zero_point=-5) if kind == "int8" else None)
    array = np.rint(array).astype(kind) if kind == "int8" else array.astype(kind)
    found = []
    for few in (objects.FEW, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(objects, "FEW", few)
            patch.setattr(detection, "FEW", few)
            made = reading(DetectionDecoder(labels=LABELS, iou=iou, **plan), [stored])
            found.append(made.decode([array], (480, 641, 3)))
    assert found[0] == found[1]


corners = st.sampled_from([0.0, 1.0, 1.5, 2.0, 10.0, 10.0 + 1e-7, 33.3])
sides = st.sampled_from([1e-9, 1e-3, 0.5, 1.0, 3.0, 10.0, 20.0])
scores = st.sampled_from([0.5, 0.5 + 1e-9, 0.5 + 1e-7, 0.75, 1.0])
candidates = st.tuples(scores, st.integers(0, 2), corners, corners, sides, sides)


@settings(max_examples=500, deadline=None)
@given(
    st.lists(candidates, min_size=2, max_size=16),
    st.sampled_from([0.0, 1 / 9, 0.25, 1 / 3, 0.45, 0.5, 1.0]),
    st.integers(1, 16),
)
def test_few_boxes_are_suppressed_as_opencv_does_it(found: list[Candidate], iou: float, most: int) -> None:
    order = sorted(found, key=lambda one: -one[0])
    few, many = kept_of_few(order, iou, most), kept_of_many(order, iou)
    assert few is None or few == many[:most]
    assert kept(order, iou, most)[:most] == many[:most]
