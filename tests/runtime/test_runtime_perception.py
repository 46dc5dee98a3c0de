"""How much two models agree on a frame."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider_runtime.perception import (
    Anomaly,
    Box,
    Classification,
    Control,
    Detection,
    Detections,
    Perception,
    Regression,
    agreement,
    overlap,
)


def classified(label: str, index: int = 0) -> Classification:
    return Classification(index=index, label=label, score=0.9, margin=0.1)


def found(*objects: tuple[str, Box]) -> Detections:
    return Detections(objects=tuple(Detection(label=n, index=0, score=0.9, box=b) for n, b in objects))


def measured(*values: float, names: tuple[str, ...] = ("angle", "speed")) -> Regression:
    return Regression(names=names, values=values)


def ordered(*values: float, index: int = -1, names: tuple[str, ...] = ("left", "right")) -> Control:
    return Control(names=names, values=values, index=index)


def strange(score: float, threshold: float = 0.5) -> Anomaly:
    return Anomaly(score=score, threshold=threshold)


CAT, DOG = ("cat", (0.0, 0.0, 10.0, 10.0)), ("dog", (50.0, 50.0, 10.0, 20.0))
MOVED, FAR = ("cat", (2.0, 0.0, 10.0, 10.0)), ("cat", (6.0, 0.0, 10.0, 10.0))


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        (classified("cat"), classified("cat", index=7), 1.0),
        (classified("cat"), classified("dog"), 0.0),
        (found(), found(), 1.0),
        (found(CAT), found(), 0.0),
        (found(CAT, DOG), found(DOG, CAT), 1.0),
        (found(CAT), found(MOVED), 1.0),
        (found(CAT), found(FAR), 0.0),
        (found(CAT), found(("dog", CAT[1])), 0.0),
        (found(CAT, DOG), found(CAT), 2 / 3),
        # Each object is found once: two boxes on one cat are not two cats.
        (found(CAT, CAT), found(CAT), 2 / 3),
        (classified("cat"), found(CAT), 0.0),
        (measured(1.0, -20.0), measured(1.0, -20.0), 1.0),
        (measured(1.0, -20.0), measured(0.96, -20.9), 1.0),
        (measured(1.0, -20.0), measured(0.94, -20.0), 0.0),
        (measured(1.0, -20.0), measured(1.0, 20.0), 0.0),
        (measured(0.0, 1.0), measured(1e-7, 1.0), 1.0),
        (measured(0.0, 1.0), measured(0.01, 1.0), 0.0),
        (measured(1.0, 2.0), measured(2.0, 1.0, names=("speed", "angle")), 1.0),
        (measured(1.0, 2.0), measured(1.0, 2.0, names=("angle", "height")), 0.0),
        (measured(1.0, 2.0), measured(1.0, names=("angle",)), 0.0),
        (ordered(1.0, 2.0, index=1), ordered(7.0, 9.0, index=1), 1.0),
        (ordered(1.0, 2.0, index=1), ordered(7.0, 9.0, index=0), 0.0),
        (ordered(1.0, 2.0, index=1), ordered(9.0, 7.0, index=0, names=("right", "left")), 1.0),
        (ordered(1.0, 2.0), ordered(1.0, 2.05), 1.0),
        (ordered(1.0, 2.0), ordered(1.0, 2.5), 0.0),
        (ordered(1.0, 2.0), ordered(1.0, 2.0, index=1), 0.0),
        (ordered(1.0, 2.0), measured(1.0, 2.0, names=("left", "right")), 0.0),
        (strange(0.6), strange(99.0), 1.0),
        (strange(0.1), strange(0.2, threshold=0.3), 1.0),
        (strange(0.4), strange(0.4, threshold=0.3), 0.0),
        (strange(0.4), classified("normal"), 0.0),
    ],
)
def test_agreement_is_the_share_of_what_both_saw(one: Perception, other: Perception, share: float) -> None:
    assert agreement(one, other) == pytest.approx(share)
    assert agreement(other, one) == pytest.approx(share)


def test_every_perception_has_labels_and_a_score() -> None:
    assert classified("cat").labels == ("cat",)
    assert found(CAT, DOG, MOVED).labels == ("cat", "dog", "cat")
    assert (measured(1.0, 2.0).labels, measured(1.0, 2.0).score) == ((), 1.0)
    assert (ordered(1.0, 2.0, index=1).labels, ordered(1.0, 2.0).labels) == (("right",), ())
    assert (strange(0.5).labels, strange(0.4).labels, strange(0.4).score) == (("anomaly",), ("normal",), 0.4)
    assert (found(CAT, DOG).score, found().score, found().labels) == (0.9, 0.0, ())


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        ((0, 0, 4, 4), (0, 0, 4, 4), 1.0),
        ((0, 0, 4, 4), (2, 0, 4, 4), 8 / 24),
        ((0, 0, 4, 4), (1, 1, 2, 2), 4 / 16),
        ((0, 0, 4, 4), (4, 0, 4, 4), 0.0),
        ((0, 0, 4, 4), (9, 9, 4, 4), 0.0),
        ((0, 0, 0, 0), (0, 0, 0, 0), 0.0),
    ],
)
def test_overlap_is_intersection_over_union(one: Box, other: Box, share: float) -> None:
    assert overlap(one, other) == pytest.approx(share)
    assert overlap(other, one) == pytest.approx(share)


boxes = st.tuples(st.floats(0, 50), st.floats(0, 50), st.floats(1, 50), st.floats(1, 50))
scenes = st.lists(st.tuples(st.sampled_from(["cat", "dog"]), boxes), max_size=6).map(lambda o: found(*o))


@given(scenes, scenes)
def test_agreement_is_a_share_and_complete_with_itself(one: Detections, other: Detections) -> None:
    assert 0.0 <= agreement(one, other) <= 1.0
    assert agreement(one, one) == 1.0
