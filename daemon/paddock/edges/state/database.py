"""The file behind the ledger and the caches: `<models>/.paddock/state.db`, an SQLite file beside
the store that it describes, so that it moves with the volume.

Owns opening, the format and its migrations, setting a damaged file aside, and one statement at a
time. One writer, by the lock in `edges/lock.py`. Opened read-only it writes nothing at all: a file
of an older format is migrated in memory, and one that is missing or damaged is a new one there.
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from paddock.core.unknown import Unknown
from paddock.errors import (
    InvalidDigest,
    InvalidManifest,
    InvalidName,
    Retry,
    StoreError,
    store_error,
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
    """
ALTER TABLE owned ADD COLUMN rebuilt INTEGER NOT NULL DEFAULT 0;
CREATE TABLE rebuild (pending INTEGER PRIMARY KEY);
""",
    """
CREATE TABLE sizes (
    digest TEXT, num_ctx INTEGER, bytes INTEGER NOT NULL, PRIMARY KEY (digest, num_ctx))
    WITHOUT ROWID;
CREATE TABLE load_times (digest TEXT PRIMARY KEY, seconds REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE held (name TEXT PRIMARY KEY) WITHOUT ROWID;
""",
)
# A new file has to learn from the manifests what a lost one held: until then this row stands.
_NEW = "INSERT INTO rebuild VALUES (1);"
_VERSION = len(_MIGRATIONS)
_ROWS = 100
_CACHE_KIB = 256
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
    """The file of one store. `damage` says why it could not be read, or that one was set aside; to
    be read only, what is there then is not looked at."""

    def __init__(self, folder: Path, *, writable: bool, damage: Unknown | None = None):
        self._path = folder / "state.db"
        self._in_memory = not writable and (damage is not None or not _is_there(self._path))
        self._db = _new_in_memory() if self._in_memory else _open(self._path, writable=writable)
        self._inode = _inode(self._path)
        self._openings = 1
        self._writable = writable
        self.damage = damage
        # Looks and writes run in threads, which outlive a cancelled cycle: SQLite crashes the
        # process when its file is closed under a statement that still runs.
        self._lock = threading.Lock()
        self._closed = False

    def close(self) -> None:
        """Close the file, once a statement under way has ended."""
        with self._lock:
            self._closed = True
            self._db.close()

    @property
    def is_in_place(self) -> bool:
        """Whether the file that is open is still the one at its path."""
        return self._in_memory or _inode(self._path) == self._inode

    def reopen(self) -> None:
        """Go on in the file that is at the path now, or in a new one: only where it may be written.
        Raises StoreError."""
        opened = _open(self._path, writable=True)
        with self._lock:
            self._db.close()
            self._db, self._inode = opened, _inode(self._path)
            self._openings += 1

    def rows(self, table: str) -> Iterator[tuple[Any, ...]]:
        """Every row of a table, not all of them in memory at once. Raises StoreError."""
        with self.explained(), self._opened():
            found = self._db.execute(f"SELECT * FROM {table}")  # noqa: S608
            rows = found.fetchmany(_ROWS)
        while rows:
            yield from rows
            with self.explained(), self._opened():
                rows = found.fetchmany(_ROWS)

    def changes(self) -> tuple[object, ...]:
        """What differs once anything in the file was changed, by us or by others. Raises
        StoreError."""
        with self.explained(), self._opened():
            by_others = self._db.execute("PRAGMA data_version").fetchone()
            return self._openings, self._in_memory, self._db.total_changes, by_others

    def write(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Carry out a statement for each row, all or none. Raises StoreError."""
        if not self._writable:
            return
        with self.explained(), self._opened(), self._db:
            self._db.executemany(statement, rows)

    def learn(self, statements: Iterable[tuple[str, Iterable[tuple[Any, ...]]]]) -> None:
        """Carry out statements, all or none; in memory alone where nothing may be written. Raises
        StoreError."""
        with self.explained(), self._opened():
            if not self._writable and not self._in_memory:
                self._db, self._in_memory = _in_memory(self._db), True
            with self._db:
                for statement, rows in statements:
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


def set_aside(folder: Path, at: datetime) -> Path:
    """Give a damaged file another name, which it keeps; gives that name. Raises StoreError."""
    old = folder / "state.db"
    stem = f"state.db.corrupt-{at:%Y%m%dT%H%M%SZ}"
    names = (stem if number == 1 else f"{stem}-{number}" for number in itertools.count(1))
    new = next(folder / name for name in names if not (folder / name).exists())
    try:
        # What SQLite left half done belongs to the old file: it would be done to the new one.
        for more in ("-journal", "-wal", "-shm", ""):
            with contextlib.suppress(FileNotFoundError):
                old.with_name(old.name + more).rename(new.with_name(new.name + more))
    except OSError as error:
        raise store_error(old, error) from error
    return new


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_there(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def _open(path: Path, *, writable: bool) -> sqlite3.Connection:
    if path.is_symlink():  # as root we would write, and give away, what it leads to
        what = f"{path} is a link, and must be a file of its own; move it away"
        raise StoreError(what, reason="StoreBroken", retry=Retry.STALLED)
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
    db = sqlite3.connect(uri, uri=True, timeout=10, check_same_thread=False)
    # The file is read once, and then as it is written: the kernel keeps it well enough.
    db.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
    return db


def _new_in_memory() -> sqlite3.Connection:
    db = _connect("file::memory:")
    _migrate(db, 0)
    return db


def _in_memory(db: sqlite3.Connection) -> sqlite3.Connection:
    memory = _connect("file::memory:")
    with contextlib.closing(db):
        db.backup(memory)
    return memory


def _migrate(db: sqlite3.Connection, version: int) -> None:
    if version < _VERSION:
        steps = "".join(_MIGRATIONS[version:]) + ("" if version else _NEW)
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
    what = f"{path} is damaged ({words(error)})"
    hint = "models stay; the next start of paddock run or apply sets it aside and makes a new one"
    return StoreError(f"{what}; {hint}", reason="LedgerCorrupt", retry=Retry.STALLED)
