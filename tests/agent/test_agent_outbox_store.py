"""The file of the outbox: by rank and age, within its caps, sound again after anything."""

import sqlite3
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider_agent.outbox import files
from outrider_agent.outbox.letter import Rank
from outrider_agent.outbox.reserve import Reserve
from outrider_agent.outbox.store import CHUNK, ROW_BYTES, SANE_S, Limits, Store

WIDE = Limits()
DAY_S = 86_400.0


class Clock:
    """Seconds that pass when they are told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def fill(store: Store, *letters: tuple[Rank, bytes]) -> list[int]:
    ids = [store.put(rank, "t", payload) for rank, payload in letters]
    store.commit()
    return ids


def payloads(store: Store) -> list[bytes]:
    return [row.payload for rank in Rank for row in store.take(rank, 0, 100_000)]


def test_rows_stay_by_rank_and_age_and_are_named_anew_never(tmp_path: Path) -> None:
    path = tmp_path / "outbox" / "outbox.db"
    store = Store.open(path, WIDE)
    ids = fill(store, (Rank.TELEMETRY, b"t1"), (Rank.EVENT, b"e1"), (Rank.REPORT, b"r1"), (Rank.EVENT, b"e2"))
    assert payloads(store) == [b"e1", b"e2", b"r1", b"t1"]
    assert [row.rank for row in store.take(Rank.REPORT, 0, 9)] == [Rank.REPORT]
    store.done([*ids, 12345])
    store.commit()
    assert (store.rows, store.used_bytes) == (0, 0)
    store.close()

    again = Store.open(path, WIDE)
    assert again.set_aside is None
    assert not set(fill(again, (Rank.EVENT, b"e3"), (Rank.TELEMETRY, b"t2"))) & set(ids)
    assert again.counts() == {Rank.EVENT: 1, Rank.REPORT: 0, Rank.TELEMETRY: 1}
    again.close()


def test_rows_are_read_in_turns(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "outbox.db", WIDE)
    fill(store, *((Rank.EVENT, b"%d" % number) for number in range(7)))
    found: list[bytes] = []
    after = 0
    while rows := store.take(Rank.EVENT, after, 3):
        found += [row.payload for row in rows]
        after = rows[-1].id
    assert found == [b"%d" % number for number in range(7)]
    store.close()


def test_the_oldest_of_the_lowest_rank_goes_first(tmp_path: Path) -> None:
    room = 1 + 10 + ROW_BYTES
    store = Store.open(tmp_path / "outbox.db", Limits(bytes=3 * room))
    fill(store, *((rank, b"%-10d" % number) for number in range(2) for rank in Rank))
    assert [payload.strip() for payload in payloads(store)] == [b"0", b"1", b"1"]
    assert store.lost == {Rank.EVENT: 0, Rank.REPORT: 1, Rank.TELEMETRY: 2}
    fill(store, *((Rank.EVENT, b"%-10d" % number) for number in range(2, 4)))
    assert [payload.strip() for payload in payloads(store)] == [b"1", b"2", b"3"]
    assert store.lost == {Rank.EVENT: 1, Rank.REPORT: 2, Rank.TELEMETRY: 2}
    assert store.used_bytes == 3 * room
    store.close()


def test_what_is_too_old_goes_unless_its_clock_was_not_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outrider_agent.outbox.store.AGING_S", 0.0)
    times = Clock()
    store = Store.open(tmp_path / "outbox.db", Limits(age_s=DAY_S), times)
    fill(store, (Rank.EVENT, b"of 1970"))
    times.now = SANE_S + 100.0
    old = [(Rank.TELEMETRY, b"old")] * (CHUNK + 5)
    fill(store, *old, (Rank.EVENT, b"old"))
    times.now += DAY_S - 1.0
    fill(store, (Rank.TELEMETRY, b"new"))
    assert (store.rows, store.expired) == (CHUNK + 8, 0)
    times.now += 2.0
    fill(store)
    assert payloads(store) == [b"of 1970", b"new"]
    assert store.expired == CHUNK + 6
    store.close()


@pytest.mark.parametrize("damage", [b"no database at all" * 500, b"SQLite format 3\0" + bytes(8000)])
def test_a_broken_file_is_set_aside(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "outbox.db"
    for number in range(1, 5):
        path.write_bytes(damage)
        store = Store.open(path, WIDE)
        assert store.set_aside == tmp_path / f"outbox.db.corrupt-{number}"
        assert store.set_aside.read_bytes() == damage
        fill(store, (Rank.EVENT, b"fresh"))
        assert payloads(store) == [b"fresh"]
        store.close()
    names = {one.name for one in tmp_path.iterdir() if "corrupt" in one.name}
    assert names == {f"outbox.db.corrupt-{n}" for n in (3, 4)}


def test_a_file_of_another_version_is_set_aside_too(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    store = Store.open(path, WIDE)
    assert store.set_aside is not None
    store.close()


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "outbox.db", WIDE)
    (first,) = fill(store, (Rank.EVENT, b"first"))
    store._connection.execute("PRAGMA max_page_count = 4")
    with pytest.raises(sqlite3.OperationalError, match="full") as caught:
        fill(store, (Rank.EVENT, bytes(100_000)))
    assert files.code(caught.value) == sqlite3.SQLITE_FULL
    assert not files.broken(caught.value)
    assert (store.rows, payloads(store)) == (1, [b"first"])
    store._connection.execute("PRAGMA max_page_count = 1000000")
    (second,) = fill(store, (Rank.EVENT, b"second"))
    assert second > first
    assert payloads(store) == [b"first", b"second"]
    store.close()


def test_room_is_made_by_giving_up_the_oldest_of_a_rank(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "outbox.db", WIDE)
    fill(store, *((Rank.TELEMETRY, b"%d" % number) for number in range(10)))
    assert store.shed(Rank.TELEMETRY) == 3
    assert store.shed(Rank.REPORT) == 0
    assert payloads(store) == [b"%d" % number for number in range(3, 10)]
    assert store.lost[Rank.TELEMETRY] == 3
    store.close()


def test_room_is_taken_before_it_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    store = Store.open(path, WIDE)
    store.reserve(1 << 20)
    assert path.stat().st_blocks * 512 >= 1 << 20
    assert path.with_name("outbox.db-wal").stat().st_blocks * 512 >= 1 << 20
    store._connection.execute("PRAGMA max_page_count = 1")  # not one page more
    ids = fill(store, *((Rank.EVENT, bytes(300)) for _ in range(2000)))
    with pytest.raises(sqlite3.OperationalError, match="full"):
        fill(store, *((Rank.EVENT, bytes(300)) for _ in range(2000)))
    store.done(ids)
    store.commit()
    store.reserve(1 << 20)  # there is enough again
    store.close()


def test_a_reserve_is_taken_given_up_and_taken_again(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "reserve", 1 << 20)
    assert not reserve.held
    assert reserve.take()
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= 1 << 20
    assert reserve.give_up()
    assert not reserve.give_up()
    assert reserve.take()
    assert reserve.held
    assert not Reserve(tmp_path / "nowhere" / "reserve", 1).take()
    assert not Reserve(tmp_path / "huge", 1 << 60).take()


Step = tuple[Rank, int, bool]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(Rank), st.integers(0, 60), st.booleans()), max_size=30))
def test_it_holds_what_a_list_would(steps: Sequence[Step]) -> None:
    limit = 400
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outbox.db"
        store, kept = Store.open(path, Limits(bytes=limit)), list[tuple[int, int]]()
        for rank, length, answered in steps:
            if answered and kept:
                gone = kept.pop(length % len(kept))
                store.done([gone[0]])
            kept.append((store.put(rank, "t", bytes(length)), 1 + length + ROW_BYTES))
            store.commit()
            while sum(size for _, size in kept) > limit:
                lowest = max(key >> 48 for key, _ in kept)
                kept.remove(min(one for one in kept if one[0] >> 48 == lowest))
            assert store.used_bytes == sum(size for _, size in kept)
        store.close()
        again = Store.open(path, Limits(bytes=limit))
        assert [row.id for rank in Rank for row in again.take(rank, 0, 100)] == sorted(key for key, _ in kept)
        assert (again.rows, again.used_bytes) == (len(kept), sum(size for _, size in kept))
        again.close()
