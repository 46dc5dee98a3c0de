r"""Letters in memory between those who publish, the disk and the broker. Pure: no thread, no file, no clock.

    put --> fresh --> writing --> on the disk --> read again --> backlog
              \          \                                        |
               `-> live ---`---------------> under way <-----------'   --> done: forgotten, its row erased

A letter is held in memory until it is on the disk and, if the link is up, until it was sent. What the broker
has answered before it was written is never written.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from outrider_agent.outbox.letter import SHIFT, Letter, Rank

LIVE = 1024
"""So many letters wait for a connection that is up; what comes on top is read from the disk later."""


class Fresh(Struct, frozen=True):
    """A letter that is not on the disk yet."""

    rank: Rank
    letter: Letter


class Waiting:
    """What is where; see the picture above.

    Args:
        most: so many letters are held that are not on the disk; beyond it the oldest of the lowest rank
            is lost.
        most_bytes: the same over their payloads.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        """Start empty, without a connection."""
        self._most, self._most_bytes = most, most_bytes
        self.up = False
        self.lost = dict.fromkeys(Rank, 0)
        self.fresh: dict[Rank, dict[int, Letter]] = {rank: {} for rank in Rank}
        self.writing: dict[int, Fresh] = {}
        self.backlog: dict[int, Letter] = {}
        self.erase: list[int] = []
        self._bytes = 0
        self._ticket = 0
        self._live: dict[int, Letter] = {}
        self._flying: dict[int, Letter] = {}
        self._resting: set[int] = set()
        self._rows: dict[int, int] = {}
        self._ended: set[int] = set()

    @property
    def unwritten(self) -> int:
        """How many letters are in memory only."""
        return sum(len(letters) for letters in self.fresh.values()) + len(self.writing)

    @property
    def rows(self) -> Iterable[int]:
        """The rows of letters that are in memory too."""
        return self._rows.values()

    def kept(self, ticket: int) -> bool:
        """Whether a letter is on the disk, answered by the broker, or given up."""
        return ticket not in self.writing and all(ticket not in letters for letters in self.fresh.values())

    def put(self, letter: Letter, rank: Rank) -> int:
        """Take a letter in; return its ticket."""
        self._ticket += 1
        letter = replace(letter, ticket=self._ticket)
        self.fresh[rank][letter.ticket] = letter
        self._bytes += len(letter.payload)
        if self.up and len(self._live) < LIVE:
            self._live[letter.ticket] = letter
        self._shrink()
        return letter.ticket

    def passing(self, letter: Letter) -> None:
        """Send a letter with the live ones, or forget it if the connection goes before that."""
        self._ticket += 1
        self._live[self._ticket] = replace(letter, ticket=self._ticket)

    def next(self, *, replay: bool) -> Letter | None:
        """Take out what is to be sent next: what is live, else, if `replay`, from the backlog."""
        if not self._live:
            self._promote()
        source = self._live or (self.backlog if replay else {})
        if not source:
            return None
        letter = source.pop(next(iter(source)))
        if letter.qos:
            self._flying[letter.ticket] = letter
        return letter

    def done(self, ticket: int) -> None:
        """Forget a letter that the broker has answered."""
        self._flying.pop(ticket, None)
        self._forget(ticket)

    def back(self, ticket: int) -> None:
        """Keep a letter that the broker does not take now, for the next connection."""
        self._flying.pop(ticket, None)
        if self._rows.pop(ticket, None) is None:
            self._resting.add(ticket)

    def opened(self) -> None:
        """Begin to send."""
        self.up = True
        self._resting.clear()
        self._promote()

    def closed(self) -> None:
        """Leave to the disk what is on it; what is under way is sent again by whoever took it out."""
        self.up = False
        for ticket in (*self._live, *self.backlog):
            self._rows.pop(ticket, None)
        self._live.clear()
        self.backlog.clear()

    def begin_write(self, lowest: Rank) -> list[Fresh]:
        """Return what is to be written, by rank, but no rank below `lowest`."""
        for rank, letters in self.fresh.items():
            if rank <= lowest:
                self.writing |= {ticket: Fresh(rank, letter) for ticket, letter in letters.items()}
                letters.clear()
        self._bytes = sum(len(one.payload) for letters in self.fresh.values() for one in letters.values())
        return list(self.writing.values())

    def wrote(self, written: Sequence[Fresh], rows: Sequence[int]) -> bool:
        """Note where letters are on the disk; True if any of them is only there now."""
        left = False
        for one, row in zip(written, rows, strict=True):
            ticket = one.letter.ticket
            self.writing.pop(ticket, None)
            if ticket in self._ended:
                self.erase.append(row)
            elif ticket in self._live or ticket in self._flying:
                self._rows[ticket] = row
            else:
                self._resting.discard(ticket)
                left = True
        self._ended.clear()
        return left

    def not_written(self) -> None:
        """Take back what could not be written."""
        for rank, letters in self.fresh.items():
            again = {
                ticket: one.letter
                for ticket, one in self.writing.items()
                if one.rank == rank and ticket not in self._ended
            }
            self.fresh[rank] = again | letters
            self._bytes += sum(len(letter.payload) for letter in again.values())
        self.writing.clear()
        self._ended.clear()
        self._shrink()

    def load(self, letters: Iterable[tuple[int, Letter]]) -> None:
        """Add to the backlog what was read from the disk: rows and their letters."""
        for row, letter in letters:
            self._ticket += 1
            self._rows[self._ticket] = row
            self.backlog[self._ticket] = replace(letter, ticket=self._ticket)

    def forget_rows(self, *, keep: bool) -> None:
        """Begin anew with the disk; `keep` what is in memory too if it is not on the disk any more."""
        for ticket, row in self._rows.items() if keep else ():
            if letter := self._live.get(ticket) or self._flying.get(ticket):
                self.fresh[Rank(row >> SHIFT)][ticket] = letter
                self._bytes += len(letter.payload)
        self._rows.clear()
        self.erase.clear()
        self.backlog.clear()

    def _promote(self) -> None:
        """Let letters be sent that are in memory and were not yet, the highest rank first."""
        if not self.up:
            return
        fresh = [one for one in self.writing.values() if one.letter.ticket not in self._ended]
        fresh += [Fresh(rank, one) for rank, letters in self.fresh.items() for one in letters.values()]
        for one in sorted(fresh, key=_by_rank):
            ticket = one.letter.ticket
            if ticket not in self._flying and ticket not in self._resting:
                self._live.setdefault(ticket, one.letter)
            if len(self._live) >= LIVE:
                return

    def _forget(self, ticket: int) -> None:
        if ticket in self.writing:
            self._ended.add(ticket)
        elif (row := self._rows.pop(ticket, None)) is not None:
            self.erase.append(row)
        else:
            for letters in self.fresh.values():
                if letter := letters.pop(ticket, None):
                    self._bytes -= len(letter.payload)

    def _shrink(self) -> None:
        """Lose the oldest of the lowest rank until memory is within its limits."""
        while (
            sum(len(letters) for letters in self.fresh.values()) > self._most
            or self._bytes > self._most_bytes
        ):
            rank = max(rank for rank, letters in self.fresh.items() if letters)
            ticket = next(iter(self.fresh[rank]))
            self._bytes -= len(self.fresh[rank].pop(ticket).payload)
            self._live.pop(ticket, None)
            self.lost[rank] += ticket not in self._flying


def _by_rank(one: Fresh) -> tuple[Rank, int]:
    return one.rank, one.letter.ticket
