"""What every action promises, whoever wrote it."""

import threading
import time
from pathlib import Path

import pytest

from outrider_agent import parts
from outrider_agent.seams import Action, Context
from outrider_bundle import plugins
from outrider_bundle.messages.event import Event
from outrider_bundle.topics import Topics
from tests.fakes import examples


class Recorder:
    """A link that remembers."""

    def __init__(self) -> None:
        self.published: list[tuple[str, bytes, int]] = []

    def publish(self, topic: str, payload: bytes, *, qos: int = 1) -> None:
        self.published.append((topic, payload, qos))

    def retain(self, topic: str, payload: bytes) -> None:
        raise AssertionError(f"an action retained {payload!r} at {topic}")


@pytest.fixture
def link() -> Recorder:
    return Recorder()


@pytest.fixture(params=plugins.names(parts.ACTIONS))
def action(request: pytest.FixtureRequest, tmp_path: Path, link: Recorder) -> Action:
    context = Context(pipeline="belt", topics=Topics("plant", "line-1"), link=link)
    return parts.action(examples.part(parts.ACTIONS, request.param, tmp_path), context)


def decision(seq: int) -> Event:
    data = {"label": "bag", "score": 0.5, "index": 0, "bin": "left"}
    return Event(
        run="0" * 16, seq=seq, time=1.0, pipeline="belt", kind="decision", frame=f"f{seq}", data=data
    )


def test_it_can_be_made_safe_before_during_and_after(action: Action) -> None:
    action.safe_state()
    action.apply(decision(0))
    action.safe_state()
    action.safe_state()
    action.apply(decision(1))
    action.safe_state()
    action.close()


def test_closing_twice_is_allowed(action: Action) -> None:
    action.apply(decision(0))
    action.close()
    action.close()


def test_it_does_not_hold_up_the_loop(action: Action) -> None:
    begun = time.monotonic()
    for seq in range(100):
        action.apply(decision(seq))
    assert time.monotonic() - begun < 1.0
    action.close()


def test_the_decision_is_left_as_it_was(action: Action) -> None:
    given, same = decision(3), decision(3)
    action.apply(given)
    assert given == same
    assert given.data == same.data
    action.close()


def test_another_thread_makes_it_safe_while_decisions_come(action: Action) -> None:
    failures: list[BaseException] = []

    def make_safe() -> None:
        try:
            for _ in range(20):
                action.safe_state()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test tells
            failures.append(error)

    threads = [threading.Thread(target=make_safe) for _ in range(2)]
    for thread in threads:
        thread.start()
    for seq in range(20):
        action.apply(decision(seq))
    for thread in threads:
        thread.join(10)
    action.safe_state()
    action.close()
    action.safe_state()  # the watcher may come late
    assert not failures
