"""A source that does not let itself be closed."""

import time
from collections.abc import Iterator

import pytest

from outrider_agent.feeder import Feeder
from outrider_agent.mailbox import Mailbox
from outrider_agent.seams import Frame


class Stuck:
    """Gives nothing, and fails when it is closed."""

    def frames(self, wait_s: float) -> Iterator[Frame | None]:
        while True:
            time.sleep(min(wait_s, 0.01))
            yield None

    def close(self) -> None:
        raise OSError("the driver is gone")


def test_a_source_that_does_not_close_is_ended_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    mailbox = Mailbox()
    feeder = Feeder(Stuck(), mailbox, "belt")
    feeder.start()
    feeder.stop()
    assert not feeder._thread.is_alive()
    mailbox.take(0.0)
    assert mailbox.ended
    assert "The source of 'belt' does not close well" in caplog.text
