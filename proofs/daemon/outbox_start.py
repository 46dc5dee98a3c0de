"""What a million messages in the outbox add to the start: opened, counted, its thread started."""

import tempfile
import time
from pathlib import Path
from statistics import median

from outrider_agent.outbox.disk import NAME
from outrider_agent.outbox.letter import Rank
from outrider_agent.outbox.outbox import Outbox
from outrider_agent.outbox.store import Limits, Store
from outrider_bundle.bars import Row
from outrider_bundle.topics import Topics
from proofs.agent.runs import apart, say
from proofs.loop.agents import scaled

ROWS, BATCH, STARTS = 1_000_000, 10_000, 15
PAYLOAD = bytes(200)
LIMITS = Limits(bytes=1 << 34)
TOPICS = Topics("proof", "proof")
RANKS = {Rank.EVENT: TOPICS.events, Rank.TELEMETRY: TOPICS.telemetry}
MS, POLL_S = 1000.0, 0.0002


def rows() -> tuple[Row, ...]:
    """Measure it."""
    count = scaled(ROWS)
    with tempfile.TemporaryDirectory() as name:
        full, empty = Path(name) / "full", Path(name) / "empty"
        fill(full, count)
        fill(empty, 0)
        say(f"outbox_start: {count} rows, {(full / NAME).stat().st_size >> 20} MB")
        pairs = [
            (apart(__name__, "started_s", str(full)), apart(__name__, "started_s", str(empty)))
            for _ in range(scaled(STARTS, 3))
        ]
        first_s = apart(__name__, "first_s", str(full))
    added_ms = MS * median(with_rows - without for with_rows, without in pairs)
    how = (
        f"{count} rows of {len(PAYLOAD)} bytes, events and telemetry, over an empty file; open, count and "
        f"start; {len(pairs)} interleaved pairs of fresh processes, page cache warm; "
        f"{MS * median(one for one, _ in pairs):.1f} ms over {MS * median(one for _, one in pairs):.1f} ms; "
        f"the first of the rows is ready to be sent after {MS * first_s:.1f} ms"
    )
    return (Row(id="outbox.start", value=added_ms, sense="<=", limit=50, unit="ms", how=how),)


def fill(folder: Path, count: int) -> None:
    """Write so many rows."""
    store = Store.open(folder / NAME, LIMITS)
    for begin in range(0, count, BATCH):
        for number in range(begin, min(begin + BATCH, count)):
            rank = tuple(RANKS)[number % len(RANKS)]
            store.put(rank, RANKS[rank], PAYLOAD)
        store.commit()
    store.close()


def started_s(folder: str) -> float:
    """Return the seconds until the outbox is at work and has said how much waits."""
    begun_s = time.perf_counter()
    outbox = Outbox(Path(folder), LIMITS)
    outbox.start()
    assert outbox.counts.waiting >= 0
    took_s = time.perf_counter() - begun_s
    outbox.close()
    return took_s


def first_s(folder: str) -> float:
    """Return the seconds until the first row can be sent over a connection that is there at once."""
    begun_s = time.perf_counter()
    outbox = Outbox(Path(folder), LIMITS)
    outbox.start()
    outbox.opened()
    while outbox.get() is None:
        time.sleep(POLL_S)
    took_s = time.perf_counter() - begun_s
    outbox.close()
    return took_s
