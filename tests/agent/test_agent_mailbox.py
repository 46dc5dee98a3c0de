"""The mailbox holds one frame, the latest."""

import threading
import time

import numpy as np

from outrider_agent.mailbox import Mailbox
from outrider_agent.seams import Frame

PIXELS = np.zeros((2, 2), np.uint8)


def frame(seq: int, released: list[int] | None = None) -> Frame:
    def release() -> None:
        if released is not None:
            released.append(seq)

    return Frame(id=str(seq), time_s=0.0, array=PIXELS, seq=seq, release=release)


def test_a_frame_that_was_not_taken_is_dropped_released_and_counted() -> None:
    mailbox, released = Mailbox(), list[int]()
    for seq in range(3):
        mailbox.put(frame(seq, released))
    taken = mailbox.take(0.0)
    assert taken is not None
    assert taken.seq == 2
    assert (mailbox.dropped, released) == (2, [0, 1])
    assert mailbox.take(0.0) is None


def test_the_wait_for_a_frame_is_bounded() -> None:
    begun = time.monotonic()
    assert Mailbox().take(0.05) is None
    assert 0.04 <= time.monotonic() - begun < 2.0


def test_a_waiting_reader_is_woken_by_a_frame() -> None:
    mailbox = Mailbox()
    threading.Timer(0.05, mailbox.put, [frame(7)]).start()
    begun = time.monotonic()
    taken = mailbox.take(10.0)
    assert taken is not None
    assert taken.seq == 7
    assert time.monotonic() - begun < 5.0


def test_after_closing_the_last_frame_can_be_taken_and_no_other_comes_in() -> None:
    mailbox, released = Mailbox(), list[int]()
    mailbox.put(frame(0, released))
    mailbox.close()
    mailbox.put(frame(1, released))
    assert not mailbox.ended
    taken = mailbox.take(10.0)
    assert taken is not None
    assert taken.seq == 0
    assert mailbox.ended
    assert (mailbox.dropped, released) == (1, [1])


def test_closing_wakes_a_waiting_reader() -> None:
    mailbox = Mailbox()
    threading.Timer(0.05, mailbox.close).start()
    begun = time.monotonic()
    assert mailbox.take(10.0) is None
    assert time.monotonic() - begun < 5.0


def test_between_threads_every_frame_is_either_taken_or_dropped() -> None:
    mailbox, taken = Mailbox(), list[int]()

    def read() -> None:
        while not mailbox.ended:
            got = mailbox.take(0.05)
            if got is not None:
                taken.append(got.seq)

    reader = threading.Thread(target=read)
    reader.start()
    for seq in range(2000):
        mailbox.put(frame(seq))
    mailbox.close()
    reader.join(10)
    assert len(taken) + mailbox.dropped == 2000
    assert taken == sorted(set(taken))
    assert taken[-1] == 1999


def test_an_abandoned_mailbox_gives_its_frame_back_and_takes_no_other() -> None:
    mailbox, released = Mailbox(), list[int]()
    mailbox.put(frame(0, released))
    mailbox.abandon()
    mailbox.put(frame(1, released))
    assert mailbox.ended
    assert (mailbox.dropped, released) == (2, [0, 1])
