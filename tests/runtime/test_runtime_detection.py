"""Detections: against a plain model of what a decoder must do, and through the preprocessing and back."""

import tracemalloc
from random import Random
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import (
    ArrayPreprocess,
    DetectionDecoder,
    Expected,
    File,
    Golden,
    ImagePreprocess,
    Input,
    Manifest,
    Output,
    Quantization,
    RelativeTolerance,
    Tensor,
    Variant,
)
from outrider_runtime.decoders import Decoder, decoder
from outrider_runtime.decoders.detection import DetectionReader
from outrider_runtime.decoders.objects import MOST
from outrider_runtime.perception import Box, Detection, Detections, overlap
from outrider_runtime.pipeline import Ports
from outrider_runtime.proof import RELATIVE, Proof, judge
from outrider_runtime.session import Array, empty

LABELS = ("cat", "dog", "owl")
SIDE = 64
Resize = Literal["stretch", "letterbox"]
Candidate = tuple[float, float, float, float, str, float]
"""Centre, width and height in pixels of the input, label, score."""


def image(resize: Resize = "stretch", height: int = SIDE, width: int = SIDE) -> Input:
    plan = ImagePreprocess(color="gray", resize=resize)
    return Input(name="image", shape=(1, 1, height, width), layout="NCHW", preprocess=plan)


def reader(
    count: int, given: Input | None = None, tensor: Tensor | None = None, **plan: float
) -> DetectionReader:
    shape = (1, 4 + len(LABELS), count)
    output = Output(name="y", shape=shape, decoder=DetectionDecoder(labels=LABELS, **plan))  # type: ignore[arg-type]
    given = given or image()
    fed = Tensor(name="image", shape=given.shape, dtype="float32", layout=given.layout)
    made = decoder(output, [tensor or Tensor(name="y", shape=shape, dtype="float32")], given, fed)
    assert isinstance(made, DetectionReader)
    return made


def stored(candidates: list[Candidate], count: int = 0) -> Array:
    array = np.zeros((1, 4 + len(LABELS), max(count, len(candidates))), np.float32)
    for column, (x, y, width, height, label, score) in enumerate(candidates):
        array[0, :4, column] = x, y, width, height
        array[0, 4 + LABELS.index(label), column] = score
    return array


def decoded(
    candidates: list[Candidate], frame: tuple[int, ...] = (), given: Input | None = None, **plan: float
) -> tuple[Detection, ...]:
    count = len(candidates) + (len(candidates) == 4 + len(LABELS))  # a square says not what is a candidate
    return reader(count, given, **plan).decode([stored(candidates, count)], frame).objects


def test_an_object_is_told_with_its_box_from_its_corner() -> None:
    assert decoded([(30, 20, 10, 8, "dog", 0.75)]) == (
        Detection(label="dog", index=1, score=0.75, box=(25.0, 16.0, 10.0, 8.0)),
    )


def test_nothing_that_stands_out_is_no_error() -> None:
    seen = reader(5).decode([stored([(30, 20, 10, 8, "dog", 0.24)], 5)])
    assert seen == Detections(frame=(SIDE, SIDE))
    assert seen.score == 0.0


@pytest.mark.parametrize(("score", "seen"), [(0.5, True), (0.4999, False)])
def test_the_least_score_is_enough(score: float, seen: bool) -> None:  # noqa: FBT001 - a table column
    assert bool(decoded([(30, 20, 10, 8, "dog", score)], min_score=0.5)) is seen


def test_of_boxes_on_one_object_the_surest_is_kept() -> None:
    heap: list[Candidate] = [(30 + at, 20, 10, 8, "cat", 0.5 + at / 10) for at in (0, 2, 1)]
    assert [round(one.score, 3) for one in decoded(heap)] == [0.7]


def test_another_label_at_the_same_place_is_another_object() -> None:
    pair: list[Candidate] = [(30, 20, 10, 8, "cat", 0.5), (30, 20, 10, 8, "owl", 0.9)]
    assert [one.label for one in decoded(pair)] == ["owl", "cat"]


@pytest.mark.parametrize(("iou", "kept"), [(0.3, 1), (0.34, 2)])
def test_the_overlap_that_is_allowed(iou: float, kept: int) -> None:
    pair: list[Candidate] = [(20, 20, 12, 12, "cat", 0.5), (26, 20, 12, 12, "cat", 0.9)]  # a third of both
    assert len(decoded(pair, iou=iou)) == kept


def test_no_more_than_the_best_are_told() -> None:
    row: list[Candidate] = [(6 + 10 * at, 20, 8, 8, "cat", 0.4 + at / 10) for at in range(5)]
    seen = decoded(row, max_objects=2)
    assert [round(one.score, 3) for one in seen] == [0.8, 0.7]


def test_a_broken_model_that_sees_objects_everywhere_is_bounded() -> None:
    count = 4 * MOST
    array = np.zeros((1, 4 + len(LABELS), count), np.float32)
    array[0, 0], array[0, 1] = np.arange(count) % SIDE, np.arange(count) // SIDE
    array[0, 2:4] = 0.5
    array[0, 4] = np.linspace(0.3, 0.9, count, dtype=np.float32)
    seen = reader(count, max_objects=1000).decode([array]).objects
    assert len(seen) == MOST
    assert min(one.score for one in seen) == pytest.approx(float(array[0, 4, -MOST]))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", range(4 + len(LABELS)))
@pytest.mark.parametrize("score", [0.0, 0.9])
def test_what_is_not_a_number_is_an_error_wherever_it_is(bad: float, row: int, score: float) -> None:
    array = stored([(30, 20, 10, 8, "dog", score)], 5)
    array[0, row, 3] = bad
    with pytest.raises(EngineError, match="NaN or infinity"):
        reader(5).decode([array])


def test_boxes_are_clipped_to_the_frame_and_those_outside_are_nothing() -> None:
    seen = decoded(
        [
            (2, 20, 10, 8, "cat", 0.9),
            (200, 20, 10, 8, "cat", 0.8),
            (20, 20, 0, 8, "dog", 0.7),
            (20, 20, -5, -5, "owl", 0.6),
        ]
    )
    assert [one.box for one in seen] == [(0.0, 16.0, 7.0, 8.0)]


def test_a_box_beyond_all_measure_harms_no_other() -> None:
    """OpenCV tells labels apart by shifting boxes beyond the largest coordinate there is."""
    seen = decoded([(0, 0, 1e30, 1e30, "owl", 0.9), (20, 20, 8, 8, "cat", 0.8), (50, 50, 8, 8, "cat", 0.7)])
    assert [one.label for one in seen] == ["owl", "cat", "cat"]
    assert seen[0].box == (0.0, 0.0, SIDE, SIDE)


def test_the_output_is_left_alone() -> None:
    array = stored([(30, 20, 10, 8, "dog", 0.75), (30, 20, 10, 8, "cat", 0.7)])
    before = array.copy()
    array.flags.writeable = False
    made = reader(2)
    assert made.decode([array], (100, 200)) == made.decode([array], (100, 200))
    np.testing.assert_array_equal(array, before)


def test_frames_may_change_their_size() -> None:
    made, array = reader(1), stored([(32, 32, 16, 16, "dog", 0.75)])
    for width in (64, 640, 64):
        seen = made.decode([array], (64, width, 3))
        assert seen.frame == (width, 64)
        assert seen.objects[0].box == (24 * width / 64, 24, 16 * width / 64, 16)


def test_it_allocates_nothing_of_the_output_size() -> None:
    array = stored([(30, 20, 10, 8, "dog", 0.75)], 50_000)
    made = reader(50_000)
    made.decode([array])
    tracemalloc.start()
    try:
        made.decode([array])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < array.nbytes / 50


@pytest.mark.parametrize("zero_point", [-128, -5])
def test_stored_integers_say_what_their_real_values_say(zero_point: int) -> None:
    generator = np.random.default_rng(5)
    shape, quantization = (1, 7, 300), Quantization(scale=0.25, zero_point=zero_point)
    array = generator.integers(zero_point, zero_point + 5, shape).astype(np.int8)
    array[0, :4] = generator.integers(-100, 127, (4, 300))
    real = ((array.astype(np.float64) - zero_point) * 0.25).astype(np.float32)
    plan = {"min_score": 0.75, "iou": 0.5}
    exact = reader(300, tensor=Tensor(name="y", shape=shape, dtype="int8", quantization=quantization), **plan)
    seen = exact.decode([array], (480, 640))
    assert len(seen.objects) > 5
    assert seen == reader(300, **plan).decode([real], (480, 640))


@pytest.mark.parametrize("dtype", ["float16", "float64", "uint8"])
def test_other_dtypes_are_read(dtype: str) -> None:
    tensor = Tensor(name="y", shape=(1, 7, 1), dtype=dtype)  # type: ignore[arg-type]
    array = np.array([30, 20, 10, 8, 0, 1, 0], dtype).reshape(1, 7, 1)
    assert reader(1, tensor=tensor).decode([array]).objects[0].box == (25.0, 16.0, 10.0, 8.0)


# --- against a plain model ------------------------------------------------------------------------


def plainly(candidates: list[Candidate], min_score: float, iou: float, most: int) -> list[tuple[str, Box]]:
    """Return label and box of what must be found in an input without bars, by the definition."""
    kept: list[tuple[str, Box]] = []
    for x, y, width, height, label, score in sorted(candidates, key=lambda one: -one[5]):
        left, top = max(0.0, x - width / 2), max(0.0, y - height / 2)
        right, bottom = min(float(SIDE), x + width / 2), min(float(SIDE), y + height / 2)
        box = (left, top, right - left, bottom - top)
        if score < min_score or box[2] <= 0 or box[3] <= 0:
            continue
        if all(label != name or overlap(box, other) <= iou for name, other in kept):
            kept.append((label, box))
    return kept[:most]


places = st.integers(-8, SIDE + 8)
lengths = st.integers(1, 40)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(places, places, lengths, lengths, st.sampled_from(LABELS)), min_size=1, max_size=30),
    st.sampled_from([0.25, 0.5]),
    st.sampled_from([0.31, 0.47, 0.71]),
    st.integers(1, 12),
    st.randoms(use_true_random=False),
)
def test_it_finds_what_the_definition_says(
    boxes: list[tuple[int, int, int, int, str]], min_score: float, iou: float, most: int, random: Random
) -> None:
    scores = [(at + 1) / 32 for at in range(len(boxes))]
    random.shuffle(scores)
    candidates: list[Candidate] = [(*box, score) for box, score in zip(boxes, scores, strict=True)]
    seen = decoded(candidates, min_score=min_score, iou=iou, max_objects=most)
    assert [(one.label, one.box) for one in seen] == plainly(candidates, min_score, iou, most)
    assert [one.score for one in seen] == sorted((one.score for one in seen), reverse=True)


# --- through the preprocessing and back -----------------------------------------------------------


def ports(resize: Resize, height: int, width: int, count: int = 1) -> tuple[Ports, Variant]:
    given = image(resize, height, width)
    shape = (1, 4 + len(LABELS), count)
    variant = Variant(
        id="one",
        runtime="null",
        precision="float32",
        rank=0,
        files=(File(role="model", blob="model"),),
        inputs=(Tensor(name="x", shape=given.shape, dtype="float32", layout="NCHW"),),
        outputs=(Tensor(name="y", shape=shape, dtype="float32"),),
    )
    manifest = Manifest(
        name="watch",
        version="1.0.0",
        app="watch",
        hardware=("any",),
        task="detection",
        inputs=(given,),
        outputs=(Output(name="y", shape=shape, decoder=DetectionDecoder(labels=LABELS)),),
        variants=(variant,),
        golden=Golden(blob="golden", shape=(1, 8, 8), dtype="uint8", expected=()),
        blobs=(),
    )
    return Ports(manifest, variant), variant


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
@pytest.mark.parametrize("shape", [(576, 768), (768, 576, 3), (96, 160), (96, 128), (200, 31), (40, 300, 3)])
def test_an_object_in_the_input_is_found_at_its_place_in_the_frame(
    resize: Resize, shape: tuple[int, ...]
) -> None:
    """A white object is painted, looked for in the preprocessed input, and its box there decoded."""
    front, variant = ports(resize, 96, 160)
    left, top = shape[1] // 4, shape[0] // 3
    width, height = shape[1] // 2, shape[0] // 4
    frame = np.zeros(shape, np.uint8)
    frame[top : top + height, left : left + width] = 255
    inputs = [empty(variant.inputs[0])]
    front.write(frame, inputs)
    rows, columns = np.nonzero(inputs[0][0, 0] > 0.5)
    x0, x1, y0, y1 = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
    outputs = [stored([((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0, "owl", 0.9)])]
    seen = front.decode(outputs)
    assert isinstance(seen, Detections)
    box = seen.objects[0].box
    pixel = max(shape[0] / 96, shape[1] / 160)  # of the input, in the frame
    assert np.abs(np.subtract(box, (left, top, width, height))).max() <= max(1.0, 2 * pixel)


def test_the_bars_of_a_letterbox_are_not_in_the_frame() -> None:
    front, variant = ports("letterbox", SIDE, SIDE)
    inputs = [empty(variant.inputs[0])]
    front.write(np.zeros((100, 200), np.uint8), inputs)  # bars of 16 rows above and below
    assert front.decode([stored([(32, 8, 10, 10, "cat", 0.9)])]) == Detections(frame=(200, 100))
    whole = front.decode([stored([(32, 32, 64, 64, "cat", 0.9)])])
    assert isinstance(whole, Detections)
    assert whole.objects[0].box == (0.0, 0.0, 200.0, 100.0)


def test_boxes_belong_to_the_frame_written_last() -> None:
    front, variant = ports("stretch", SIDE, SIDE)
    inputs, outputs = [empty(variant.inputs[0])], [stored([(32, 32, 64, 64, "cat", 0.9)])]
    for height, width in ((10, 20), (300, 200)):
        front.write(np.zeros((height, width), np.uint8), inputs)
        seen = front.decode(outputs)
        assert isinstance(seen, Detections)
        assert seen.objects[0].box == (0.0, 0.0, width, height)


# --- what contradicts itself ----------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 8, 10), (1, 10, 8), (2, 7, 10), (1, 7), (7, 10)])
def test_an_output_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(EngineError, match=r"3 labels.*\(1, 7, n\) or \(1, n, 7\)"):
        reader(10, tensor=Tensor(name="y", shape=shape, dtype="float32"))


def test_an_input_that_is_no_image_is_refused() -> None:
    numbers = Input(name="x", shape=(1, 9), layout="NC", preprocess=ArrayPreprocess())
    with pytest.raises(EngineError, match="no image"):
        reader(10, given=numbers)


# --- golden proof ---------------------------------------------------------------------------------


def proved(actual: Array, wanted: Array) -> Proof:
    _, variant = ports("stretch", SIDE, SIDE, wanted.shape[-1])
    expected = Expected(
        variant="one", blob="x", tolerance=RelativeTolerance(relative=RELATIVE), agreement=0.0
    )
    return judge(variant, expected, [actual], [wanted], DetectionDecoder(labels=LABELS))


def test_a_wrong_score_does_not_hide_among_coordinates() -> None:
    wanted = stored([(30, 20, 10, 8, "dog", 0.75)], 2100)
    wanted[0, :4] = np.random.default_rng(3).uniform(0, 320, (4, 2100))
    assert proved(wanted, wanted).ok
    for row, change in ((5, 0.01), (0, 3.0)):
        actual = wanted.copy()
        actual[0, row, 0] += change
        assert not proved(actual, wanted).ok
    nearly = wanted * np.float32(1 + 0.5 * RELATIVE)
    assert proved(nearly, wanted).ok


def test_scores_of_nothing_may_be_other_noise() -> None:
    wanted, actual = stored([], 2100), stored([], 2100)
    wanted[0, :4] = actual[0, :4] = 100.0
    wanted[0, 4:], actual[0, 4:] = 1e-7, 2e-7
    assert proved(actual, wanted).ok


def test_every_decoder_takes_the_shape_of_a_frame() -> None:
    made: Decoder = reader(1)
    assert made.decode([stored([(30, 20, 10, 8, "dog", 0.75)])], (64, 64)).labels == ("dog",)
