"""The outbox: letters for the broker that outlive the connection, the process and the power.

Whoever puts a letter appends to memory and goes on. A thread writes what the broker has not answered within
`BATCH_S`, in one transaction for all; so on a good connection hardly anything is written. What waits on the
disk is read back and sent beside what is live, at no more than `replay_per_s`.
"""

import logging
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from outrider_agent.outbox.disk import NAME, Disk
from outrider_agent.outbox.letter import Letter, Rank
from outrider_agent.outbox.store import Limits, Row, size
from outrider_agent.outbox.throttle import Throttle
from outrider_agent.outbox.waiting import Waiting

__all__ = ["NAME", "Outbox", "OutboxCounts"]

BATCH_S = 0.05
"""An event or report that is not answered by then is written; a power cut takes what is younger."""
TELEMETRY_S = 60.0
"""Telemetry waits longer, for company: each write of its own costs the flash whole pages."""
ERASE_S = 1.0
"""How long answered letters may stay in the file; after a crash they are sent again."""
BATCH = 1000
"""So many letters are written without waiting for more."""
RETRY_S = 1.0
"""How often a disk that failed is tried again."""
TURN_S = 60.0
READ = 256
"""So many letters are read back at a time."""
MEMORY_BYTES = 8 << 20

log = logging.getLogger(__name__)


class OutboxCounts(Struct, frozen=True, kw_only=True):
    """What became of letters so far.

    Args:
        waiting: not answered by the broker yet, in memory and on the disk.
        waiting_bytes: of these, what is on the disk.
        stored: written to the disk.
        replayed: read back from it.
        lost: given up for lack of room, by rank: events, reports, telemetry.
        expired: given up for their age.
        disk_faults: writes that failed; their letters stayed in memory.
    """

    waiting: int = 0
    waiting_bytes: int = 0
    stored: int = 0
    replayed: int = 0
    lost: tuple[int, int, int] = (0, 0, 0)
    expired: int = 0
    disk_faults: int = 0


class Outbox:
    """Many threads put, the link's gets. Without a folder all is in memory.

    Args:
        folder: of the file; None for none.
        limits: what is kept on the disk.
        most: so many letters are held in memory while the disk takes none.
        replay_per_s: how fast what waits on the disk is sent.
        on_more: called from the outbox's thread when there is something to `get`.
    """

    def __init__(
        self,
        folder: Path | None,
        limits: Limits,
        *,
        most: int = 10_000,
        replay_per_s: float = 200.0,
        on_more: Callable[[], None] = lambda: None,
    ) -> None:
        """Open the file; a disk that does not let us is said, and tried again."""
        self._limits, self._on_more = limits, on_more
        self._waiting = Waiting(most, min(MEMORY_BYTES, limits.bytes))
        self._throttle = Throttle(replay_per_s)
        self._changed = threading.Condition()
        self._after = dict.fromkeys(Rank, 0)  # rows read on this connection; another dict on the next
        self._more = self._urgent = self._closing = False
        self._due_s = math.inf
        self._stored = self._replayed = self._said = 0
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._disk = Disk(folder, limits, self._reset) if folder else None

    def __len__(self) -> int:
        """How many letters the broker has not answered."""
        with self._changed:
            on_disk = self._disk.rows - len(self._waiting.erase) if self._disk else 0
            return max(0, on_disk) + self._waiting.unwritten

    @property
    def set_aside(self) -> Path | None:
        """Where the last broken file is; None if there was none."""
        return self._disk.set_aside if self._disk else None

    @property
    def counts(self) -> OutboxCounts:
        """What became of letters so far."""
        disk, lost = self._disk, self._lost()
        return OutboxCounts(
            waiting=len(self),
            waiting_bytes=disk.used_bytes if disk else 0,
            stored=self._stored,
            replayed=self._replayed,
            lost=(lost[Rank.EVENT], lost[Rank.REPORT], lost[Rank.TELEMETRY]),
            expired=disk.expired if disk else 0,
            disk_faults=disk.faults if disk else 0,
        )

    @property
    def lost(self) -> int:
        """How many were given up for lack of room."""
        return sum(self._lost().values())

    def start(self) -> None:
        """Begin to write."""
        if self._disk:
            self._thread.start()

    def put(self, letter: Letter, rank: Rank) -> int:
        """Take a letter in; return its ticket. One at QoS 0 is only sent, if there is a connection."""
        with self._changed:
            if not letter.qos:
                self._waiting.passing(letter)
                return 0
            if size(letter.topic, letter.payload) > self._limits.bytes:
                self._waiting.lost[rank] += 1
                self._say_lost()
                return 0
            ticket = self._waiting.put(letter, rank)
            self._say_lost()
            crowded = self._waiting.unwritten >= BATCH and self._disk and not self._disk.failing
            self._by(0.0 if crowded else TELEMETRY_S if rank is Rank.TELEMETRY else BATCH_S)
            return ticket

    def get(self, *, replay: bool = True) -> Letter | None:
        """Take out what is to be sent next: live letters first, then, if `replay`, slowly from the disk."""
        with self._changed:
            before = len(self._waiting.backlog)
            letter = self._waiting.next(replay=replay and self._throttle.ready)
            if len(self._waiting.backlog) < before:
                self._throttle.spend()
            if self._wants_more():
                self._changed.notify()
            return letter

    @property
    def rest_s(self) -> float:
        """In how many seconds `get` may have something, as far as that is known."""
        return self._throttle.rest_s if self._waiting.backlog else math.inf

    def done(self, ticket: int) -> None:
        """Forget a letter: the broker has answered for it."""
        with self._changed:
            self._waiting.done(ticket)
            if self._waiting.erase:
                self._by(ERASE_S)

    def back(self, ticket: int) -> None:
        """Keep a letter that the broker does not take now, for the next connection."""
        with self._changed:
            self._waiting.back(ticket)

    def opened(self) -> None:
        """Begin to hand out letters: there is a connection."""
        with self._changed:
            self._waiting.opened()
            self._after = dict.fromkeys(Rank, 0)
            self._more = True
            self._changed.notify()

    def closed(self) -> None:
        """Hand out none until `opened`; those handed out are the taker's to send again."""
        with self._changed:
            self._waiting.closed()
            self._more = False

    def flushed(self, ticket: int) -> bool:
        """Whether a letter is on the disk for good, or needs not be: answered, or given up and counted."""
        with self._changed:
            return self._waiting.kept(ticket)

    def flush(self, timeout_s: float) -> bool:
        """Write all that is in memory now; False if that was not done in time."""
        with self._changed:
            if not self._thread.is_alive():
                return not self._waiting.unwritten
            self._urgent = True
            self._changed.notify()
            done = self._changed.wait_for(lambda: not self._waiting.unwritten, timeout_s)
            self._urgent = False
            return done

    def hurry(self) -> None:
        """Replay as fast as the connection allows: the end is near."""
        self._throttle.open()

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what is in memory and close the file; one that was never started, too. Idempotent."""
        with self._changed:
            first, self._closing = not self._closing, True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        elif first and self._disk:
            self._end(self._disk)

    def _by(self, wait_s: float) -> None:
        """See that the thread turns within `wait_s`."""
        due_s = time.monotonic() + wait_s
        if due_s < self._due_s:
            self._due_s = due_s
            self._changed.notify()

    def _run(self) -> None:
        disk = self._disk
        while disk and not self._closing:
            with self._changed:
                if not self._wanted():
                    self._changed.wait(min(TURN_S, max(0.0, self._due_s - time.monotonic())))
                due = self._urgent or time.monotonic() >= self._due_s
            try:
                if due:
                    self._write(disk)
                self._read(disk)
                disk.look_after()
            except Exception:
                log.exception("The outbox failed")
                time.sleep(RETRY_S)
        if disk:
            self._end(disk)

    def _end(self, disk: Disk) -> None:
        self._write(disk)
        disk.close()

    def _wanted(self) -> bool:
        return self._closing or self._urgent or self._wants_more() or time.monotonic() >= self._due_s

    def _wants_more(self) -> bool:
        return self._more and len(self._waiting.backlog) < READ // 2

    def _write(self, disk: Disk) -> None:
        """Write and erase what is due; what the disk does not take stays in memory."""
        with self._changed:
            batch = self._waiting.begin_write(Rank.REPORT if disk.full else Rank.TELEMETRY)
            erase, self._waiting.erase = self._waiting.erase, []
            self._due_s = math.inf
        failing = disk.failing
        rows = disk.write(batch, erase) if batch or erase or failing else []
        with self._changed:
            if rows is None:
                self._waiting.not_written()
                self._waiting.erase = erase + self._waiting.erase
                self._by(RETRY_S)
            else:
                self._stored += len(rows)
                self._more |= (self._waiting.wrote(batch, rows) or failing) and self._waiting.up
                self._say_lost()
            if self._waiting.fresh[Rank.TELEMETRY]:
                self._by(TELEMETRY_S)
            if self._waiting.erase:
                self._by(ERASE_S)
            # What is urgent and was not written is not tried again at once.
            refused = rows is None or disk.full
            self._urgent = self._urgent and not refused and bool(self._waiting.unwritten)
            self._changed.notify_all()

    def _read(self, disk: Disk) -> None:
        """Read back what waits on the disk, the highest rank first."""
        with self._changed:
            after = self._after
            held = {*self._waiting.rows, *self._waiting.erase}
            if not self._wants_more():
                return
        found = disk.read(after, READ)
        letters = [(row.id, self._letter(row)) for row in found if row.id not in held]
        with self._changed:
            if disk.failing:
                self._more = False
                self._by(RETRY_S)
            if after is not self._after or not self._waiting.up:
                return  # another connection: it begins again with the first row
            self._more = bool(found)
            self._waiting.load(letters)
            self._replayed += len(letters)
        if letters:
            self._on_more()

    def _reset(self, gone: bool) -> None:  # noqa: FBT001 - a callback
        """Begin with the first row of a file that was opened again."""
        with self._changed:
            self._waiting.forget_rows(keep=gone)
            self._after = dict.fromkeys(Rank, 0)
            self._more = self._waiting.up

    def _letter(self, row: Row) -> Letter:
        """Return a row as a letter; telemetry is of no use later, events and reports whenever they arrive."""
        if row.rank is not Rank.TELEMETRY:
            return Letter(row.topic, row.payload)
        rest_s = self._limits.age_s - max(0.0, time.time() - row.time_s)
        return Letter(row.topic, row.payload, expiry_s=max(1, int(rest_s)))

    def _lost(self) -> dict[Rank, int]:
        on_disk = self._disk.lost if self._disk else {}
        return {rank: lost + on_disk.get(rank, 0) for rank, lost in self._waiting.lost.items()}

    def _say_lost(self) -> None:
        lost = self.lost
        if lost > self._said:
            log.warning("The queue for the broker is full: %d messages lost so far", lost)
            self._said = max(lost, 1000 * (lost // 1000 + 1))
