"""One source for several pipelines: each frame to all of them, given back when all have read it."""

from collections.abc import Callable
from functools import partial

from msgspec.structs import replace

from outrider_agent.mailbox import Mailbox
from outrider_agent.seams import Frame


class Fanout:
    """Gives every frame to each of its mailboxes, where each keeps its own latest one.

    A source that is read on demand waits for the slowest pipeline; a camera waits for none.
    """

    def __init__(self) -> None:
        """Begin without any mailbox."""
        self._mailboxes: tuple[Mailbox, ...] = ()

    def mailbox(self) -> Mailbox:
        """Return a new mailbox; call it before the first frame."""
        mailbox = Mailbox()
        self._mailboxes = (*self._mailboxes, mailbox)
        return mailbox

    def put(self, frame: Frame) -> None:
        """Leave `frame` in every mailbox."""
        if len(self._mailboxes) > 1:
            frame = replace(frame, release=shared(frame.release, len(self._mailboxes)))
        for mailbox in self._mailboxes:
            mailbox.put(frame)

    def close(self) -> None:
        """Close every mailbox."""
        for mailbox in self._mailboxes:
            mailbox.close()


def shared(release: Callable[[], None], readers: int) -> Callable[[], None]:
    """Return what each of so many `readers` calls once, from any thread; the last call is of `release`."""
    return partial(_release, release, [None] * (readers - 1))


def _release(release: Callable[[], None], others: list[None]) -> None:
    try:
        others.pop()  # atomic
    except IndexError:
        release()
