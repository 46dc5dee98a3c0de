"""The policy passthrough: the perception as it is, not more often than asked for."""

import math
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider_agent.policies.passthrough import PassthroughOptions, PassthroughPolicy
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
SEEN = {"kind": "classification", "index": 2, "label": "cat", "score": 0.75, "margin": 0.5}
FOUND = Detection(label="cat", index=2, score=0.75, box=(1.0, 2.0, 3.0, 4.0), detail=CAT)


def policy_of(**options: object) -> PassthroughPolicy:
    return PassthroughPolicy(msgspec.convert(options, PassthroughOptions))


@pytest.mark.parametrize(
    ("perception", "told"),
    [
        (CAT, SEEN),
        (
            Detections(objects=(FOUND,), frame=(8, 6)),
            {
                "kind": "detection",
                "objects": [
                    {"label": "cat", "index": 2, "score": 0.75, "box": [1.0, 2.0, 3.0, 4.0], "detail": SEEN}
                ],
                "frame": [8, 6],
            },
        ),
        (Detections(), {"kind": "detection", "objects": [], "frame": [0, 0]}),
        (
            Regression(names=("a",), values=(1.5,)),
            {"kind": "regression", "names": ["a"], "values": [1.5]},
        ),
        (
            Control(names=("x", "y"), values=(0.5, -1.0)),
            {"kind": "control", "names": ["x", "y"], "values": [0.5, -1.0], "index": -1},
        ),
        (Anomaly(score=2.0, threshold=1.0), {"kind": "anomaly", "score": 2.0, "threshold": 1.0}),
    ],
)
def test_every_field_is_passed_on(perception: Perception, told: dict[str, Any]) -> None:
    policy = policy_of(data={"line": 7})
    [decision], _ = policy.decide(perception, policy.initial(), 0.0)
    assert decision.data == {**told, "line": 7}
    assert policy.explain(perception, policy.initial(), 0.0) == (f"{told['kind']}: fires",)


@pytest.mark.parametrize(
    "perception",
    [
        Anomaly(score=math.inf, threshold=1.0),
        Regression(names=("a", "b"), values=(1.0, math.nan)),
        Detections(objects=(msgspec.structs.replace(FOUND, box=(0.0, 0.0, math.nan, 1.0)),)),
        msgspec.structs.replace(CAT, margin=math.nan),
        Detections(
            objects=(msgspec.structs.replace(FOUND, detail=msgspec.structs.replace(CAT, score=math.nan)),)
        ),
    ],
)
def test_what_json_cannot_tell_is_not_passed_on(perception: Perception) -> None:
    policy = policy_of()
    assert policy.decide(perception, policy.initial(), 0.0) == ((), policy.initial())
    assert policy.explain(perception, policy.initial(), 0.0)[0].endswith(": not all numbers are finite")


@pytest.mark.parametrize(
    ("every_s", "times", "passed_on"),
    [
        (0.0, [0, 0, 1], [0, 0, 1]),
        (2.0, [0, 1.9, 2, 3, 4.5, 6], [0, 2, 4.5]),
    ],
)
def test_it_waits_between_decisions(every_s: float, times: list[float], passed_on: list[float]) -> None:
    policy = policy_of(every_s=every_s)
    state, told = policy.initial(), []
    for now in times:
        decisions, state = policy.decide(CAT, state, now)
        told += [now] * len(decisions)
    assert told == passed_on


def test_it_says_how_long_it_waits() -> None:
    policy = policy_of(every_s=2.0)
    _, state = policy.decide(CAT, policy.initial(), 1.0)
    assert policy.explain(CAT, state, 1.5) == ("classification: waits for 1.5 s",)


def test_data_hides_nothing() -> None:
    made, faults = settings.convert({"data": {"kind": 1, "values": 2, "bin": 3}}, PassthroughOptions, "p")
    assert made is None
    assert "data cannot hold kind, values: a decision says that itself" in faults[0]


@given(st.floats(0.0, 5.0), st.lists(st.floats(0.0, 3.0), max_size=40))
def test_it_is_never_early_and_never_late(every_s: float, steps: list[float]) -> None:
    policy = policy_of(every_s=every_s)
    state, now, told, quiet = policy.initial(), 0.0, [], []
    for passed in steps:
        now += passed
        decisions, state = policy.decide(CAT, state, now)
        (told if decisions else quiet).append(now)
    assert all(later - earlier >= every_s for earlier, later in pairwise(told))
    assert all(any(0.0 <= now - earlier < every_s for earlier in told) for now in quiet)
