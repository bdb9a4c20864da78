"""The file behind the ledger and the caches: `<models>/.paddock/state.db`, an SQLite file beside
the store that it describes, so that it moves with the volume.

Owns opening, the format and its migrations, and one statement at a time. One writer, by the lock in
`edges/lock.py`. Opened read-only it writes nothing at all: a file of an older format is migrated in
memory.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from paddock.errors import (
    InvalidDigest,
    InvalidManifest,
    InvalidName,
    Retry,
    StoreError,
    words,
)

# Each brings the file from the format of its index to the next one.
_MIGRATIONS = (
    """
CREATE TABLE owned (name TEXT PRIMARY KEY, generation INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE pulled (reference TEXT PRIMARY KEY, digest TEXT NOT NULL, manifest BLOB NOT NULL);
CREATE TABLE scratch (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE blobs (digest TEXT PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE runners (manifest TEXT PRIMARY KEY, model TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE files (
    device INTEGER, inode INTEGER, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER,
    digest TEXT, facts TEXT, PRIMARY KEY (device, inode));
CREATE TABLE probes (key TEXT PRIMARY KEY, answer TEXT NOT NULL);
""",
    """
ALTER TABLE files ADD COLUMN verified INTEGER NOT NULL DEFAULT 1;
ALTER TABLE files ADD COLUMN sample TEXT;
ALTER TABLE files ADD COLUMN path TEXT;
CREATE TABLE discovered (
    folder TEXT, path TEXT, name TEXT NOT NULL, PRIMARY KEY (folder, path)) WITHOUT ROWID;
CREATE TABLE folders (path TEXT PRIMARY KEY, device INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE published (path TEXT PRIMARY KEY, target TEXT NOT NULL, name TEXT NOT NULL)
    WITHOUT ROWID;
CREATE TABLE withdrawn (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE paused (name TEXT PRIMARY KEY) WITHOUT ROWID;
""",
)
_VERSION = len(_MIGRATIONS)
_HINTS = {
    sqlite3.SQLITE_FULL: ("NoSpace", "free some space"),
    sqlite3.SQLITE_READONLY: ("ReadOnly", "make it and its folder writable"),
}
# What a row may be that we did not write.
_IMPOSSIBLE = (
    sqlite3.DatabaseError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    InvalidName,
    InvalidDigest,
    InvalidManifest,
)


class Database:
    """The file of one store. `None` behind it: read only, and there is none."""

    def __init__(self, folder: Path, *, writable: bool):
        self._path = folder / "state.db"
        self._db = _open(self._path, writable=writable)
        self._writable = writable
        # Looks and writes run in threads, which outlive a cancelled cycle: SQLite crashes the
        # process when its file is closed under a statement that still runs.
        self._lock = threading.Lock()
        self._closed = False

    def close(self) -> None:
        """Close the file, once a statement under way has ended."""
        with self._lock:
            self._closed = True
            if self._db is not None:
                self._db.close()

    def rows(self, table: str) -> Iterator[tuple[Any, ...]]:
        """Every row of a table. Raises StoreError."""
        if self._db is None:
            return iter(())
        with self.explained(), self._opened():
            return iter(self._db.execute(f"SELECT * FROM {table}").fetchall())  # noqa: S608

    def write(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Carry out a statement for each row, all or none. Raises StoreError."""
        if self._db is None or not self._writable:
            return
        with self.explained(), self._opened(), self._db:
            self._db.executemany(statement, rows)

    def explained(self) -> contextlib.AbstractContextManager[None]:
        """An error of SQLite, or a row that cannot be, becomes a StoreError."""
        return _explained(self._path)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[None]:
        with self._lock:
            if self._closed:
                raise StoreError(f"{self._path} is closed: paddock is stopping", reason="Stopping")
            yield


def _open(path: Path, *, writable: bool) -> sqlite3.Connection | None:
    if path.is_symlink():  # as root we would write, and give away, what it leads to
        what = f"{path} is a link, and must be a file of its own; move it away"
        raise StoreError(what, reason="StoreBroken", retry=Retry.STALLED)
    if not writable and not path.exists():
        return None
    with _explained(path):
        mode = "rwc" if writable else "ro"
        db = _connect(f"file:{quote(str(path))}?mode={mode}")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > _VERSION:
            db.close()
            what = f"{path} was written by another version of paddock (format {version})"
            what += "; update paddock, or move it away: models stay, and paddock adopt claims"
            raise StoreError(what, reason="LedgerVersion", retry=Retry.STALLED)
        if not writable and version < _VERSION:
            db = _in_memory(db)
        _migrate(db, version)
        return db


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, timeout=10, check_same_thread=False)


def _in_memory(db: sqlite3.Connection) -> sqlite3.Connection:
    memory = _connect("file::memory:")
    with contextlib.closing(db):
        db.backup(memory)
    return memory


def _migrate(db: sqlite3.Connection, version: int) -> None:
    if version < _VERSION:
        steps = "".join(_MIGRATIONS[version:])
        db.executescript(f"BEGIN; {steps} PRAGMA user_version = {_VERSION}; COMMIT;")


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_ERROR:  # such as a table that is not there
            raise _damaged(path, error) from error
        reason, hint = _HINTS.get(code, ("LedgerUnreadable", "see who may read and write it"))
        raise StoreError(f"cannot use {path}: {error}; {hint}", reason=reason) from error
    except _IMPOSSIBLE as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> StoreError:
    what, hint = f"{path} is damaged ({words(error)})", "models stay, and paddock adopt claims"
    return StoreError(f"{what}; move it away: {hint}", reason="LedgerCorrupt", retry=Retry.STALLED)
