"""Events that were acknowledged as stored and are not there after the plug was pulled.

A writer puts messages into the outbox and takes out what it takes for delivered. Once something is stored,
and not before, it says so through a pipe; before it takes something out, it says that too. Some moment later
the plug is pulled, then the writer is killed, the disk is mounted anew and the next writer goes on with what
is there. An event may be missing only if it was not acknowledged yet, or was taken out. Telemetry, which is
written without waiting for the disk, shows that the cuts cut.
"""

import fcntl
import os
import random
import signal
import sqlite3
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path

from msgspec import Struct

from outrider_agent.outbox.disk import NAME
from outrider_agent.outbox.letter import Rank
from outrider_agent.outbox.store import Limits, Store
from outrider_bundle.bars import Row
from proofs.agent.runs import say
from proofs.daemon import disk
from proofs.daemon.writers import RANKS, Name, name, work
from proofs.loop.agents import scaled

CUTS = 100
"""50 of each writer."""

LIFE_S = (0.005, 0.3)
"""A writer lives so long; the shortest lives do not come to open the file."""

SIZE, PIPE, MS = 64 << 20, 1 << 20, 1000.0
SEED = 6


class Books(Struct):
    """What must be there, what need not be since it was taken out, and the sums of all cuts; by rank."""

    stored: dict[Rank, set[Name]]
    taken: dict[Rank, set[Name]]
    acked: dict[Rank, int]
    lost: dict[Rank, int]


def rows() -> tuple[Row, ...]:
    """Measure it."""
    if why := disk.missing():
        how = f"NOT MEASURED, there is no such disk here: {why}"
        return (Row(id="outbox.powercut", value=None, sense="==", limit=0, unit="events", how=how),)
    disk.alone()
    sums = (dict.fromkeys(RANKS, 0), dict.fromkeys(RANKS, 0))
    books = Books({rank: set() for rank in RANKS}, {rank: set() for rank in RANKS}, *sums)
    moment, cuts = random.Random(SEED), scaled(CUTS)  # noqa: S311 - no secret
    with tempfile.TemporaryDirectory() as folder, disk.Disk(Path(folder), SIZE) as medium:
        for number in range(cuts):
            _cut(medium, books, number, moment.uniform(*LIFE_S))
            _check(medium.path, books)
    say(f"outbox_powercut: acknowledged {books.acked}, lost {books.lost}")
    how = (
        f"{cuts} cuts by FS_IOC_SHUTDOWN of a loop-mounted ext4 without flushing its journal, "
        f"{MS * LIFE_S[0]:g} to {MS * LIFE_S[1]:g} ms into the work of a writer, by turns the outbox's "
        f"thread and the bare store; {books.acked[Rank.EVENT]} events acknowledged before a cut; cuts took "
        f"{books.lost[Rank.TELEMETRY]} of {books.acked[Rank.TELEMETRY]} telemetry messages, which do not "
        f"wait for the disk; file and totals checked after each"
    )
    value = books.lost[Rank.EVENT] if books.acked[Rank.EVENT] else None
    return (Row(id="outbox.powercut", value=value, sense="==", limit=0, unit="events", how=how),)


def _cut(medium: disk.Disk, books: Books, number: int, life_s: float) -> None:
    """Let a writer work, pull the plug and enter what it said.

    What it calls stored counts if that was heard before the plug was pulled. Whoever syncs in the very moment
    of ext4's shutdown may be told that it is done when it is not, in 10 of 400 cuts with a plain file and no
    database; without power no process would live to hear it.

    Raises:
        RuntimeError: the writer ended by itself.
    """
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE)  # it must never wait for us
    os.set_blocking(reader, False)
    child = os.fork()
    if child == 0:
        os.close(reader)
        work(medium.path, writer, number)
    os.close(writer)
    time.sleep(life_s)
    ended, _ = os.waitpid(child, os.WNOHANG)
    if ended:
        raise RuntimeError("the writer failed before its disk did")
    heard = _read(reader)
    medium.cut()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    said = heard + _read(reader)
    os.close(reader)
    _enter(books, heard, ("stored", "taken"))
    _enter(books, said, ("taken",))
    medium.again()


def _read(pipe: int) -> bytes:
    """Return what can be read now."""
    with suppress(BlockingIOError):
        return os.read(pipe, PIPE)
    return b""


def _enter(books: Books, said: bytes, words: tuple[str, ...]) -> None:
    for line in said.decode("ascii").split("\n")[:-1]:  # the last may be half a line
        word, rank, run, seq = line.split()
        if word in words:
            getattr(books, word)[Rank(int(rank))].add((run, int(seq)))
            books.acked[Rank(int(rank))] += word == "stored"


def _check(folder: Path, books: Books) -> None:
    """Look at what is there, and from then on expect that.

    Raises:
        RuntimeError: the file is damaged, or its totals are wrong.
    """
    store = Store.open(folder / NAME, Limits())
    if store.set_aside is not None:
        raise RuntimeError(f"after a cut the file is broken: {store.set_aside}")
    for rank, count in store.counts().items():
        there = [name(row.payload) for row in store.take(rank, 0, 1 << 30)]
        if len(there) != count or len(set(there)) != count:
            raise RuntimeError(f"{count} rows are told, {len(there)} are there, {len(set(there))} differ")
        if rank in RANKS:
            books.lost[rank] += len(books.stored[rank] - books.taken[rank] - set(there))
            books.stored[rank], books.taken[rank] = set(there), set()
    store.close()
    with closing(sqlite3.connect(folder / NAME)) as connection:
        (found,) = connection.execute("PRAGMA integrity_check").fetchone()
    if found != "ok":
        raise RuntimeError(f"after a cut the file is damaged: {found}")
