"""What a file's outputs are: inferred where shapes leave no choice, and asked for where they do."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outrider_bundle.errors import DataError, UsageError
from outrider_converter.detectors import Seen, Wish, detector
from outrider_converter.heads import Said, check, head, missing
from outrider_converter.modelfile import ModelFile, Port

BARE = Wish(box=None, background=None, min_score=None, iou=None)
LABELS = tuple("abcdefgh")


def outputs(*shapes: tuple[int, ...], names: tuple[str, ...] = ()) -> tuple[Seen, ...]:
    """Return outputs of zeros called by `names`."""
    known = names or tuple(f"output{place}" for place in range(len(shapes)))
    pairs = zip(known, shapes, strict=True)
    return tuple(Seen(name=name, array=np.zeros(shape, np.float32)) for name, shape in pairs)


def wish(**said: Any) -> Wish:  # noqa: ANN401 - options of a wish
    return Wish(**{"box": None, "background": None, "min_score": None, "iou": None, **said})


@pytest.mark.parametrize(
    ("labels", "shapes", "table"),
    [
        (8, [(1, 12, 100)], {"kind": "yolo", "layout": "xywh"}),
        (8, [(1, 100, 12)], {"kind": "yolo", "layout": "xywh"}),
        (8, [(1, 100, 13)], {"kind": "yolo", "layout": "xywh", "objectness": True}),
        (8, [(1, 300, 6)], {"kind": "yolo", "layout": "end"}),
        (2, [(1, 6, 300)], {"kind": "yolo", "layout": "xywh"}),
        (
            8,
            [(1, 10, 4), (1, 10), (1, 10), (1,)],
            {
                "kind": "ssd",
                "outputs": ["boxes", "classes", "scores", "count"],
                "box": "yxyx",
                "background": False,
            },
        ),
    ],
)
def test_shapes_tell_the_layout(labels: int, shapes: list[tuple[int, ...]], table: dict[str, Any]) -> None:
    found = detector(None, LABELS[:labels], BARE, outputs(*shapes))
    assert found.table == {**table, "labels": list(LABELS[:labels])}
    assert "the layout is" in found.inferred[0]


def test_what_the_names_or_numbers_of_outputs_say_comes_before_their_order() -> None:
    shapes = ((1, 10), (1, 10, 4), (1,), (1, 10))
    named = outputs(*shapes, names=("scores", "boxes", "count", "classes"))
    found = detector(None, LABELS, BARE, named)
    assert found.table["outputs"] == ["scores", "boxes", "count", "classes"]
    plain = outputs(*shapes)
    plain[0].array[:] = 0.3
    assert detector(None, LABELS, BARE, plain).table["outputs"] == ["scores", "boxes", "count", "classes"]


def test_scores_with_one_more_have_a_background() -> None:
    two = outputs((1, 50, 9), (1, 50, 4))
    found = detector(None, LABELS, wish(box="xyxy", min_score=0.4), two)
    assert found.table == {
        "kind": "ssd",
        "outputs": ["scores", "boxes"],
        "box": "xyxy",
        "background": True,
        "labels": list(LABELS),
        "min_score": 0.4,
    }


@pytest.mark.parametrize(
    ("layout", "labels", "shapes", "said", "message"),
    [
        (None, 2, [(1, 300, 6)], {}, "fit yolo and yolo-end"),
        (None, 1, [(1, 300, 6)], {}, "Say which: --layout yolo-objectness or --layout yolo-end"),
        ("yolo", 8, [(1, 13, 100)], {}, "does not fit 'output0'.*Say yolo-objectness"),
        ("yolo", 7, [(1, 13, 100)], {}, "Correct the labels: 9 fit, or 8 with objectness"),
        ("yolov5", 8, [(1, 13, 100)], {}, "There is no layout 'yolov5'"),
        (None, 8, [(1, 12, 100)], {"box": "xyxy"}, "--box and --background are of SSD"),
        (None, 8, [(1, 1, 100, 7)], {}, "Say --background or --no-background"),
        (None, 8, [(1, 1, 100, 7)], {"background": True, "box": "yxyx"}, "left, top, right, bottom"),
        (None, 8, [(1, 50, 4), (1, 50, 9)], {}, "Say --box xyxy or --box yxyx"),
        (None, 8, [(1, 50, 4), (1, 50, 9)], {"box": "xyxy", "background": False}, "9 scores and 8 labels"),
    ],
)
def test_what_shapes_leave_open_is_asked_for(
    layout: str | None, labels: int, shapes: list[tuple[int, ...]], said: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        detector(layout, LABELS[:labels], wish(**said), outputs(*shapes))


def test_outputs_of_no_detector_are_refused() -> None:
    for shapes in ([(1, 8)], [(1, 30, 100)], [(1, 4, 12, 12), (1, 3)], [(1, 5)] * 3):
        with pytest.raises(DataError, match="fit no known detector of 8 labels"):
            detector(None, LABELS, BARE, outputs(*shapes))


def model(*shapes: tuple[int, ...]) -> tuple[ModelFile, tuple[Any, ...]]:
    """Return a file with outputs of `shapes`, and what it answers."""
    ports = tuple(Port(name=f"output{n}", shape=shape, dtype="float32") for n, shape in enumerate(shapes))
    file = ModelFile(path=Path("x.onnx"), runtime="onnx", inputs=(), outputs=ports, sigmoid=False)
    return file, tuple(np.zeros(shape, np.float32) for shape in shapes)


def test_names_are_listed_or_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("left\nright\n\n")
    for names in ("left, right", str(tmp_path / "names.txt")):
        found = head(Said(task="control", names=names), *model((1, 2)), (1, 4))
        assert found.table == {"kind": "control", "names": ["left", "right"], "space": "discrete"}
    assert "discrete" in found.inferred[0]
    found = head(Said(task="regression", names="t"), *model((1, 1)), (1, 4))
    assert (found.table, found.inferred) == ({"kind": "regression", "names": ["t"]}, ())


@pytest.mark.parametrize(
    ("shape", "method", "expected"),
    [((1, 1), None, "score"), ((1, 3, 8), None, "reconstruction"), ((1, 1), "score", "score")],
)
def test_an_anomaly_is_a_score_or_a_reconstruction(
    shape: tuple[int, ...], method: str | None, expected: str
) -> None:
    found = head(Said(task="anomaly", threshold=0.5, method=method), *model(shape), (1, 3, 8))
    assert found.table == {"kind": "anomaly", "threshold": 0.5, "method": expected}
    assert bool(found.inferred) == (method is None)


@pytest.mark.parametrize(
    ("said", "shapes", "error", "message"),
    [
        ({"task": "regression", "names": "a,b"}, [(1, 3)], DataError, "2 names .a, b., and the output is"),
        ({"task": "regression", "names": "a,a"}, [(1, 2)], DataError, "the same as line 1"),
        ({"task": "control", "names": "a,b"}, [(1, 2), (1, 2)], UsageError, "reads one output"),
        ({"task": "regression", "names": "a,b"}, [(2, 2)], DataError, "not a batch of 1"),
        ({"task": "anomaly", "threshold": 1.0}, [(1, 5)], UsageError, "neither one score nor"),
        ({"task": "anomaly", "threshold": 1.0, "method": "score"}, [(1, 4)], UsageError, "one number"),
    ],
)
def test_names_and_outputs_fit(
    said: dict[str, Any], shapes: list[tuple[int, ...]], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        head(Said(**said), *model(*shapes), (1, 4))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"task": "seeing"}, "There is no task 'seeing'.*detection"),
        ({"threshold": 1.0}, "classification does not take --threshold.*Say --task anomaly"),
        ({"task": "control", "min_score": 0.5, "iou": 0.5}, "--min-score, --iou.*Say --task detection"),
        ({"task": "anomaly", "labels": "x", "names": "y"}, "Leave them out"),
    ],
)
def test_options_of_another_task_are_refused(said: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check(Said(**said))


def test_what_nobody_can_know_is_asked_for() -> None:
    assert "--labels FILE" in (missing(Said(task="detection")) or "")
    assert "--labels FILE" in (missing(Said(task="detection", labels="none")) or "")
    assert "--threshold" in (missing(Said(task="anomaly")) or "")
    assert missing(Said(task="control", names="a,b")) is None
    assert missing(Said()) is None
