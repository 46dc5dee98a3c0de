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
        self._closed = False

    def mailbox(self) -> Mailbox:
        """Return a new mailbox."""
        mailbox = Mailbox()
        self.add(mailbox)
        return mailbox

    def add(self, mailbox: Mailbox) -> None:
        """Give frames to `mailbox`, too, from now on."""
        self._mailboxes = (*self._mailboxes, mailbox)
        if self._closed:
            mailbox.close()

    def remove(self, mailbox: Mailbox) -> None:
        """Give none to `mailbox` any more; one that is under way may still come."""
        self._mailboxes = tuple(one for one in self._mailboxes if one is not mailbox)

    def put(self, frame: Frame) -> None:
        """Leave `frame` in every mailbox."""
        mailboxes = self._mailboxes  # once: a reload may change it
        if not mailboxes:
            frame.release()
        if len(mailboxes) > 1:
            frame = replace(frame, release=shared(frame.release, len(mailboxes)))
        for mailbox in mailboxes:
            mailbox.put(frame)

    def close(self) -> None:
        """Close every mailbox, and those that come later."""
        self._closed = True
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
