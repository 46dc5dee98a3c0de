"""What a manifest says of each task's outputs, what it cannot say, and what is printed of it."""

from collections.abc import Callable, Sequence
from io import StringIO
from math import prod
from typing import Any

import msgspec
import pytest
from rich.console import Console

from outrider_bundle.checks import check_content
from outrider_bundle.decoders import DECODERS
from outrider_bundle.errors import BundleError
from outrider_bundle.manifest import Manifest, Task
from outrider_bundle.tables import inspection
from tests.fakes.bundles import described_manifest

Data = dict[str, Any]
Shapes = Sequence[Sequence[int]]


def change_nothing(data: Data) -> None:
    del data


def described(
    task: Task, decoder: Data, shapes: Shapes, change: Callable[[Data], object] = change_nothing
) -> Manifest:
    """Return the tiny manifest as one of `task`: `decoder` reads the first of outputs of `shapes`."""
    data: Data = msgspec.to_builtins(described_manifest())
    data["task"] = task
    data["outputs"] = [
        {"name": f"out{at}", "shape": shape, "decoder": {"kind": "raw"} if at else decoder}
        for at, shape in enumerate(shapes)
    ]
    samples = data["golden"]["shape"][0]
    for variant, expected in zip(data["variants"], data["golden"]["expected"], strict=True):
        kind = variant["outputs"][0]["dtype"]
        variant["outputs"] = [
            {"name": f"y{at}", "shape": shape, "dtype": kind} for at, shape in enumerate(shapes)
        ]
        blob = next(one for one in data["blobs"] if one["name"] == expected["blob"])
        size = sum(prod(shape[1:]) for shape in shapes)
        blob["length"] = samples * size * (4 if kind == "float32" else 1)
    change(data)
    return msgspec.convert(data, Manifest)


LABELS = ["cat", "dog"]
YOLO, SSD = {"kind": "yolo", "labels": LABELS}, {"kind": "ssd", "labels": LABELS}
HEAP = SSD | {"outputs": ["boxes", "scores"]}
ROWS = SSD | {"outputs": ["rows"], "box": "xyxy"}
NUMBERS = {"kind": "regression", "names": ["angle", "speed"]}
CONTROL = {"kind": "control", "names": ["left", "right"]}
MOVES = CONTROL | {"space": "continuous"}
SCORE = {"kind": "anomaly", "threshold": 0.5}
AGAIN = SCORE | {"method": "reconstruction"}
TOLD = [(1, 9, 4), (1, 9), (1, 9), (1,)]

GOOD: list[tuple[Task, Data, Shapes]] = [
    ("classification", {"kind": "classification", "labels": LABELS}, [(1, 2)]),
    ("detection", YOLO, [(1, 6, 9)]),
    ("detection", YOLO, [(1, 9, 6)]),
    ("detection", YOLO | {"layout": "xyxy", "objectness": True}, [(1, 9, 7)]),
    ("detection", YOLO | {"layout": "end"}, [(1, 9, 6)]),
    ("detection", YOLO | {"layout": "end"}, [(1, 6, 6)]),
    ("detection", SSD, TOLD),
    ("detection", SSD | {"outputs": ["count", "scores", "classes", "boxes"]}, TOLD[::-1]),
    ("detection", HEAP, [(1, 9, 4), (1, 9, 2)]),
    ("detection", HEAP | {"background": True}, [(1, 9, 4), (1, 9, 3)]),
    ("detection", ROWS, [(1, 1, 9, 7)]),
    ("regression", NUMBERS | {"mean": [1.0, 2.0], "std": [3.0]}, [(1, 2)]),
    ("control", CONTROL, [(1, 2)]),
    ("control", MOVES | {"squash": "tanh", "scaled": True, "low": [0.0, -1.0], "high": [2.0]}, [(1, 2)]),
    ("anomaly", SCORE, [(1,)]),
    ("anomaly", SCORE, [(1, 1)]),
    ("anomaly", AGAIN, [(1, 4, 4)]),
    ("raw", {"kind": "raw"}, [(1, 2), (1, 3), (1,)]),
]


@pytest.mark.parametrize(("task", "decoder", "shapes"), GOOD)
def test_a_task_is_described_and_read_again(task: Task, decoder: Data, shapes: Shapes) -> None:
    manifest = described(task, decoder, shapes)
    check_content(manifest)
    assert isinstance(manifest.outputs[0].decoder, DECODERS[task])
    assert msgspec.json.decode(msgspec.json.encode(manifest), type=Manifest) == manifest


def test_every_task_has_its_decoders() -> None:
    assert {task for task, _, _ in GOOD} == set(DECODERS)


BAD: list[tuple[Task, Data, Shapes, str]] = [
    ("classification", {"kind": "classification", "labels": LABELS}, [(1, 3)], "2 labels for a shape"),
    ("classification", {"kind": "classification", "labels": LABELS}, [(1, 2)] * 2, "its decoder reads 1"),
    ("detection", YOLO, [(1, 6, 6)], "as many candidates as numbers"),
    ("detection", YOLO, [(1, 7, 9)], "2 labels for a shape"),
    ("detection", YOLO, [(2, 6, 9)], "2 labels for a shape"),
    ("detection", YOLO | {"objectness": True}, [(1, 6, 9)], r"\(1, 7, n\)"),
    ("detection", YOLO | {"layout": "end"}, [(1, 6, 9)], r"\(1, n, 6\)"),
    ("detection", YOLO | {"layout": "end", "objectness": True}, [(1, 9, 6)], "no objectness"),
    ("detection", SSD, TOLD[:3], "first of 3 outputs, and its decoder reads 4"),
    ("detection", SSD, [*TOLD[:3], (4,)], "has count of the shape"),
    ("detection", SSD, [TOLD[0], (1, 8), *TOLD[2:]], "has classes of the shape"),
    ("detection", SSD, [(1, 9, 5), *TOLD[1:]], "has boxes of the shape"),
    ("detection", SSD | {"outputs": ["boxes", "classes"]}, TOLD[:2], "is read from boxes, classes"),
    ("detection", SSD | {"outputs": ["boxes", "boxes"]}, [TOLD[0]] * 2, "is read from boxes, boxes"),
    ("detection", HEAP, [(1, 9, 4), (1, 9, 3)], "has scores of the shape"),
    ("detection", HEAP | {"background": True}, [(1, 9, 4), (1, 9, 2)], "has scores of the shape"),
    ("detection", ROWS, [(1, 9, 7)], "has rows of the shape"),
    ("detection", ROWS | {"box": "yxyx"}, [(1, 1, 9, 7)], "Say box = 'xyxy'"),
    ("regression", NUMBERS, [(1, 3)], "2 names for a shape"),
    ("regression", NUMBERS | {"names": ["a", "a"]}, [(1, 2)], "two of the name 'a'"),
    ("regression", NUMBERS | {"mean": [0.0] * 3}, [(1, 2)], "3 entries in mean"),
    ("regression", NUMBERS | {"std": [1.0] * 3}, [(1, 2)], "3 entries in std"),
    ("regression", NUMBERS | {"std": [float("inf")]}, [(1, 2)], "infinite number in std"),
    ("control", CONTROL, [(1, 3)], "2 names for a shape"),
    ("control", CONTROL | {"scaled": True}, [(1, 2)], "neither squashed nor scaled"),
    ("control", MOVES | {"low": [0.0] * 3}, [(1, 2)], "3 entries in low"),
    ("control", MOVES | {"high": [2.0] * 3}, [(1, 2)], "3 entries in high"),
    ("control", MOVES | {"low": [0.0, 1.0]}, [(1, 2)], "'right' from 1 to 1"),
    ("anomaly", SCORE, [(1, 2)], "A score is one number"),
    ("anomaly", AGAIN, [(1, 4, 5)], "as many numbers as the input"),
    ("anomaly", SCORE | {"threshold": float("inf")}, [(1,)], "threshold of inf"),
]


@pytest.mark.parametrize(("task", "decoder", "shapes", "fault"), BAD)
def test_an_output_that_contradicts_itself_is_refused(
    task: Task, decoder: Data, shapes: Shapes, fault: str
) -> None:
    with pytest.raises(BundleError, match=fault):
        check_content(described(task, decoder, shapes))


@pytest.mark.parametrize(("task", "decoder", "shapes"), GOOD)
def test_a_decoder_of_another_task_is_refused(task: Task, decoder: Data, shapes: Shapes) -> None:
    for other in set(DECODERS) - {task}:
        with pytest.raises(BundleError, match=f"'out0' has a decoder that is not of the task {other}"):
            check_content(described(other, decoder, shapes))


def test_only_the_first_output_is_read() -> None:
    with pytest.raises(BundleError, match="'out1' has a decoder that is not of the task raw"):
        check_content(described("detection", SSD, TOLD, lambda d: d["outputs"][1].update(decoder=SSD)))


@pytest.mark.parametrize("decoder", [YOLO, ROWS])
def test_boxes_are_on_images_only(decoder: Data) -> None:
    shapes = [(1, 1, 9, 7)] if decoder is ROWS else [(1, 6, 9)]
    with pytest.raises(BundleError, match="the input is no image"):
        check_content(
            described(
                "detection", decoder, shapes, lambda d: d["inputs"][0].update(preprocess={"kind": "array"})
            )
        )


def test_what_a_variant_really_has_is_checked_too() -> None:
    def reshape(data: Data) -> None:
        data["variants"][1]["outputs"][0]["shape"] = [1, 54]

    with pytest.raises(BundleError, match="Output 'y0' of variant 'null-float32' has 2 labels for a shape"):
        check_content(described("detection", YOLO, [(1, 6, 9)], reshape))
    turned = described(
        "detection", YOLO, [(1, 6, 9)], lambda d: d["variants"][1]["outputs"][0].update(shape=[1, 9, 6])
    )
    check_content(turned)


@pytest.mark.parametrize(
    ("task", "decoder", "shapes", "line"),
    [
        ("classification", {"kind": "classification", "labels": LABELS}, [(1, 2)], "labels cat, dog"),
        ("detection", SSD, TOLD, "labels cat, dog"),
        ("regression", NUMBERS, [(1, 2)], "names angle, speed"),
        ("control", CONTROL, [(1, 2)], "actions discrete: left, right"),
        ("control", MOVES, [(1, 2)], "actions continuous: left, right"),
        ("anomaly", SCORE, [(1,)], "threshold 0.5 (score)"),
        ("anomaly", AGAIN, [(1, 16)], "threshold 0.5 (reconstruction)"),
        ("raw", {"kind": "raw"}, [(1, 2)], "labels none, 'out0' is raw"),
    ],
)
def test_people_are_told_what_a_bundle_says(task: Task, decoder: Data, shapes: Shapes, line: str) -> None:
    out = StringIO()
    inspection(Console(file=out, width=200), described(task, decoder, shapes), {})
    assert line in [" ".join(one.split()) for one in out.getvalue().splitlines()]
