"""The policy argmax: what it says of each kind of perception, and when it keeps quiet."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider_agent.policies.argmax import ArgmaxOptions, ArgmaxPolicy
from outrider_bundle import settings
from outrider_runtime.perception import (
    Anomaly,
    Classification,
    Control,
    Detection,
    Detections,
    Perception,
    Regression,
)

CAT = Classification(index=2, label="cat", score=0.75, margin=0.5)
BOX = (1.0, 2.0, 3.0, 4.0)
SURE = Detection(label="cat", index=2, score=0.75, box=BOX)
LESS = Detection(label="dog", index=1, score=0.25, box=BOX)


def policy_of(**options: object) -> ArgmaxPolicy:
    return ArgmaxPolicy(msgspec.convert(options, ArgmaxOptions))


def play(frames: list[Perception], **options: object) -> list[Any]:
    """Return what is decided on each frame: data, or None."""
    policy, told = policy_of(**options), []
    state = policy.initial()
    for at, perception in enumerate(frames):
        decisions, state = policy.decide(perception, state, float(at))
        told.append(decisions[0].data if decisions else None)
    return told


def seen(label: str, score: float = 0.75) -> Classification:
    return Classification(index=0, label=label, score=score, margin=0.0)


@pytest.mark.parametrize(
    ("perception", "told", "line"),
    [
        (CAT, {"label": "cat", "score": 0.75, "index": 2, "margin": 0.5}, "cat: fires: 0.75"),
        (
            Detections(objects=(SURE, LESS), frame=(9, 9)),
            {"label": "cat", "score": 0.75, "index": 2, "box": [1.0, 2.0, 3.0, 4.0]},
            "cat: fires: 0.75",
        ),
        (
            Detections(objects=(msgspec.structs.replace(LESS, detail=CAT),)),
            {
                "label": "dog",
                "score": 0.25,
                "index": 1,
                "box": [1.0, 2.0, 3.0, 4.0],
                "detail": "cat",
                "detail_score": 0.75,
            },
            "dog: fires: 0.25",
        ),
        (Detections(frame=(9, 9)), None, "nothing seen"),
        (
            Control(names=("left", "right"), values=(5.0, 7.0), index=1),
            {"label": "right", "index": 1},
            "right: fires",
        ),
        (Control(names=("throttle",), values=(0.5,)), None, "nothing seen"),
        (Anomaly(score=9.0, threshold=9.0), {"label": "anomaly", "score": 9.0}, "anomaly: fires: 9"),
        (Anomaly(score=8.0, threshold=9.0), {"label": "normal", "score": 8.0}, "normal: fires: 8"),
        (Anomaly(score=math.inf, threshold=9.0), None, "nothing seen"),
        (
            Regression(names=("a", "b", "c"), values=(-1.0, 2.5, 2.5)),
            {"label": "b", "index": 1, "value": 2.5},
            "b: fires: 2.5",
        ),
        (Regression(names=("a", "b"), values=(-1.0, math.nan)), None, "nothing seen"),
        (Regression(names=(), values=()), None, "nothing seen"),
    ],
)
def test_it_says_what_is_likeliest(perception: Perception, told: dict[str, Any] | None, line: str) -> None:
    assert play([perception]) == [told]
    policy = policy_of()
    assert policy.explain(perception, policy.initial(), 0.0) == (line,)


@pytest.mark.parametrize(
    ("options", "frames", "expected"),
    [
        ({}, ["cat", "cat", "dog"], "cat cat dog"),
        ({"on_change": True}, ["cat", "cat", "dog", "dog", "cat"], "cat . dog . cat"),
        ({"min_score": 0.5}, [("cat", 0.5), ("cat", 0.4), ("dog", 0.9)], "cat . dog"),
        # What was too unsure to be decided on is no change.
        (
            {"min_score": 0.5, "on_change": True},
            [("cat", 0.9), ("dog", 0.4), ("cat", 0.9), ("dog", 0.5)],
            "cat . . dog",
        ),
    ],
)
def test_it_keeps_quiet_when_told_to(options: dict[str, Any], frames: list[Any], expected: str) -> None:
    perceptions = [seen(one) if isinstance(one, str) else seen(*one) for one in frames]
    told = play([*perceptions], **options)
    assert " ".join("." if data is None else data["label"] for data in told) == expected


def test_it_says_why_it_keeps_quiet() -> None:
    policy = policy_of(min_score=0.5, on_change=True)
    _, state = policy.decide(seen("cat"), policy.initial(), 0.0)
    assert policy.explain(seen("cat"), state, 1.0) == ("cat: as decided last",)
    assert policy.explain(seen("dog", 0.4), state, 1.0) == ("dog: 0.4 below 0.5",)


def test_outputs_that_were_made_safe_are_told_the_label_again() -> None:
    policy = policy_of(on_change=True)
    _, state = policy.decide(seen("cat"), policy.initial(), 0.0)
    assert policy.decide(seen("cat"), state, 1.0)[0] == ()
    assert len(policy.decide(seen("cat"), policy.rearm(state), 1.0)[0]) == 1


def test_data_is_added_and_hides_nothing() -> None:
    assert play([seen("cat")], data={"pin": 4})[0].items() >= {"pin": 4, "label": "cat"}.items()
    made, faults = settings.convert({"data": {"margin": 1, "label": 2}}, ArgmaxOptions, "p")
    assert made is None
    assert "data cannot hold label, margin: a decision says that itself" in faults[0]


@given(st.lists(st.tuples(st.sampled_from(["cat", "dog", "hen"]), st.floats(0.0, 1.0)), max_size=30))
def test_on_change_never_repeats_and_leaves_out_nothing_else(scenes: list[tuple[str, float]]) -> None:
    frames: list[Perception] = [seen(*one) for one in scenes]
    every = [data["label"] for data in play(frames, min_score=0.5) if data]
    changes = [data["label"] for data in play(frames, min_score=0.5, on_change=True) if data]
    assert changes == [one for one, before in zip(every, [None, *every], strict=False) if one != before]
