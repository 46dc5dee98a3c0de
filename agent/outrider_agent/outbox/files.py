"""The file of the outbox: made, opened, set aside when it is broken."""

import contextlib
import sqlite3
from collections.abc import Iterator
from errno import EDQUOT, ENOSPC
from pathlib import Path

from outrider_bundle import atomic

VERSION = 1
KEPT = 2
"""So many broken files are kept, for whoever wants to look into them."""
PAGE_BYTES = 1024
"""A commit writes whole pages, and its letters are small."""
CHECKPOINT_PAGES = 1000
"""When the log is copied into the file: the log stays below about a megabyte."""

_SCHEMA = (
    """CREATE TABLE letter (
        id INTEGER PRIMARY KEY, time REAL NOT NULL, topic TEXT NOT NULL, payload BLOB NOT NULL)""",
    """CREATE TABLE total (
        rank INTEGER PRIMARY KEY, rows INTEGER NOT NULL, bytes INTEGER NOT NULL, next INTEGER NOT NULL)""",
    "CREATE TABLE reserve (filler BLOB NOT NULL)",
    f"PRAGMA user_version = {VERSION}",
)
_BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class StrangeError(sqlite3.DatabaseError):
    """The file is sound, but of another version of this format."""


def connect(path: Path) -> sqlite3.Connection:
    """Open the database at `path`, made with its folder if it is not there.

    Raises:
        OSError: the folder cannot be made.
        sqlite3.Error: the file cannot be used; `broken` tells if it never can.
    """
    atomic.make_folder(path.parent)
    connection = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
    try:
        _prepare(connection)
        # SQLite waits for the file's bytes, but not for its name.
        atomic.sync_folder(path.parent)
    except BaseException:
        connection.close()
        raise
    return connection


def broken(error: Exception) -> bool:
    """Whether the file will never be of use again, other than for a full or a failing disk."""
    return isinstance(error, StrangeError) or code(error) in _BROKEN


def is_full(error: Exception) -> bool:
    """Whether the disk has no more room."""
    return code(error) == sqlite3.SQLITE_FULL or getattr(error, "errno", None) in {ENOSPC, EDQUOT}


def code(error: BaseException) -> int:
    """Return SQLite's primary code of an error, 0 if it has none."""
    return (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def set_aside(path: Path) -> Path:
    """Rename a broken file and its log, and remove what was set aside long ago; return the new name.

    Raises:
        OSError: it cannot be renamed.
    """
    before = sorted(_numbers(path))
    aside = path.with_name(f"{path.name}.corrupt-{max(before, default=0) + 1}")
    log = path.with_name(f"{path.name}-wal")
    if log.exists():
        log.rename(aside.with_name(f"{aside.name}-wal"))
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    path.rename(aside)
    for number in before[: max(0, len(before) + 1 - KEPT)]:
        old = path.with_name(f"{path.name}.corrupt-{number}")
        old.unlink(missing_ok=True)
        old.with_name(f"{old.name}-wal").unlink(missing_ok=True)
    atomic.sync_folder(path.parent)
    return aside


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection, *, durable: bool) -> Iterator[None]:
    """Do all or nothing; if `durable`, it is on the disk afterwards.

    Raises:
        sqlite3.Error: nothing was done.
    """
    connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            # A full disk may have ended it already.
            connection.execute("ROLLBACK")
        raise


def grow(connection: sqlite3.Connection, size: int) -> None:
    """Make the file larger by `size` bytes that nothing is in yet, and its log about as large.

    Three steps, for pages that are freed by the transaction that took them are never written.

    Raises:
        sqlite3.Error: the disk has no room for them; they may be taken in part.
    """
    try:
        with transaction(connection, durable=False):
            connection.execute("INSERT INTO reserve VALUES (zeroblob(?))", (size,))
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    finally:
        with transaction(connection, durable=False):
            connection.execute("DELETE FROM reserve")


def spare_bytes(connection: sqlite3.Connection) -> int:
    """Return how much of the file nothing is in.

    Raises:
        sqlite3.Error: it cannot be read.
    """
    (pages,) = connection.execute("PRAGMA freelist_count").fetchone()
    return int(pages) * PAGE_BYTES


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # of a new file
    # Alone with the file, SQLite needs no shared memory for it: on a full disk that map ends us by SIGBUS.
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    connection.execute("PRAGMA cache_size = -512")
    connection.execute("PRAGMA temp_store = MEMORY")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        with transaction(connection, durable=True):
            for statement in _SCHEMA:
                connection.execute(statement)
    elif version != VERSION:
        raise StrangeError(f"the outbox is of version {version}, and this is {VERSION}")
    connection.execute("SELECT id FROM letter LIMIT 1").fetchone()


def _numbers(path: Path) -> list[int]:
    found = path.parent.glob(f"{path.name}.corrupt-*")
    tails = [one.name.rpartition("-")[2] for one in found]
    return [int(tail) for tail in tails if tail.isdecimal()]
