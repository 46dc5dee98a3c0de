"""Rules over time, by table: release, rate, values, regions and details; and what they say of themselves."""

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from outrider_agent.policies.rules import RulesOptions, RulesPolicy
from outrider_runtime.perception import (
    Anomaly,
    Classification,
    Control,
    Detection,
    Detections,
    Perception,
    Regression,
)

WARM = Regression(names=("humidity", "temperature"), values=(40.0, 31.5))
EMPTY = Detections(frame=(100, 100))


def policy_of(rule: dict[str, Any]) -> RulesPolicy:
    return RulesPolicy(msgspec.convert({"rules": [rule]}, RulesOptions))


def play(rule: dict[str, Any], frames: Sequence[Perception], times: Sequence[float] = ()) -> list[Any]:
    """Return what is decided on each of `frames`: data, or None."""
    policy, told = policy_of(rule), []
    state = policy.initial()
    for at, perception in enumerate(frames):
        decisions, state = policy.decide(perception, state, float(times[at] if times else at))
        told.append(decisions[0].data if decisions else None)
    return told


def lines(rule: dict[str, Any], frames: Sequence[Perception], times: Sequence[float] = ()) -> list[str]:
    """Return what is said of each of `frames`, without the rule's name."""
    policy, said = policy_of(rule), []
    state = policy.initial()
    for at, perception in enumerate(frames):
        now = float(times[at] if times else at)
        [line] = policy.explain(perception, state, now)
        said.append(line.removeprefix(f"{rule.get('label', rule.get('value', '*'))}: "))
        _, state = policy.decide(perception, state, now)
    return said


def person(score: float, label: str = "person") -> Classification:
    return Classification(index=0, label=label, score=score, margin=score / 2)


def at(left: float, score: float = 0.9, detail: Classification | None = None) -> Detections:
    """Return a person of 20 x 40 pixels at `left`, in a frame of 100 x 100."""
    found = Detection(label="person", index=0, score=score, box=(left, 30.0, 20.0, 40.0), detail=detail)
    return Detections(objects=(found,), frame=(100, 100))


def warm(value: float) -> Regression:
    return Regression(names=("humidity", "temperature"), values=(40.0, value))


def states(told: list[Any]) -> str:
    """Return a letter for each frame: decided on (1), off (0), neither a state (x), or nothing (.)."""
    letters = {"on": "1", "off": "0", None: "x"}
    return "".join("." if data is None else letters[data.get("state")] for data in told)


@pytest.mark.parametrize(
    ("rule", "scores", "expected"),
    [
        # Without hysteresis it fires all the time; with it, once until it is gone.
        ({"min_score": 0.5}, [0.9, 0.45, 0.9], "x.x"),
        ({"min_score": 0.5, "release_score": 0.4}, [0.9, 0.45, 0.9, 0.39, 0.9], "1...1"),
        (
            {"min_score": 0.5, "release_score": 0.4, "released": {}},
            [0.9, 0.4, 0.9, 0.39, 0.45, 0.5],
            "1..0.1",
        ),
        ({"min_score": 0.5, "release_score": 0.5, "released": {}}, [0.5, 0.5, 0.49, 0.5], "1.01"),
        (
            {"min_score": 0.5, "release_score": 0.4, "release_frames": 2, "released": {}},
            [0.9, 0.1, 0.9, 0.1, 0.1, 0.1, 0.9],
            "1...0.1",
        ),
        # The frame of the release is not counted already.
        (
            {"min_score": 0.5, "release_score": 0.4, "frames": 2, "released": {}},
            [0.9, 0.9, 0.9, 0.1, 0.9, 0.9],
            ".1.0.1",
        ),
        # A cooldown holds back what switches on, never what switches off.
        (
            {"min_score": 0.5, "release_score": 0.4, "cooldown_s": 4, "released": {}},
            [0.9, 0.1, 0.9, 0.9, 0.9, 0.1, 0.1],
            "10..10.",
        ),
        # A pair fits into any 5 seconds, and half a pair never begins.
        (
            {"min_score": 0.5, "release_score": 0.4, "rate_count": 2, "rate_s": 5, "released": {}},
            [0.9, 0.1, 0.9, 0.1, 0.9, 0.9, 0.9, 0.1],
            "10....10",
        ),
        (
            {"min_score": 0.5, "release_score": 0.4, "rate_count": 3, "rate_s": 5, "released": {}},
            [0.9, 0.1, 0.9, 0.1, 0.9, 0.9, 0.9, 0.1],
            "10...1.0",
        ),
    ],
)
def test_it_is_on_until_its_release(rule: dict[str, Any], scores: list[float], expected: str) -> None:
    assert states(play({"label": "person", **rule}, [person(score) for score in scores])) == expected


def test_another_label_is_an_absence() -> None:
    rule = {"release_score": 0.0, "released": {}}
    frames = [person(0.9, "cat"), person(0.9, "cat"), person(0.9, "dog"), person(0.9, "dog")]
    told = play(rule, frames)
    assert [(data["label"], data["state"]) for data in told if data] == [
        ("cat", "on"),
        ("cat", "off"),
        ("dog", "on"),
    ]


def test_what_switches_on_and_off_carries_its_own_data() -> None:
    rule = {"label": "person", "release_score": 0.0, "data": {"lamp": True}, "released": {"lamp": False}}
    assert play(rule, [at(0.0), EMPTY]) == [
        {
            "label": "person",
            "score": 0.9,
            "index": 0,
            "box": [0.0, 30.0, 20.0, 40.0],
            "count": 1,
            "state": "on",
            "lamp": True,
        },
        {"label": "person", "state": "off", "lamp": False},
    ]


def test_outputs_that_were_made_safe_are_switched_on_again() -> None:
    policy = policy_of({"release_score": 0.0, "cooldown_s": 3.0})
    _, state = policy.decide(person(0.9), policy.initial(), 0.0)
    assert policy.decide(person(0.9), state, 5.0) == ([], state)
    safe = policy.rearm(state)
    assert policy.decide(person(0.9), safe, 2.0)[0] == []
    assert [one.data["state"] for one in policy.decide(person(0.9), safe, 3.0)[0]] == ["on"]
    assert policy.rearm(policy.initial()) == policy.initial()


@pytest.mark.parametrize(
    ("rule", "times", "expected"),
    [
        ({"rate_count": 2, "rate_s": 10}, [0, 0, 0, 9.9, 10, 10, 10, 19], "xx..xx.."),
        ({"rate_count": 2, "rate_s": 10}, [0, 6, 9, 10, 15, 16], "xx.x.x"),
        ({"rate_count": 1, "rate_s": 2}, [0, 1, 2, 3, 4], "x.x.x"),
        ({"rate_count": 2, "rate_s": 10, "cooldown_s": 3}, [0, 2, 3, 6, 10, 12, 13], "x.x.x.x"),
        # What it counts goes on while its rate holds it back.
        ({"rate_count": 1, "rate_s": 3, "frames": 2}, [0, 1, 2, 3, 4, 5], ".x..x."),
    ],
)
def test_a_rate_bounds_every_span(rule: dict[str, Any], times: list[float], expected: str) -> None:
    assert states(play(rule, [person(0.9)] * len(times), times)) == expected


@pytest.mark.parametrize(
    ("rule", "values", "expected"),
    [
        ({"above": 30}, [30, 30.1, 31], ".xx"),
        ({"below": 5}, [5, 4.9], ".x"),
        ({"above": 10, "below": 20}, [10, 15, 20], ".x."),
        ({"above": 30, "frames": 2}, [31, 29, 31, 32], "...x"),
        ({"above": 30, "release": 25, "released": {}}, [31, 26, 31, 25, 30, 31], "1..0.1"),
        ({"below": 5, "release": 8, "released": {}}, [4, 7.9, 4, 8, 6, 4], "1..0.1"),
        ({"above": 30, "release": 30, "released": {}, "release_frames": 2}, [31, 30, 31, 30, 30], "1...0"),
        ({"above": 30}, [math.nan, math.inf, 31], "..x"),
        ({"above": 30, "release": 25, "released": {}}, [31, math.nan, math.inf, 31], "10.1"),
    ],
)
def test_a_value_has_thresholds(rule: dict[str, Any], values: list[float], expected: str) -> None:
    assert states(play({"value": "temperature", **rule}, [warm(value) for value in values])) == expected


@pytest.mark.parametrize(
    ("value", "perception", "told"),
    [
        ("temperature", WARM, {"name": "temperature", "value": 31.5, "fan": 1}),
        ("speed", WARM, None),
        ("score", Anomaly(score=9.0, threshold=50.0), {"name": "score", "value": 9.0, "fan": 1}),
        ("threshold", Anomaly(score=9.0, threshold=50.0), None),
        ("thrust", Control(names=("thrust",), values=(0.5,)), {"name": "thrust", "value": 0.5, "fan": 1}),
        ("person", person(0.9), None),
        ("person", at(0.0), None),
    ],
)
def test_values_are_read_by_their_names(value: str, perception: Perception, told: dict[str, Any]) -> None:
    assert play({"value": value, "above": 0, "data": {"fan": 1}}, [perception]) == [told]


def test_a_value_is_told_when_it_is_released_if_there_is_one() -> None:
    rule = {"value": "temperature", "above": 30, "release": 25, "released": {"fan": False}}
    off = {"name": "temperature", "state": "off", "fan": False}
    frames = [warm(31.0), warm(20.0), warm(31.0), EMPTY, warm(31.0), warm(math.nan)]
    assert play(rule, frames)[1::2] == [{**off, "value": 20.0}, off, off]


def test_a_region_and_a_detail_ask_for_objects_there_that_a_second_model_knows() -> None:
    coat, hat = person(0.8, "coat"), person(0.4, "hat")
    gate = {"label": "person", "region": [0.5, 0.0, 0.5, 1.0]}
    assert states(play(gate, [at(0.0), at(39.0), at(40.0), at(80.0), EMPTY, person(0.9)])) == "..xx.."
    dressed = {"label": "person", "detail": "coat", "min_detail_score": 0.5}
    seen = [
        at(0.0),
        at(0.0, detail=hat),
        at(0.0, detail=coat),
        at(0.0, detail=person(0.4, "coat")),
        person(1),
    ]
    assert states(play(dressed, seen)) == "..x.."
    assert states(play({"detail": "*"}, seen)) == ".xxx."
    [told] = play(dressed, [at(0.0, detail=coat)])
    assert (told["detail"], told["detail_score"], told["count"]) == ("coat", 0.8, 1)
    assert "detail" not in play({}, [at(0.0, detail=coat)])[0]


def test_only_objects_in_the_region_are_told_and_counted() -> None:
    boxes = [(0.0, 0.95), (70.0, 0.9), (60.0, 0.5), (75.0, 0.2)]
    objects = tuple(at(left, score).objects[0] for left, score in boxes)
    [told] = play(
        {"region": [0.5, 0, 0.5, 1], "min_score": 0.4}, [Detections(objects=objects, frame=(100, 100))]
    )
    assert (told["score"], told["box"][0], told["count"]) == (0.9, 70.0, 2)


@pytest.mark.parametrize(
    ("rule", "frames", "said"),
    [
        (
            {"label": "person"},
            [person(0.91), EMPTY, person(0.9, "cat")],
            ["fires: 0.91", "not seen", "not seen"],
        ),
        ({}, [EMPTY, person(0.91)], ["nothing seen", "fires: person 0.91"]),
        ({"frames": 3}, [person(1)] * 3, ["1 of 3 frames", "2 of 3 frames", "fires: person 1 for 3 frames"]),
        ({"label": "person", "min_score": 0.5}, [person(0.42), at(0.0, 0.42)], ["best 0.42 below 0.5"] * 2),
        ({"label": "person", "cooldown_s": 2.2}, [person(1)] * 2, ["fires: 1", "cooling down for 1.2 s"]),
        (
            {"label": "person", "rate_count": 1, "rate_s": 2.5},
            [person(1)] * 2,
            ["fires: 1", "at its rate of 1 in 2.5 s, for 1.5 s more"],
        ),
        (
            {"label": "person", "region": [0.5, 0, 0.5, 1]},
            [at(0.0), person(0.9)],
            ["outside of its region", "has no place or detail: it is no object"],
        ),
        (
            {"label": "person", "detail": "coat", "min_detail_score": 0.5},
            [at(0.0), at(0.0, detail=person(0.8, "coat"))],
            ["no detail coat of at least 0.5", "fires: 0.9"],
        ),
        (
            {"label": "person", "min_score": 0.5, "release_score": 0.4, "release_frames": 2, "released": {}},
            [person(0.9), person(0.4), EMPTY, EMPTY],
            [
                "fires: 0.9",
                "already on, until below 0.4",
                "on, below 0.4 for 1 of 2 frames",
                "turns off: below 0.4 for 2 frames",
            ],
        ),
        (
            {"release_score": 0},
            [person(0.9), person(0.9), EMPTY],
            ["fires: person 0.9", "already on for person, until below 0", "armed again: below 0"],
        ),
        (
            {"value": "temperature", "above": 30, "release": 25, "released": {}},
            [EMPTY, warm(29.5), warm(31.5), warm(26), warm(25)],
            [
                "no such value",
                "29.5 is not above 30",
                "fires: 31.5",
                "already on, until not above 25",
                "turns off: not above 25",
            ],
        ),
        ({"value": "temperature", "below": 5}, [warm(5)], ["5 is not below 5"]),
        ({"value": "temperature", "above": 3, "below": 5}, [warm(5)], ["5 is not between 3 and 5"]),
    ],
)
def test_a_line_says_why(rule: dict[str, Any], frames: list[Perception], said: list[str]) -> None:
    assert lines(rule, frames) == said
