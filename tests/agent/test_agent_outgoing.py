"""What waits for the link: retained messages as they should stand, then the outbox."""

from hypothesis import given
from hypothesis import strategies as st

from outrider_agent.backoff import Backoff
from outrider_agent.outbox.letter import Letter, Rank
from outrider_agent.outbox.outbox import Outbox
from outrider_agent.outbox.store import Limits
from outrider_agent.outgoing import Outgoing


def letters(outgoing: Outgoing) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    while (letter := outgoing.get()) is not None:
        found.append((letter.topic, letter.payload))
    return found


@given(
    st.lists(st.tuples(st.sampled_from(Rank), st.integers(0, 30)), max_size=40),
    st.integers(1, 10),
    st.integers(33, 200),
)
def test_the_newest_that_matter_most_are_kept_in_order_and_the_rest_is_counted(
    sizes: list[tuple[Rank, int]], most: int, most_bytes: int
) -> None:
    outbox, kept = Outbox(None, Limits(bytes=most_bytes), most=most), list[tuple[Rank, str, bytes]]()
    lost = 0
    for number, (rank, size) in enumerate(sizes):
        if 32 + len(str(number)) + size > most_bytes:
            lost += 1
            continue
        kept.append((rank, str(number), b"x" * size))
        while len(kept) > most or sum(len(p) for _, _, p in kept) > most_bytes:
            lowest = max(rank for rank, _, _ in kept)
            kept.remove(next(one for one in kept if one[0] is lowest))
            lost += 1
    for number, (rank, size) in enumerate(sizes):
        outbox.put(Letter(str(number), b"x" * size), rank)
    assert outbox.lost == lost
    assert len(outbox) == len(kept)
    outbox.opened()
    assert letters(Outgoing(outbox)) == [one[1:] for rank in Rank for one in kept if one[0] is rank]


def test_only_the_latest_retained_message_is_sent_and_before_the_outbox() -> None:
    outbox = Outbox(None, Limits())
    outgoing = Outgoing(outbox)
    outgoing.keep("state", b"birth")
    outbox.put(Letter("event", b"1"), Rank.EVENT)
    outgoing.keep("reported", b"old")
    outgoing.keep("reported", b"new")
    assert len(outgoing) == 3
    outbox.opened()
    assert letters(outgoing) == [("state", b"birth"), ("reported", b"new"), ("event", b"1")]
    assert len(outgoing) == 1  # until it is answered
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
