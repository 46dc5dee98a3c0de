"""Letters in a SQLite file, ordered by rank and age.

One table, whose key holds the rank above a running number: reading by key is reading by rank, and the oldest
of a rank is the first of its range. No index has to be kept, and how much is there stands in three rows that
every change writes with it, so that to open the file costs the same with a million letters in it.

What is committed with an event or a report in it is on the disk when `commit` returns (synchronous=FULL);
telemetry alone, and what is taken out, may be forgotten by a power cut (NORMAL). See ADR 17.
"""

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from msgspec import Struct

from outrider_agent.outbox import files
from outrider_agent.outbox.letter import SHIFT, Rank

ROW_BYTES = 32
"""What a row takes beside topic and payload, roughly."""
CHUNK = 256
"""So many rows are given up at a time."""
AGING_S = 60.0
"""How often it is looked for what is too old."""
SANE_S = 1_735_689_600.0
"""2025: a row with an earlier time was written by a clock that was not set, and has no age."""


class Limits(Struct, frozen=True, kw_only=True):
    """How much is kept: `bytes` over topics, payloads and rows, and for `age_s` seconds."""

    bytes: int = 64 << 20
    age_s: float = 7 * 86_400.0


class Row(Struct, frozen=True):
    """A letter as it is kept; `time_s` is when it was put, in unix seconds."""

    id: int
    time_s: float
    topic: str
    payload: bytes

    @property
    def rank(self) -> Rank:
        """How much it matters."""
        return Rank(self.id >> SHIFT)


class Tally(Struct):
    """What there is of a rank: rows, their bytes, and the next running number."""

    rows: int = 0
    bytes: int = 0
    next: int = 1


class Store:
    """One file; used by one thread at a time.

    Args:
        connection: as `files.connect` makes it.
        limits: how much is kept.
        clock: unix seconds.
    """

    def __init__(
        self, connection: sqlite3.Connection, limits: Limits, clock: Callable[[], float] = time.time
    ) -> None:
        """Read the totals."""
        self._connection, self._limits, self._clock = connection, limits, clock
        self.set_aside: Path | None = None
        self.lost = dict.fromkeys(Rank, 0)
        self.expired = 0
        self._fresh: list[tuple[int, float, str, bytes]] = []
        self._gone: list[int] = []
        self._tallies = self._read()
        self._next = {rank: tally.next for rank, tally in self._tallies.items()}
        self._aged_s = float("-inf")

    @classmethod
    def open(cls, path: Path, limits: Limits, clock: Callable[[], float] = time.time) -> Self:
        """Open the file at `path`, made if it is not there; a broken one is set aside for a new one.

        `set_aside` of the store says where to.

        Raises:
            OSError: the folder cannot be used.
            sqlite3.Error: nor can the file.
        """
        try:
            return cls(files.connect(path), limits, clock)
        except sqlite3.DatabaseError as error:
            if not files.broken(error):
                raise
        aside = files.set_aside(path)
        store = cls(files.connect(path), limits, clock)
        store.set_aside = aside
        return store

    @property
    def rows(self) -> int:
        """How many letters there are, of all ranks."""
        return sum(tally.rows for tally in self._tallies.values())

    @property
    def used_bytes(self) -> int:
        """How much they take."""
        return sum(tally.bytes for tally in self._tallies.values())

    def counts(self) -> dict[Rank, int]:
        """Return how many letters there are of each rank."""
        return {rank: tally.rows for rank, tally in self._tallies.items()}

    def put(self, rank: Rank, topic: str, payload: bytes) -> int:
        """Add a letter to what `commit` will write; return the id of its row."""
        key = (rank << SHIFT) + self._next[rank]
        self._next[rank] += 1
        self._fresh.append((key, self._clock(), topic, payload))
        return key

    def done(self, ids: Sequence[int]) -> None:
        """Add rows to what `commit` will take out; those that are not there are no fault."""
        self._gone += ids

    def commit(self) -> None:
        """Write and take out what was asked for, then what is too old or too much.

        Raises:
            sqlite3.Error: nothing was done, and nothing of it is asked for any longer.
        """
        fresh, gone = self._fresh, self._gone
        self._fresh, self._gone = [], []
        durable = any(key >> SHIFT != Rank.TELEMETRY for key, *_ in fresh)
        with files.transaction(self._connection, durable=durable):
            kept = _Change(self._connection, self._tallies)
            kept.remove(gone)
            kept.add(fresh)
            expired = kept.expire(self._clock() - self._limits.age_s) if self._aging() else 0
            lost = kept.shrink(self._limits.bytes)
            kept.save()
        self._settle(kept, expired, lost)

    def shed(self, rank: Rank, share: float = 0.25) -> int:
        """Give up the oldest `share` of a rank, for room; return how many letters that were.

        Raises:
            sqlite3.Error: nothing was done.
        """
        most = -int(-self._tallies[rank].rows * share // 1)
        with files.transaction(self._connection, durable=False):
            kept = _Change(self._connection, self._tallies)
            gone = kept.oldest(rank, most)
            kept.save()
        self._settle(kept, 0, {rank: gone})
        return gone

    def reserve(self, size: int) -> None:
        """See that the file has room for `size` bytes more without asking the disk for it.

        Raises:
            sqlite3.Error: it cannot be had.
        """
        spare = files.spare_bytes(self._connection)
        if 2 * spare < size:
            files.grow(self._connection, size - spare)

    def take(self, rank: Rank, after: int, most: int) -> list[Row]:
        """Return up to `most` rows of a rank, oldest first, with ids above `after`; they stay where they are.

        Raises:
            sqlite3.Error: they cannot be read.
        """
        first = max(after, rank << SHIFT)
        found = self._connection.execute(
            "SELECT id, time, topic, payload FROM letter WHERE id > ? AND id < ? ORDER BY id LIMIT ?",
            (first, (rank + 1) << SHIFT, most),
        )
        return [Row(*row) for row in found]

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _aging(self) -> bool:
        """Whether it is time to look for what is too old."""
        now_s = time.monotonic()
        if now_s - self._aged_s < AGING_S:
            return False
        self._aged_s = now_s
        return True

    def _read(self) -> dict[Rank, Tally]:
        found = self._connection.execute("SELECT rank, rows, bytes, next FROM total")
        return {rank: Tally() for rank in Rank} | {Rank(row[0]): Tally(*row[1:]) for row in found}

    def _settle(self, kept: "_Change", expired: int, lost: dict[Rank, int]) -> None:
        self._tallies = kept.tallies
        self.expired += expired
        for rank, rows in lost.items():
            self.lost[rank] += rows


class _Change:
    """What one transaction does to rows and totals."""

    def __init__(self, connection: sqlite3.Connection, tallies: dict[Rank, Tally]) -> None:
        self._connection = connection
        self.tallies = {
            rank: Tally(rows=tally.rows, bytes=tally.bytes, next=tally.next)
            for rank, tally in tallies.items()
        }

    def add(self, rows: Sequence[tuple[int, float, str, bytes]]) -> None:
        self._connection.executemany("INSERT INTO letter VALUES (?, ?, ?, ?)", rows)
        for key, _, topic, payload in rows:
            tally = self.tallies[Rank(key >> SHIFT)]
            tally.rows += 1
            tally.bytes += size(topic, payload)
            tally.next = max(tally.next, (key & ((1 << SHIFT) - 1)) + 1)

    def remove(self, ids: Sequence[int]) -> None:
        for key in ids:
            found = self._connection.execute(_ONE, (key,)).fetchone()
            if found is not None:
                self._erase([(key, found[0])])

    def expire(self, before_s: float) -> int:
        """Take out what was put before `before_s`; only the first rows of a rank are looked at."""
        gone = 0
        for rank in Rank:
            while rows := self._first(rank, CHUNK):
                old = [(key, room) for key, room, time_s in rows if SANE_S < time_s < before_s]
                self._erase(old)
                gone += len(old)
                if len(old) < CHUNK:
                    break
        return gone

    def shrink(self, limit: int) -> dict[Rank, int]:
        """Give up the oldest of the lowest rank until all fits."""
        gone = dict.fromkeys(Rank, 0)
        for rank in reversed(Rank):
            while self.tallies[rank].rows and (over := self._bytes() - limit) > 0:
                for key, room, _ in self._first(rank, CHUNK):
                    self._erase([(key, room)])
                    gone[rank] += 1
                    over -= room
                    if over <= 0:
                        break
        return gone

    def oldest(self, rank: Rank, most: int) -> int:
        rows = [(key, room) for key, room, _ in self._first(rank, most)]
        self._erase(rows)
        return len(rows)

    def save(self) -> None:
        self._connection.executemany(
            "REPLACE INTO total VALUES (?, ?, ?, ?)",
            [(rank, tally.rows, tally.bytes, tally.next) for rank, tally in self.tallies.items()],
        )

    def _bytes(self) -> int:
        return sum(tally.bytes for tally in self.tallies.values())

    def _first(self, rank: Rank, most: int) -> list[tuple[int, int, float]]:
        found = self._connection.execute(_FIRST, (rank << SHIFT, (rank + 1) << SHIFT, most))
        return found.fetchall()

    def _erase(self, rows: Sequence[tuple[int, int]]) -> None:
        self._connection.executemany("DELETE FROM letter WHERE id = ?", [(key,) for key, _ in rows])
        for key, room in rows:
            tally = self.tallies[Rank(key >> SHIFT)]
            tally.rows -= 1
            tally.bytes -= room


_SIZE = f"length(CAST(topic AS BLOB)) + length(payload) + {ROW_BYTES}"
_ONE = f"SELECT {_SIZE} FROM letter WHERE id = ?"  # noqa: S608 - a constant of this module
_FIRST = f"SELECT id, {_SIZE}, time FROM letter WHERE id > ? AND id < ? ORDER BY id LIMIT ?"  # noqa: S608


def size(topic: str, payload: bytes) -> int:
    """Return what a letter counts for."""
    return len(topic.encode()) + len(payload) + ROW_BYTES
