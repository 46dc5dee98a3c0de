"""What every policy promises, whoever wrote it."""

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
from outrider_runtime.perception import Classification
from tests.fakes import examples

SCENES = st.lists(st.tuples(st.floats(0.0, 3.0), st.sampled_from(["bag", "boot"]), st.floats(0.0, 1.0)))
SAME_POLICY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture(params=plugins.names(parts.POLICIES))
def policy(request: pytest.FixtureRequest, tmp_path: Path) -> Policy:
    return parts.policy(examples.part(parts.POLICIES, request.param, tmp_path))


def seen(label: str, score: float) -> Classification:
    return Classification(index=len(label), label=label, score=score, margin=score / 2)


@SAME_POLICY
@given(scenes=SCENES)
def test_the_same_call_has_the_same_answer_and_changes_nothing(
    policy: Policy, scenes: list[tuple[float, str, float]]
) -> None:
    state, now = policy.initial(), 0.0
    for passed, label, score in scenes:
        now += passed
        before = copy.deepcopy(state)
        answer = policy.decide(seen(label, score), state, now)
        assert state == before
        assert policy.decide(seen(label, score), state, now) == answer
        state = answer[1]


@SAME_POLICY
@given(scenes=SCENES)
def test_what_it_decides_can_be_published(policy: Policy, scenes: list[tuple[float, str, float]]) -> None:
    state, now = policy.initial(), 0.0
    for passed, label, score in scenes:
        now += passed
        decisions, state = policy.decide(seen(label, score), state, now)
        for decision in decisions:
            assert isinstance(decision, Decision)
            event = Event(
                run="0" * 16, seq=0, time=now, pipeline="belt", kind="decision", frame="f", data=decision.data
            )
            assert codec.decode(codec.encode(event), Event).data == decision.data


def test_two_of_a_kind_share_nothing(policy: Policy) -> None:
    state, other = policy.initial(), policy.initial()
    for now in range(5):
        _, state = policy.decide(seen("bag", 0.9), state, float(now))
    assert other == policy.initial()
