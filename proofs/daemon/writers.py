"""Two writers to the outbox that say what is stored and what was taken out; their disk may go at any moment.

`by_store` commits to the store as fast as the disk lets it. `by_outbox` does what the link does: letters are
put, some are sent and answered at once, others from the backlog, and a thread writes what is left.
"""

import os
import random
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from outrider_agent.outbox.disk import NAME
from outrider_agent.outbox.letter import Letter, Rank
from outrider_agent.outbox.outbox import Outbox
from outrider_agent.outbox.store import Limits, Store
from outrider_bundle.messages import codec
from outrider_bundle.messages.event import Event
from outrider_bundle.topics import Topics

BATCH, TAKEN, KEEP = 20, 30, 500
"""Letters put and taken out in one go, at most, and so many are left waiting."""

FLUSH_S = 60.0
TOPICS = Topics("proof", "proof")
RANKS = {Rank.EVENT: TOPICS.events, Rank.TELEMETRY: TOPICS.telemetry}
BROKEN = 7
"""The exit code of a writer whose disk has failed it, as it must after a cut."""

Name = tuple[str, int]
"""Of a message: its run and its number."""


def work(folder: Path, pipe: int, number: int) -> None:
    """Be a writer, the one or the other by turns, for ever; what the process is for."""
    try:
        (by_outbox if number % 2 else by_store)(folder, pipe, number)
    except (OSError, sqlite3.Error):
        os._exit(BROKEN)
    except BaseException:
        os._exit(1)
        raise


def by_store(folder: Path, pipe: int, number: int) -> None:
    """Commit events or telemetry, and take out older ones with them."""
    store, chance = Store.open(folder / NAME, Limits()), random.Random(number)  # noqa: S311 - no secret
    fresh = _messages(f"{number:016x}")
    while True:
        rank = chance.choice(tuple(RANKS))
        put = [next(fresh) for _ in range(chance.randint(1, BATCH))]
        rows = store.take(rank, 0, chance.randint(0, TAKEN)) if store.counts()[rank] > KEEP else []
        _tell(pipe, "taken", rank, [name(row.payload) for row in rows])
        for message in put:
            store.put(rank, RANKS[rank], codec.encode(message))
        store.done([row.id for row in rows])
        store.commit()
        _tell(pipe, "stored", rank, [(message.run, message.seq) for message in put])


def by_outbox(folder: Path, pipe: int, number: int) -> None:
    """Put events, answer for some, and wait for the rest to be stored."""
    outbox, chance = Outbox(folder, Limits()), random.Random(number)  # noqa: S311 - no secret
    outbox.start()
    outbox.opened()
    fresh = _messages(f"{number:016x}")
    while True:
        put = [next(fresh) for _ in range(chance.randint(1, BATCH))]
        tickets = [outbox.put(Letter(TOPICS.events, codec.encode(one)), Rank.EVENT) for one in put]
        for _ in range(chance.randint(0, BATCH)):
            letter = outbox.get()
            if letter is None or letter.topic != TOPICS.events:
                continue
            _tell(pipe, "taken", Rank.EVENT, [name(letter.payload)])
            outbox.done(letter.ticket)
        if outbox.flush(FLUSH_S) and all(map(outbox.flushed, tickets)):
            _tell(pipe, "stored", Rank.EVENT, [(message.run, message.seq) for message in put])


def name(payload: bytes) -> Name:
    """Return run and number of a message."""
    event = codec.decode(payload, Event)
    return event.run, event.seq


def _messages(run: str) -> Iterator[Event]:
    """Yield messages like those of a device; telemetry looks the same here."""
    seq = 0
    while True:
        yield Event(run=run, seq=seq, time=time.time(), pipeline="p", kind="decision", data={"label": "boot"})
        seq += 1


def _tell(pipe: int, word: str, rank: Rank, names: list[Name]) -> None:
    os.write(pipe, "".join(f"{word} {int(rank)} {run} {seq}\n" for run, seq in names).encode("ascii"))
