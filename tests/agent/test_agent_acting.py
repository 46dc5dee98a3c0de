"""Actions that fail at their end."""

import logging

import pytest

from outrider_agent import acting
from outrider_agent.parts import Part
from outrider_agent.seams import Action, Context, NullPublisher
from outrider_bundle.errors import OutriderError
from outrider_bundle.topics import Topics
from tests.fakes.benches import Gate
from tests.fakes.running import NoOptions

CONTEXT = Context(pipeline="belt", topics=Topics("plant", "line-1"), link=NullPublisher())


def part(action: Action) -> Part:
    return Part(kind="gate", plugin=lambda *_: action, options=NoOptions())


class Stuck(Gate):
    """An action that cannot be closed."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def close(self) -> None:
        raise self.error


@pytest.mark.parametrize("error", [OutriderError("the lines are gone"), OSError("the lines are gone")])
def test_an_action_that_does_not_close_keeps_no_other_from_it(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    first, last = Gate(), Gate()
    outputs = acting.Outputs("belt")
    outputs.build([part(one) for one in (first, Stuck(error), last)], CONTEXT, {})
    outputs.close()
    assert list(outputs.actions) == ["gate", "gate-2", "gate-3"]
    assert first.done == last.done == ["closed"]
    (line,) = caplog.records
    assert line.levelno == logging.ERROR
    assert "belt/gate-2 does not end well" in line.getMessage()
