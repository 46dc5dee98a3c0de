"""What every policy promises, whoever wrote it, on every kind of perception."""

import copy
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outrider_agent import parts
from outrider_agent.seams import Decision, Policy
from outrider_bundle import plugins
from outrider_bundle.messages import codec
from outrider_bundle.messages.event import Event
from outrider_runtime.perception import (
    Anomaly,
    Classification,
    Control,
    Detection,
    Detections,
    Perception,
    Regression,
)
from tests.fakes import examples

LABELS = ("bag", "boot")
SHARES = st.floats(0.0, 1.0)
NUMBERS = st.floats(-1e6, 1e6)
PAIRS = st.tuples(NUMBERS, NUMBERS)


def seen(label: str, score: float) -> Classification:
    return Classification(index=LABELS.index(label), label=label, score=score, margin=score / 2)


def objects(found: list[tuple[str, float, Classification | None]]) -> Detections:
    """Return objects, the surest first, some with what a second model has seen in them."""
    ordered = sorted(found, key=lambda one: -one[1])
    return Detections(
        objects=tuple(
            Detection(
                label=label,
                index=LABELS.index(label),
                score=score,
                box=(10.0 * at, 2.0, 8.0, 6.0),
                detail=detail,
            )
            for at, (label, score, detail) in enumerate(ordered)
        ),
        frame=(64, 48),
    )


CLASSIFICATIONS = st.builds(seen, st.sampled_from(LABELS), SHARES)
FOUND = st.tuples(st.sampled_from(LABELS), SHARES, st.none() | CLASSIFICATIONS)
PERCEPTIONS: st.SearchStrategy[Perception] = st.one_of(
    CLASSIFICATIONS,
    st.builds(objects, st.lists(FOUND, max_size=4)),
    st.builds(Regression, names=st.just(("speed", "load")), values=PAIRS),
    st.builds(Control, names=st.just(LABELS), values=PAIRS, index=st.sampled_from([-1, 0, 1])),
    st.builds(Anomaly, score=st.floats(0.0, 1e6), threshold=st.floats(0.0, 1e6)),
)
SCENES = st.lists(st.tuples(st.floats(0.0, 3.0), PERCEPTIONS))
SAME_POLICY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture(params=plugins.names(parts.POLICIES))
def policy(request: pytest.FixtureRequest, tmp_path: Path) -> Policy:
    return parts.policy(examples.part(parts.POLICIES, request.param, tmp_path))


@SAME_POLICY
@given(scenes=SCENES)
def test_the_same_call_has_the_same_answer_and_changes_nothing(
    policy: Policy, scenes: list[tuple[float, Perception]]
) -> None:
    state, now = policy.initial(), 0.0
    for passed, perception in scenes:
        now += passed
        before = copy.deepcopy((perception, state))
        answer = policy.decide(perception, state, now)
        assert (perception, state) == before
        assert policy.decide(perception, state, now) == answer
        state = answer[1]


@SAME_POLICY
@given(scenes=SCENES)
def test_what_it_decides_can_be_published(policy: Policy, scenes: list[tuple[float, Perception]]) -> None:
    state, now = policy.initial(), 0.0
    for passed, perception in scenes:
        now += passed
        decisions, state = policy.decide(perception, state, now)
        for decision in decisions:
            assert isinstance(decision, Decision)
            event = Event(
                run="0" * 16, seq=0, time=now, pipeline="belt", kind="decision", frame="f", data=decision.data
            )
            assert codec.decode(codec.encode(event), Event).data == decision.data


@SAME_POLICY
@given(scenes=SCENES)
def test_what_it_explains_is_lines_and_changes_nothing(
    policy: Policy, scenes: list[tuple[float, Perception]]
) -> None:
    explain = getattr(policy, "explain", None)
    if explain is None:
        pytest.skip("explains nothing, as it may")
    state, now = policy.initial(), 0.0
    for passed, perception in scenes:
        now += passed
        before = copy.deepcopy((perception, state))
        said = explain(perception, state, now)
        assert (perception, state) == before
        assert said
        assert all(isinstance(line, str) and line.isprintable() for line in said)
        assert explain(perception, state, now) == said
        _, state = policy.decide(perception, state, now)


@SAME_POLICY
@given(scenes=SCENES)
def test_it_goes_on_after_outputs_were_made_safe(
    policy: Policy, scenes: list[tuple[float, Perception]]
) -> None:
    rearm = getattr(policy, "rearm", None)
    if rearm is None:
        pytest.skip("has nothing that is on, as it may")
    state, now = policy.initial(), 0.0
    for passed, perception in scenes:
        now += passed
        before = copy.deepcopy(state)
        rearmed = rearm(state)
        assert state == before
        assert rearm(rearmed) == rearmed
        policy.decide(perception, rearmed, now)
        _, state = policy.decide(perception, state, now)


def test_two_of_a_kind_share_nothing(policy: Policy) -> None:
    state, other = policy.initial(), policy.initial()
    for now in range(5):
        _, state = policy.decide(seen("bag", 0.9), state, float(now))
    assert other == policy.initial()
