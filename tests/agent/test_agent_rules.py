"""The rule policy, by table and against a plain model of what a rule means."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider_agent.policies.rules import Rule, RulesOptions, RulesPolicy
from outrider_bundle import settings
from outrider_runtime.perception import Classification

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
    ],
)
def test_faulty_rules_are_refused_with_their_place(rules: list[dict[str, Any]], fault: str) -> None:
    made, faults = settings.convert({"rules": rules}, RulesOptions, "p")
    assert made is None
    assert fault in "\n".join(faults)
