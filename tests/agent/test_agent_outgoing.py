"""What waits for the link: bounded, in order, and retained messages as they should stand."""

from hypothesis import given
from hypothesis import strategies as st

from outrider_agent.backoff import Backoff
from outrider_agent.outgoing import Letter, Outgoing


def letters(outgoing: Outgoing) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    while (letter := outgoing.get()) is not None:
        found.append((letter.topic, letter.payload))
    return found


@given(
    st.lists(st.integers(0, 30), max_size=40),
    st.integers(1, 10),
    st.integers(1, 100),
)
def test_the_newest_that_fit_are_kept_in_order_and_the_rest_is_counted(
    sizes: list[int], max_messages: int, max_bytes: int
) -> None:
    outgoing, kept = Outgoing(max_messages, max_bytes), list[tuple[str, bytes]]()
    for number, size in enumerate(sizes):
        kept.append((str(number), b"x" * size))
        lost_before = outgoing.lost
        clean = outgoing.put(Letter(str(number), b"x" * size))
        while len(kept) > max_messages or sum(len(p) for _, p in kept) > max_bytes:
            kept.pop(0)
        assert clean == (outgoing.lost == lost_before)
        assert len(outgoing) == len(kept)
    assert outgoing.lost == len(sizes) - len(kept)
    assert letters(outgoing) == kept


def test_room_is_given_back_when_a_message_is_taken() -> None:
    outgoing = Outgoing(10, 10)
    for _ in range(5):
        assert outgoing.put(Letter("t", b"1234567890"))
        assert outgoing.get() is not None
    assert outgoing.lost == 0


def test_only_the_latest_retained_message_is_sent_and_before_the_queue() -> None:
    outgoing = Outgoing(10, 1000)
    outgoing.keep("state", b"birth")
    outgoing.put(Letter("event", b"1"))
    outgoing.keep("reported", b"old")
    outgoing.keep("reported", b"new")
    assert letters(outgoing) == [("state", b"birth"), ("reported", b"new"), ("event", b"1")]
    assert len(outgoing) == 0
    outgoing.repeat()
    assert letters(outgoing) == [("state", b"birth"), ("reported", b"new")]


def test_delays_double_up_to_a_limit_and_start_again() -> None:
    backoff = Backoff(1.0, 10.0, chance=lambda: 0.0)
    assert [backoff.delay_s() for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    backoff.reset()
    assert backoff.delay_s() == 1


@given(st.floats(0.0, 1.0))
def test_chance_takes_at_most_half(chance: float) -> None:
    backoff = Backoff(2.0, 30.0, chance=lambda: chance)
    assert 1.0 <= backoff.delay_s() <= 2.0
    assert 2.0 <= backoff.delay_s() <= 4.0
