"""What holds of every rule on whatever is perceived, and hysteresis against a plain model of it."""

import math
from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from outrider_agent.policies.rules import Rule, RulesOptions, RulesPolicy
from outrider_runtime.perception import (
    Anomaly,
    Classification,
    Control,
    Detection,
    Detections,
    Perception,
    Regression,
)

LABELS = st.sampled_from(["cat", "dog"])
SCORES = st.sampled_from([0.0, 0.2, 0.4, 0.5, 0.6, 0.9])
NUMBERS = st.sampled_from([-math.inf, -1.0, 0.0, 0.5, 1.0, 2.0, math.nan])
SHARES = st.sampled_from([0.0, 0.25, 0.5])

CLASSIFICATIONS = st.builds(Classification, index=st.just(0), label=LABELS, score=SCORES, margin=st.just(0.0))
OBJECTS = st.builds(
    Detection,
    label=LABELS,
    index=st.just(0),
    score=SCORES,
    box=st.sampled_from([(0.0, 0.0, 4.0, 4.0), (5.0, 5.0, 5.0, 5.0), (2.0, 3.0, 5.0, 6.0)]),
    detail=st.none() | CLASSIFICATIONS,
)
PERCEPTIONS: st.SearchStrategy[Perception] = st.one_of(
    CLASSIFICATIONS,
    st.builds(
        lambda found: Detections(
            objects=tuple(sorted(found, key=lambda one: -one.score)),
            frame=(10, 10),
        ),
        st.lists(OBJECTS, max_size=3),
    ),
    st.builds(Regression, names=st.just(("cat", "x")), values=st.tuples(NUMBERS, NUMBERS)),
    st.builds(
        Control,
        names=st.just(("cat", "x")),
        values=st.tuples(NUMBERS, NUMBERS),
        index=st.sampled_from([-1, 0, 1]),
    ),
    st.builds(Anomaly, score=NUMBERS, threshold=st.just(0.5)),
)
SCENES = st.lists(st.tuples(st.sampled_from([0.0, 0.3, 1.0, 1.7, 5.0]), PERCEPTIONS), max_size=30)


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    """Return a rule with any of its options."""
    rule: dict[str, Any] = {
        "frames": draw(st.integers(1, 3)),
        "cooldown_s": draw(st.sampled_from([0.0, 1.5])),
    }
    stays, count = draw(st.booleans()), draw(st.integers(0, 4))
    if draw(st.booleans()):
        rule |= {"label": draw(st.sampled_from(["*", "cat", "anomaly"])), "min_score": draw(SCORES)}
        rule |= draw(
            st.sampled_from([{}, {"region": [0, 0, 0.5, 0.5]}, {"region": [[0, 0], [1, 0], [1, 1]]}])
        )
        rule |= draw(st.sampled_from([{}, {"detail": "*"}, {"detail": "dog", "min_detail_score": 0.4}]))
        if "region" in rule:
            rule["anchor"] = draw(st.sampled_from(["center", "bottom", "any"]))
        rule |= {"release_score": rule["min_score"] / 2} if stays else {}
    else:
        rule |= {"value": draw(st.sampled_from(["cat", "score"]))}
        rule |= draw(st.sampled_from([{"above": 0.5, "release": 0.0}, {"below": 0.5, "release": 1.0}]))
        if not stays:
            del rule["release"]
    if stays:
        rule["release_frames"] = draw(st.integers(1, 2))
        rule |= draw(st.sampled_from([{}, {"released": {"lamp": False}}]))
    if count:
        rule |= {"rate_count": count + ("released" in rule), "rate_s": draw(st.sampled_from([0.5, 2.0, 6.0]))}
    return msgspec.convert(rule, Rule)


def follow(rule: Rule, scenes: list[tuple[float, Perception]]) -> list[tuple[float, dict[str, Any]]]:
    """Return when what was decided; holds the promises of a single call on the way."""
    policy = RulesPolicy(RulesOptions(rules=(rule,)))
    state, now, told = policy.initial(), 0.0, []
    for passed, perception in scenes:
        now += passed
        before = repr(state)
        [line] = policy.explain(perception, state, now)
        decisions, following = policy.decide(perception, state, now)
        assert policy.decide(perception, state, now) == (decisions, following)
        assert repr(state) == before
        data = [decision.data for decision in decisions]
        off = [one.get("state") == "off" for one in data]
        assert off == [True] * (": turns off: " in line) + [False] * (": fires: " in line)
        told += [(now, one) for one in data]
        state = following
    return told


@given(rules(), SCENES)
def test_no_rule_breaks_its_promises(rule: Rule, scenes: list[tuple[float, Perception]]) -> None:
    told = follow(rule, scenes)
    times = [now for now, _ in told]
    fired = [now for now, data in told if data.get("state") != "off"]
    assert all(later - earlier >= rule.cooldown_s for earlier, later in pairwise(fired))
    if rule.rate_count and rule.rate_s:
        spans = zip(times, times[rule.rate_count :], strict=False)
        assert all(later - earlier >= rule.rate_s for earlier, later in spans)
    switches = [data.get("state") for _, data in told]
    if rule.stays and rule.released is not None:
        assert switches == (["on", "off"] * len(switches))[: len(switches)]
    else:
        assert set(switches) <= ({"on"} if rule.stays else {None})
    for _, data in told:
        numbers = [one for one in data.values() if isinstance(one, float)] + data.get("box", [])
        assert all(map(math.isfinite, numbers))
        assert msgspec.json.decode(msgspec.json.encode(data)) == data


@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.lists(st.sampled_from([None, 0.1, 0.45, 0.9]), max_size=40),
)
def test_it_switches_as_a_plain_model_does(
    frames: int, release_frames: int, scores: list[float | None]
) -> None:
    """On after N frames in a row from 0.5, off after M in a row below 0.4, counted from the last switch."""
    rule = {"label": "cat", "min_score": 0.5, "release_score": 0.4, "released": {}}
    rule |= {"frames": frames, "release_frames": release_frames}
    expected, on, run = [], False, 0
    for at, score in enumerate(scores):
        sure = score or 0.0
        run = run + 1 if (sure < 0.4 if on else sure >= 0.5) else 0
        if run == (release_frames if on else frames):
            on, run = not on, 0
            expected.append((float(at), "on" if on else "off"))
    scenes: list[tuple[float, Perception]] = [
        (
            1.0 if at else 0.0,
            Detections() if score is None else Classification(index=0, label="cat", score=score, margin=0.0),
        )
        for at, score in enumerate(scores)
    ]
    told = follow(msgspec.convert(rule, Rule), scenes)
    assert [(now, data["state"]) for now, data in told] == expected


@given(rules(), SCENES)
def test_rules_do_not_know_one_another(rule: Rule, scenes: list[tuple[float, Perception]]) -> None:
    policy = RulesPolicy(RulesOptions(rules=(Rule(), rule, Rule(label="dog", frames=2))))
    state, now, told = policy.initial(), 0.0, []
    for passed, perception in scenes:
        now += passed
        lines = policy.explain(perception, state, now)
        decisions, state = policy.decide(perception, state, now)
        assert sum(": fires: " in line or ": turns off: " in line for line in lines) == len(decisions)
        told += [(now, data) for data in (one.data for one in decisions)]
    apart = [one for each in (Rule(), rule, Rule(label="dog", frames=2)) for one in follow(each, scenes)]
    assert sorted(map(repr, told)) == sorted(map(repr, apart))
