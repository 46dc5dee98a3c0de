"""The rule policy, by table and against a plain model of what a rule means."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider_agent.policies.rules import Rule, RulesOptions, RulesPolicy
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

LABELS = ("cat", "dog")


def seen(label: str, score: float = 0.9) -> Classification:
    return Classification(index=LABELS.index(label), label=label, score=score, margin=0.1)


def play(rules: list[dict[str, Any]], frames: list[tuple[float, str, float]]) -> list[tuple[float, str]]:
    """Return when which label was decided on."""
    policy = RulesPolicy(msgspec.convert({"rules": rules}, RulesOptions))
    state, fired = policy.initial(), []
    for now, label, score in frames:
        decisions, state = policy.decide(seen(label, score), state, now)
        fired += [(now, decision.data["label"]) for decision in decisions]
    return fired


@pytest.mark.parametrize(
    ("rule", "frames", "fired"),
    [
        ({}, [(0, "cat", 0.1), (1, "dog", 0.2)], [(0, "cat"), (1, "dog")]),
        ({"label": "dog"}, [(0, "cat", 1), (1, "dog", 1)], [(1, "dog")]),
        ({"min_score": 0.5}, [(0, "cat", 0.49), (1, "cat", 0.5)], [(1, "cat")]),
        (
            {"frames": 2},
            [(0, "cat", 1), (1, "cat", 1), (2, "cat", 1), (3, "cat", 1)],
            [(1, "cat"), (3, "cat")],
        ),
        ({"label": "cat", "frames": 2}, [(0, "cat", 1), (1, "dog", 1), (2, "cat", 1)], []),
        ({"frames": 2, "min_score": 0.5}, [(0, "cat", 1), (1, "cat", 0.1), (2, "cat", 1)], []),
        ({"label": "*", "frames": 2}, [(0, "cat", 1), (1, "dog", 1), (2, "dog", 1)], [(2, "dog")]),
        ({"cooldown_s": 2}, [(0, "cat", 1), (1.9, "cat", 1), (2, "cat", 1)], [(0, "cat"), (2, "cat")]),
        (
            {"cooldown_s": 3, "frames": 2},
            [(0, "cat", 1), (1, "cat", 1), (2, "cat", 1), (3, "cat", 1), (4, "cat", 1)],
            [(1, "cat"), (4, "cat")],
        ),
    ],
)
def test_a_rule_fires_when_it_should(
    rule: dict[str, Any], frames: list[tuple[float, str, float]], fired: list[tuple[float, str]]
) -> None:
    assert play([rule], frames) == fired


def test_every_rule_is_judged_and_adds_its_data() -> None:
    options = {"rules": [{"data": {"bin": "all"}}, {"label": "dog"}, {"label": "cat", "data": {"pin": 4}}]}
    policy = RulesPolicy(msgspec.convert(options, RulesOptions))
    decisions, _ = policy.decide(seen("cat", 0.75), policy.initial(), 0.0)
    own = {"label": "cat", "score": 0.75, "index": 0}
    assert [d.data for d in decisions] == [{**own, "bin": "all"}, {**own, "pin": 4}]


@given(
    st.sampled_from(["*", "cat"]),
    st.integers(1, 4),
    st.floats(0.0, 5.0),
    st.lists(st.tuples(st.floats(0.0, 2.0), st.sampled_from(LABELS), st.floats(0.0, 1.0)), max_size=60),
)
def test_it_never_fires_early_and_never_misses(
    label: str, frames: int, cooldown_s: float, steps: list[tuple[float, str, float]]
) -> None:
    rule = {"label": label, "frames": frames, "cooldown_s": cooldown_s, "min_score": 0.5}
    now, history, last = 0.0, [], -1e9
    scenes: list[tuple[float, str, float]] = []
    for passed, name, score in steps:
        now += passed
        scenes.append((now, name, score))
    expected = []
    for at, (time, name, score) in enumerate(scenes):
        hit = score >= 0.5 and label in {"*", name}
        history = [*history, name] if hit and (not history or history[-1] == name) else [name] * hit
        if len(history) >= frames and time - last >= cooldown_s:
            expected.append((time, name))
            history, last = [], time
        assert play([rule], scenes[: at + 1]) == expected


@given(st.lists(st.tuples(st.sampled_from(LABELS), st.floats(0.0, 1.0)), max_size=20))
def test_it_is_pure(scenes: list[tuple[str, float]]) -> None:
    policy = RulesPolicy(RulesOptions(rules=(Rule(frames=2, cooldown_s=1.0), Rule(label="cat"))))
    state = policy.initial()
    for now, (label, score) in enumerate(scenes):
        before = msgspec.json.encode(state)
        first = policy.decide(seen(label, score), state, float(now))
        assert policy.decide(seen(label, score), state, float(now)) == first
        assert msgspec.json.encode(state) == before
        state = first[1]


@pytest.mark.parametrize(
    ("rules", "fault"),
    [
        ([], "p.rules"),
        ([{"min_score": 1.5}], "p.rules[0].min_score"),
        ([{"frames": 0}], "p.rules[0].frames"),
        ([{"lable": "cat"}], "did you mean 'label'?"),
        ([{}, {"data": {"score": 1}}], "p.rules[1]: data cannot hold score"),
        ([{"data": {"count": 1, "box": "left"}}], "p.rules[0]: data cannot hold box, count"),
        ([{"release_score": 0, "data": {"state": 1}}], "data cannot hold state"),
        ([{"release_score": 0, "released": {"label": 1}}], "released cannot hold label"),
        (
            [{"detail": "x", "data": {"detail": 1, "detail_score": 1}}],
            "data cannot hold detail, detail_score",
        ),
        ([{"value": "t", "below": 1, "data": {"name": 1, "value": 1}}], "data cannot hold name, value"),
        ([{"min_score": 0.5, "release_score": 0.6}], "release_score must be at most min_score"),
        ([{"released": {}}], "released needs release_score"),
        ([{"release_frames": 2}], "release_frames needs release_score"),
        ([{"value": "t", "above": 1, "release_frames": 2}], "release_frames needs release"),
        ([{"rate_count": 2}], "rate_count and rate_s need each other"),
        ([{"rate_s": 2}], "rate_count and rate_s need each other"),
        (
            [{"rate_s": 2, "rate_count": 1, "release_score": 0, "released": {}}],
            "rate_count must be at least 2 with released",
        ),
        ([{"anchor": "bottom"}], "anchor needs a region"),
        ([{"region": [0, 0, 1, 1], "anchor": "top"}], "'top' is none of these: center, bottom, any"),
        ([{"min_detail_score": 0.5}], "min_detail_score needs a detail"),
        ([{"above": 1, "release": 0}], "above needs a value; release needs a value"),
        ([{"value": "t"}], "value needs above or below"),
        ([{"value": "t", "above": 2, "below": 1}], "above must be less than below"),
        ([{"value": "t", "above": 1, "release": 2}], "release must be at most above"),
        ([{"value": "t", "below": 1, "release": 0}], "release must be at least below"),
        ([{"value": "t", "above": 0, "below": 1, "release": 0}], "release needs above or below, not both"),
        (
            [{"value": "t", "below": 1, "label": "cat", "min_score": 0.5, "region": [0, 0, 1, 1]}],
            "a rule with a value cannot have a label; a rule with a value cannot have min_score; a rule",
        ),
    ],
)
def test_faulty_rules_are_refused_with_their_place(rules: list[dict[str, Any]], fault: str) -> None:
    made, faults = settings.convert({"rules": rules}, RulesOptions, "p")
    assert made is None
    assert fault in "\n".join(faults)


def test_names_that_a_rule_does_not_say_itself_are_free() -> None:
    data = {"state": "shut", "value": 3, "name": "gate", "detail": "x"}
    policy = RulesPolicy(msgspec.convert({"rules": [{"data": data}]}, RulesOptions))
    [decision], _ = policy.decide(seen("cat"), policy.initial(), 0.0)
    assert decision.data.items() >= data.items()


@pytest.mark.parametrize(
    ("perception", "told"),
    [
        (
            Control(names=("left", "stop"), values=(0.1, 3.0), index=1),
            {"label": "stop", "score": 1.0, "index": 1},
        ),
        (Control(names=("left", "stop"), values=(0.1, 3.0)), None),
        (Anomaly(score=7.0, threshold=5.0), {"label": "anomaly", "score": 7.0}),
        (Anomaly(score=4.0, threshold=5.0), {"label": "normal", "score": 4.0}),
        (Anomaly(score=math.inf, threshold=5.0), None),
        (Regression(names=("t",), values=(1.0,)), None),
    ],
)
def test_whatever_has_a_label_is_seen(perception: Perception, told: dict[str, Any] | None) -> None:
    policy = RulesPolicy(RulesOptions(rules=(Rule(),)))
    decisions, _ = policy.decide(perception, policy.initial(), 0.0)
    assert [decision.data for decision in decisions] == ([] if told is None else [told])


# --- detections -----------------------------------------------------------------------------------


def objects(*found: tuple[str, float]) -> Detections:
    """Return objects, the surest first, each at a place of its own."""
    ordered = sorted(found, key=lambda one: -one[1])
    return Detections(
        objects=tuple(
            Detection(label=label, index=LABELS.index(label), score=score, box=(10.0 * at, 2.0, 8.0, 6.0))
            for at, (label, score) in enumerate(ordered)
        )
    )


def watch(rule: dict[str, Any], frames: list[Detections]) -> list[tuple[int, dict[str, Any]]]:
    """Return what was decided on which of frames that come each second."""
    policy = RulesPolicy(msgspec.convert({"rules": [rule]}, RulesOptions))
    state, fired = policy.initial(), []
    for now, perception in enumerate(frames):
        decisions, state = policy.decide(perception, state, float(now))
        fired += [(now, decision.data) for decision in decisions]
    return fired


@pytest.mark.parametrize(
    ("rule", "frames", "fired"),
    [
        ({}, [(), (("cat", 0.3),)], [1]),
        ({"label": "dog"}, [(("cat", 0.9),), (("cat", 0.9), ("dog", 0.4))], [1]),
        ({"label": "dog", "min_score": 0.5}, [(("cat", 0.9), ("dog", 0.4)), (("dog", 0.5),)], [1]),
        ({"label": "dog", "frames": 2}, [(("dog", 0.4),), (), (("dog", 0.4),), (("dog", 0.4),)], [3]),
        # An object that passes by does not end the count of one that stays.
        (
            {"frames": 3},
            [(("dog", 0.4),), (("cat", 0.9), ("dog", 0.4)), (("cat", 0.9), ("dog", 0.4))],
            [2],
        ),
        ({"frames": 2}, [(("dog", 0.4),), (("cat", 0.9),), (("dog", 0.4),)], []),
        ({"cooldown_s": 2}, [(("dog", 0.4),)] * 4, [0, 2]),
    ],
)
def test_a_rule_fires_on_any_of_the_objects(
    rule: dict[str, Any], frames: list[tuple[tuple[str, float], ...]], fired: list[int]
) -> None:
    assert [at for at, _ in watch(rule, [objects(*frame) for frame in frames])] == fired


def test_a_decision_tells_the_surest_object_its_box_and_how_many_there_are() -> None:
    frame = objects(("cat", 0.9), ("dog", 0.8), ("dog", 0.6), ("dog", 0.2))
    rule = {"label": "dog", "min_score": 0.5, "data": {"pin": 4}}
    told = {"label": "dog", "score": 0.8, "index": 1, "box": [10.0, 2.0, 8.0, 6.0], "count": 2, "pin": 4}
    assert watch(rule, [frame]) == [(0, told)]


def test_a_rule_for_any_label_counts_the_objects_of_the_one_it_tells() -> None:
    [(_, data)] = watch({}, [objects(("dog", 0.8), ("cat", 0.9), ("cat", 0.3))])
    assert (data["label"], data["count"]) == ("cat", 2)


@given(
    st.sampled_from(["*", "cat"]),
    st.integers(1, 3),
    st.floats(0.0, 3.0),
    st.lists(st.tuples(st.sampled_from(LABELS), st.floats(0.0, 1.0)), max_size=30),
)
def test_one_object_is_judged_as_a_classification_is(
    label: str, frames: int, cooldown_s: float, scenes: list[tuple[str, float]]
) -> None:
    rule = {"label": label, "frames": frames, "cooldown_s": cooldown_s, "min_score": 0.5}
    watched = [(float(at), data["label"]) for at, data in watch(rule, [objects(one) for one in scenes])]
    assert watched == play([rule], [(float(at), *one) for at, one in enumerate(scenes)])


@given(st.lists(st.lists(st.tuples(st.sampled_from(LABELS), st.floats(0.0, 1.0)), max_size=5), max_size=20))
def test_objects_are_counted_without_gaps(scenes: list[list[tuple[str, float]]]) -> None:
    """A rule for a label fires on each third frame in a row that has an object of it."""
    streak, expected = 0, []
    for at, scene in enumerate(scenes):
        streak = streak + 1 if any(label == "cat" and score >= 0.5 for label, score in scene) else 0
        if streak and streak % 3 == 0:
            expected.append(at)
    rule = {"label": "cat", "frames": 3, "min_score": 0.5}
    assert [at for at, _ in watch(rule, [objects(*scene) for scene in scenes])] == expected
