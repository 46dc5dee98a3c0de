"""The store as it is on a disk that may be full, fail or come back; nothing here raises for it."""

import logging
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from outrider_agent.outbox import files
from outrider_agent.outbox.letter import Rank
from outrider_agent.outbox.reserve import Reserve
from outrider_agent.outbox.store import Limits, Row, Store
from outrider_agent.outbox.waiting import Fresh

NAME = "outbox.db"
RESERVE_BYTES = 4 << 20
"""Taken on the disk before it is needed: in the file itself, and once more beside it for its log."""

log = logging.getLogger(__name__)


class Disk:
    """Used by one thread at a time; its counts may be read by all.

    Args:
        folder: of the file.
        limits: what is kept.
        on_reset: called when the ids of rows read are of no use any more, and with whether the rows are gone.
    """

    def __init__(self, folder: Path, limits: Limits, on_reset: Callable[[bool], None]) -> None:
        """Open the file; a disk that does not let us is said, and tried again with each use."""
        self._path, self._limits, self._on_reset = folder / NAME, limits, on_reset
        self._size = min(RESERVE_BYTES, limits.bytes // 4)
        self._reserve = Reserve(folder / "reserve", self._size)
        self._store: Store | None = None
        self._lost, self._expired = dict.fromkeys(Rank, 0), 0
        self.faults = 0
        self.failing = False
        self.full = False
        self.set_aside: Path | None = None
        self._try(self._opened)

    @property
    def rows(self) -> int:
        """How many letters there are."""
        store = self._store  # once: the outbox's thread may let go of it meanwhile
        return store.rows if store else 0

    @property
    def used_bytes(self) -> int:
        """How much they take."""
        store = self._store
        return store.used_bytes if store else 0

    @property
    def lost(self) -> dict[Rank, int]:
        """How many were given up for lack of room."""
        store = self._store
        now = store.lost if store else {}
        return {rank: before + now.get(rank, 0) for rank, before in self._lost.items()}

    @property
    def expired(self) -> int:
        """How many were given up for their age."""
        return self._expired + (self._store.expired if self._store else 0)

    def write(self, batch: Sequence[Fresh], erase: Sequence[int]) -> list[int] | None:
        """Write `batch` and erase rows; return the rows written, None if the disk does not take them."""
        rows: list[int] = []
        return rows if self._try(lambda: rows.extend(self._commit(batch, erase))) else None

    def read(self, after: dict[Rank, int], most: int) -> list[Row]:
        """Return the next rows of the highest rank that has any, and note in `after` how far that is."""
        found: list[Row] = []
        if self._store:
            store = self._store
            self._try(lambda: found.extend(_next(store, after, most)))
        return found

    def close(self) -> None:
        """Close the file."""
        if self._store:
            self._store.close()

    def _commit(self, batch: Sequence[Fresh], erase: Sequence[int]) -> list[int]:
        """Write; on a full disk, once more with what room can be made."""
        store = self._opened()
        try:
            rows = _put(store, batch, erase)
        except sqlite3.Error as error:
            if files.code(error) != sqlite3.SQLITE_FULL or not self._make_room(store):
                raise
            rows = _put(store, batch, erase)
        return rows

    def look_after(self) -> None:
        """Take room beforehand, now and then, where the disk has plenty."""
        if self._store and self._reserve.due:
            store = self._store
            taken, plenty = self._reserve.take(), self._reserve.plenty
            if taken and plenty:
                self._try(lambda: store.reserve(self._size))
            if self.full and taken:
                self.full = False
                log.warning("The disk of %s has room again", self._path.parent)

    def _make_room(self, store: Store | None) -> bool:
        """Give up the reserve, or else the oldest of what matters least; False if there is nothing."""
        if not self.full:
            self.full = True
            log.error("The disk of %s is full; only events and reports are kept there now", self._path.parent)
        if self._reserve.give_up():
            return True
        return store is not None and bool(store.shed(Rank.TELEMETRY) or store.shed(Rank.REPORT))

    def _opened(self) -> Store:
        if self._store is None:
            try:
                store = Store.open(self._path, self._limits)
            except (sqlite3.Error, OSError) as error:
                if not files.is_full(error) or not self._make_room(None):
                    raise
                store = Store.open(self._path, self._limits)
            if store.set_aside:
                self._say_broken(store.set_aside)
            self._store = store
        return self._store

    def _try(self, work: Callable[[], object]) -> bool:
        """Do `work`; False if the disk failed."""
        try:
            work()
        except (sqlite3.Error, OSError) as error:
            self._failed(error)
            return False
        if self.failing:
            self.failing = False
            log.warning("The outbox at %s can be used again", self._path)
        return True

    def _failed(self, error: Exception) -> None:
        """Say so once; then begin again with the file, or with a new one if it is broken."""
        self.faults += 1
        if not self.failing:
            self.failing = True
            log.error("The outbox at %s cannot be used: %s; letters stay in memory", self._path, error)
        if self._store is None or files.is_full(error):
            return
        store, self._store = self._store, None
        self._lost = {rank: lost + store.lost[rank] for rank, lost in self._lost.items()}
        self._expired += store.expired
        store.close()
        broken = files.broken(error)
        if broken:
            try:
                self._say_broken(files.set_aside(self._path))
            except OSError as again:
                log.error("The broken outbox %s cannot be set aside: %s", self._path, again)  # noqa: TRY400
        self._on_reset(broken)

    def _say_broken(self, aside: Path) -> None:
        self.set_aside = aside
        log.error("The outbox was broken and is begun anew; what was in it is at %s", aside)


def _put(store: Store, batch: Sequence[Fresh], erase: Sequence[int]) -> list[int]:
    rows = [store.put(one.rank, one.letter.topic, one.letter.payload) for one in batch]
    store.done(erase)
    store.commit()
    return rows


def _next(store: Store, after: dict[Rank, int], most: int) -> list[Row]:
    for rank in Rank:
        if rows := store.take(rank, after[rank], most):
            after[rank] = rows[-1].id
            return rows
    return []
