"""One source for several pipelines."""

import threading

import numpy as np

from outrider_agent.fanout import Fanout, shared
from outrider_agent.seams import Frame


def frame(seq: int, released: list[int]) -> Frame:
    pixels = np.zeros((4, 4), np.uint8)
    return Frame(id=str(seq), time_s=0.0, array=pixels, seq=seq, release=lambda: released.append(seq))


def test_every_mailbox_gets_every_frame_and_it_is_given_back_when_all_have_read() -> None:
    fanout, released = Fanout(), list[int]()
    one, other = fanout.mailbox(), fanout.mailbox()
    fanout.put(frame(0, released))
    first, second = one.take(0.0), other.take(0.0)
    assert first is not None
    assert second is not None
    assert first.array is second.array
    first.release()
    assert released == []
    second.release()
    assert released == [0]


def test_a_slow_pipeline_drops_and_the_other_does_not() -> None:
    fanout, released = Fanout(), list[int]()
    quick, slow = fanout.mailbox(), fanout.mailbox()
    for seq in range(3):
        fanout.put(frame(seq, released))
        taken = quick.take(0.0)
        assert taken is not None
        taken.release()
    assert (quick.dropped, slow.dropped) == (0, 2)
    assert released == [0, 1]
    last = slow.take(0.0)
    assert last is not None
    assert last.seq == 2
    last.release()
    assert released == [0, 1, 2]


def test_with_one_pipeline_the_frame_is_passed_on_as_it_is() -> None:
    fanout, given = Fanout(), frame(0, [])
    mailbox = fanout.mailbox()
    fanout.put(given)
    assert mailbox.take(0.0) is given


def test_closing_closes_all() -> None:
    fanout = Fanout()
    mailboxes = [fanout.mailbox(), fanout.mailbox()]
    fanout.close()
    assert all(mailbox.take(10.0) is None and mailbox.ended for mailbox in mailboxes)


def test_releases_from_many_threads_come_to_one() -> None:
    calls: list[int] = []
    for _ in range(200):
        release = shared(lambda: calls.append(1), 4)
        readers = [threading.Thread(target=release) for _ in range(4)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
    assert len(calls) == 200
