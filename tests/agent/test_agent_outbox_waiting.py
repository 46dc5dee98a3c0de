"""Whatever happens in whatever order: each letter is sent and answered, on the disk, in memory, or lost."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from outrider_agent.outbox.letter import SHIFT, Letter, Rank
from outrider_agent.outbox.waiting import Waiting

STEPS = (
    "put",
    "next",
    "replay",
    "done",
    "back",
    "opened",
    "closed",
    "write",
    "fail",
    "erase",
    "load",
)
MOST = 6


class World:
    """A disk that is a dictionary, and a broker that answers what was sent when it is told to."""

    def __init__(self) -> None:
        self.waiting = Waiting(MOST, 1000)
        self.disk: dict[int, bytes] = {}
        self.sent: dict[int, bytes] = {}
        self.answered: set[bytes] = set()
        self.count = self.put_count = 0

    def step(self, name: str, number: int) -> None:
        getattr(self, name)(number)

    def put(self, number: int) -> None:
        self.count += 1
        self.put_count += 1
        self.waiting.put(Letter("t", b"%d" % self.count), Rank(number % 3))

    def next(self, _: int, *, replay: bool = False) -> None:
        letter = self.waiting.next(replay=replay)
        if letter is not None:
            assert self.waiting.up
            assert letter.payload not in self.sent.values(), "it is under way already"
            self.sent[letter.ticket] = letter.payload

    def replay(self, number: int) -> None:
        self.next(number, replay=True)

    def done(self, number: int) -> None:
        if self.sent and self.waiting.up:
            ticket = list(self.sent)[number % len(self.sent)]
            self.answered.add(self.sent.pop(ticket))
            self.waiting.done(ticket)
            assert self.waiting.kept(ticket) or ticket in self.waiting.writing

    def back(self, number: int) -> None:
        if self.sent and self.waiting.up:
            ticket = list(self.sent)[number % len(self.sent)]
            del self.sent[ticket]
            self.waiting.back(ticket)

    def opened(self, _: int) -> None:
        if not self.waiting.up:
            self.waiting.opened()

    def closed(self, _: int) -> None:
        self.waiting.closed()

    def write(self, number: int) -> None:
        self.count += 1  # rows have new ids
        batch = self.waiting.begin_write(Rank.TELEMETRY)
        if number % 2:
            self.done(number)  # an answer while it is being written
        rows = []
        for one in batch:
            row = (one.rank << SHIFT) + self.count * 100 + len(rows)
            self.disk[row] = one.letter.payload
            rows.append(row)
        self.waiting.wrote(batch, rows)

    def fail(self, number: int) -> None:
        self.waiting.begin_write(Rank(number % 3))
        if number % 2:
            self.done(number)
        self.waiting.not_written()

    def erase(self, _: int) -> None:
        rows, self.waiting.erase = self.waiting.erase, []
        for row in rows:
            self.disk.pop(row, None)

    def load(self, _: int) -> None:
        self.erase(0)
        held = set(self.waiting.rows)
        if self.waiting.up:
            rows = [(row, Letter("t", self.disk[row])) for row in sorted(self.disk) if row not in held]
            self.waiting.load(rows)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 100)), max_size=60))
def test_all_that_was_put_is_answered_in_the_end(steps: Sequence[tuple[str, int]]) -> None:
    world = World()
    for name, number in steps:
        world.step(name, number)
    world.waiting.closed()
    world.write(0)
    world.waiting.opened()
    world.load(0)
    while world.waiting.backlog or world.sent:
        world.replay(0)
        world.done(0)
    world.erase(0)
    assert not world.disk
    assert len(world.answered) + sum(world.waiting.lost.values()) == world.put_count
