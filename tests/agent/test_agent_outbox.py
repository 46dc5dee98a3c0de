"""The outbox: what is put is answered, on the disk, or given up and counted; live letters go first."""

import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from outrider_agent.outbox import outbox as module
from outrider_agent.outbox.letter import Letter, Rank
from outrider_agent.outbox.outbox import NAME, Outbox
from outrider_agent.outbox.store import Limits, Store
from outrider_agent.outbox.throttle import Throttle
from tests.fakes.broker import eventually

Make = Callable[..., Outbox]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Outbox] = []

    def started(folder: Path | None = tmp_path / "outbox", **more: object) -> Outbox:
        options = {"limits": Limits(), "replay_per_s": 1e6, **more}
        outbox = Outbox(folder, **options)  # type: ignore[arg-type]
        made.append(outbox)
        outbox.start()
        return outbox

    yield started
    for outbox in made:
        outbox.close()


class Clock:
    """Seconds that pass when they are told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def put(outbox: Outbox, payload: bytes, rank: Rank = Rank.EVENT) -> int:
    return outbox.put(Letter("t", payload), rank)


def answered(outbox: Outbox, count: int) -> list[bytes]:
    """Take out and answer `count` letters, as they come."""
    found: list[bytes] = []

    def taken() -> bool:
        while len(found) < count and (letter := outbox.get()):
            found.append(letter.payload)
            outbox.done(letter.ticket)
        return len(found) >= count

    eventually(taken)
    return found


def on_disk(folder: Path) -> list[bytes]:
    """Return what a crash now would leave; read from a copy, since an outbox is alone with its file."""
    with tempfile.TemporaryDirectory() as copied:
        for path in (folder / "outbox").glob(f"{NAME}*"):
            shutil.copy(path, copied)
        store = Store.open(Path(copied) / NAME, Limits())
        found = [row.payload for rank in Rank for row in store.take(rank, 0, 10_000)]
        store.close()
    return found


def test_what_was_not_answered_is_handed_out_after_a_restart_by_rank(make: Make) -> None:
    first = make()
    put(first, b"telemetry", Rank.TELEMETRY)
    put(first, b"report", Rank.REPORT)
    put(first, b"event")
    assert first.get() is None  # there is no connection
    first.close()
    second = make()
    assert len(second) == 3
    second.opened()
    assert answered(second, 3) == [b"event", b"report", b"telemetry"]
    eventually(lambda: len(second) == 0)
    assert second.counts.replayed == 3
    second.close()
    assert len(make()) == 0


def test_what_is_answered_at_once_is_never_written(make: Make, tmp_path: Path) -> None:
    outbox = make()
    outbox.opened()
    for number in range(100):
        put(outbox, b"%d" % number)
        letter = outbox.get()
        assert letter is not None
        assert letter.payload == b"%d" % number
        outbox.done(letter.ticket)
    outbox.close()
    assert outbox.counts.stored == 0
    assert on_disk(tmp_path) == []


def test_a_letter_under_way_is_written_and_erased_when_it_is_answered(make: Make, tmp_path: Path) -> None:
    outbox = make()
    outbox.opened()
    ticket = put(outbox, b"slow")
    letter = outbox.get()
    assert letter is not None
    assert letter.ticket == ticket
    eventually(lambda: outbox.flushed(ticket))
    assert on_disk(tmp_path) == [b"slow"]
    assert outbox.get() is None  # not a second time, though it is on the disk
    outbox.done(ticket)
    eventually(lambda: on_disk(tmp_path) == [])


def test_what_is_new_goes_before_what_has_waited(make: Make) -> None:
    outbox = make()
    for number in range(300):
        put(outbox, b"old %d" % number)
    assert outbox.flush(10.0)
    outbox.opened()
    eventually(lambda: outbox._waiting.backlog)
    put(outbox, b"new")
    found = answered(outbox, 301)
    assert found[0] == b"new"
    assert found[1:] == [b"old %d" % number for number in range(300)]


def test_what_was_not_sent_when_the_connection_went_is_sent_on_the_next(make: Make) -> None:
    outbox = make()
    outbox.opened()
    for number in range(10):
        put(outbox, b"%d" % number)
    under_way = outbox.get()
    assert under_way is not None
    assert outbox.flush(10.0)
    outbox.closed()
    assert outbox.get() is None
    outbox.opened()
    # The first one is with whoever took it: it is answered once it has been sent again.
    assert answered(outbox, 9) == [b"%d" % number for number in range(1, 10)]
    outbox.done(under_way.ticket)
    assert len(outbox) == 0


def test_a_letter_that_is_not_taken_now_comes_again_with_the_next_connection(make: Make) -> None:
    outbox = make()
    outbox.opened()
    put(outbox, b"refused")
    letter = outbox.get()
    assert letter is not None
    assert outbox.flush(10.0)
    outbox.back(letter.ticket)
    assert outbox.get() is None
    outbox.closed()
    outbox.opened()
    assert answered(outbox, 1) == [b"refused"]


def test_telemetry_waits_for_company(make: Make) -> None:
    outbox = make()
    ticket = put(outbox, b"telemetry", Rank.TELEMETRY)
    event = put(outbox, b"event")
    eventually(lambda: outbox.flushed(event))
    assert outbox.flushed(ticket)
    alone = put(outbox, b"telemetry", Rank.TELEMETRY)
    assert not outbox.flushed(alone)
    assert outbox.flush(10.0)
    assert outbox.flushed(alone)


def test_telemetry_expires_at_the_broker_when_it_would_have_here(make: Make) -> None:
    outbox = make(limits=Limits(age_s=1000.0))
    put(outbox, b"event")
    put(outbox, b"telemetry", Rank.TELEMETRY)
    assert outbox.flush(10.0)
    outbox.opened()
    eventually(lambda: len(outbox._waiting.backlog) + outbox.counts.replayed >= 2)
    event, telemetry = (
        outbox.get(),
        outbox.get() or eventually(lambda: outbox._waiting.backlog) or outbox.get(),
    )
    assert event is not None
    assert telemetry is not None
    assert event.expiry_s == 0
    assert 900 < telemetry.expiry_s <= 1000


def test_without_a_folder_the_oldest_of_the_lowest_rank_is_lost(make: Make) -> None:
    outbox = make(None, most=3)
    put(outbox, b"r", Rank.REPORT)
    for number in range(3):
        put(outbox, b"e%d" % number)
    put(outbox, b"t", Rank.TELEMETRY)
    assert outbox.counts.lost == (0, 1, 1)
    outbox.opened()
    assert answered(outbox, 3) == [b"e0", b"e1", b"e2"]
    assert len(outbox) == 0


def test_one_that_is_larger_than_all_room_pushes_out_nothing(make: Make) -> None:
    outbox = make(limits=Limits(bytes=10_000))
    put(outbox, b"small")
    assert put(outbox, bytes(10_000)) == 0
    outbox.opened()
    assert answered(outbox, 1) == [b"small"]
    assert outbox.lost == 1


def test_at_qos_0_it_is_sent_now_or_never(make: Make) -> None:
    outbox = make()
    outbox.opened()
    outbox.put(Letter("t", b"lost", 0), Rank.TELEMETRY)
    outbox.closed()
    outbox.opened()
    outbox.put(Letter("t", b"sent", 0), Rank.TELEMETRY)
    letter = outbox.get()
    assert letter is not None
    assert (letter.payload, letter.qos) == (b"sent", 0)
    assert len(outbox) == 0


def test_on_a_full_disk_events_stay_and_telemetry_makes_room(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.05)
    monkeypatch.setattr(Store, "reserve", lambda *_: None)  # room in the file would be used up first
    outbox = make()
    for number in range(200):
        put(outbox, b"%-1000d" % number, Rank.TELEMETRY)
    assert outbox.flush(10.0)
    assert outbox._disk is not None
    assert outbox._disk._store is not None
    (used,) = outbox._disk._store._connection.execute("PRAGMA page_count").fetchone()
    outbox._disk._store._connection.execute(f"PRAGMA max_page_count = {used}")
    tickets = [put(outbox, b"event %-1000d" % number) for number in range(100)]
    eventually(lambda: all(outbox.flushed(ticket) for ticket in tickets))
    assert "is full" in caplog.text
    assert not (tmp_path / "outbox" / "reserve").exists()
    lost = outbox.counts.lost
    assert lost[0] == 0
    assert lost[2] > 0
    outbox.opened()
    assert [b.split()[1] for b in answered(outbox, 100)[:100]] == [b"%d" % number for number in range(100)]


def test_a_disk_that_fails_is_tried_again_and_memory_holds_on(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.05)
    (tmp_path / "outbox").write_text("a file where the folder should be")
    outbox = make()
    ticket = put(outbox, b"event")
    eventually(lambda: outbox.counts.disk_faults > 3)
    assert not outbox.flushed(ticket)
    (tmp_path / "outbox").unlink()
    eventually(lambda: outbox.flushed(ticket))
    assert caplog.text.count("cannot be used") == 1
    assert caplog.text.count("can be used again") == 1
    outbox.opened()
    assert answered(outbox, 1) == [b"event"]


def test_a_disk_that_cannot_be_read_is_read_later(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.05)
    outbox = make()
    put(outbox, b"event")
    assert outbox.flush(10.0)
    store = outbox._disk and outbox._disk._store
    assert store is not None

    def failing(*_: object) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise error

    monkeypatch.setattr(store, "take", failing)
    outbox.opened()
    assert answered(outbox, 1) == [b"event"]
    assert outbox.counts.disk_faults == 1
    assert outbox.set_aside is None


def test_a_file_that_breaks_at_work_is_set_aside_and_what_is_under_way_stays(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.05)
    outbox = make()
    outbox.opened()
    ticket = put(outbox, b"under way")
    assert outbox.get() is not None
    assert outbox.flush(10.0)
    store = outbox._disk and outbox._disk._store
    assert store is not None

    def broken() -> None:
        error = sqlite3.DatabaseError("database disk image is malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error

    monkeypatch.setattr(store, "commit", broken)
    later = put(outbox, b"later")
    eventually(lambda: outbox.flushed(later) and outbox.flushed(ticket))
    assert outbox.set_aside == tmp_path / "outbox" / f"{NAME}.corrupt-1"
    assert sorted(on_disk(tmp_path)) == [b"later", b"under way"]
    outbox.done(ticket)
    assert answered(outbox, 1) == [b"later"]


def test_nothing_is_lost_or_doubled_among_many_threads(make: Make) -> None:
    outbox = make(on_more=lambda: None)
    threads = [
        threading.Thread(target=lambda at=at: [put(outbox, b"%d %d" % (at, n)) for n in range(500)])
        for at in range(4)
    ]
    for thread in threads:
        thread.start()
    found: list[bytes] = []
    for _ in range(5):
        outbox.opened()
        found += answered(outbox, 100)
        outbox.closed()
    for thread in threads:
        thread.join()
    outbox.opened()
    found += answered(outbox, 1500)
    assert outbox.get() is None
    assert sorted(found) == sorted(b"%d %d" % (at, n) for at in range(4) for n in range(500))


def test_a_throttle_lets_so_many_through() -> None:
    clock = Clock()
    throttle = Throttle(100.0, clock)
    sent = 0
    for _ in range(2000):
        while throttle.ready:
            throttle.spend()
            sent += 1
        clock.now += 0.001
    assert 200 <= sent <= 211
    assert 0 < throttle.rest_s <= 0.01
    throttle.open()
    assert throttle.ready
