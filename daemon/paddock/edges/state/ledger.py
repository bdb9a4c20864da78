"""What Paddock remembers, in `<models>/.paddock/`: the ledger of what is ours, and what was found
out about files and headers.

One SQLite file beside the store that it describes, so that it moves with the volume; one writer, by
the lock in `edges/lock.py`. Losing it loses no model: only the right to change and remove. Opened
read-only it writes nothing at all, and remembers for its own life only.
"""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from paddock.core.digest import Digest, parse_digest
from paddock.core.gguf import Facts
from paddock.core.manifest import Manifest, parse_manifest
from paddock.core.names import Name
from paddock.core.observed import FileStat, Ledger, Owned, ProbeAnswer, Pulled, SmallLayer
from paddock.errors import InvalidGguf, Retry, StoreError

_VERSION = 1
_SCHEMA = f"""
CREATE TABLE owned (name TEXT PRIMARY KEY, generation INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE pulled (reference TEXT PRIMARY KEY, digest TEXT NOT NULL, manifest BLOB NOT NULL);
CREATE TABLE scratch (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE blobs (digest TEXT PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE runners (manifest TEXT PRIMARY KEY, model TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE files (
    device INTEGER, inode INTEGER, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER,
    digest TEXT, facts TEXT, PRIMARY KEY (device, inode));
CREATE TABLE probes (key TEXT PRIMARY KEY, answer TEXT NOT NULL);
PRAGMA user_version = {_VERSION};
"""


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What is known of a file in one state: its digest once hashed, its header's facts."""

    stat: FileStat
    digest: Digest | None
    facts: Facts | None


class State:
    """The ledger and the caches of one store."""

    def __init__(self, folder: Path, *, writable: bool):
        self._path = folder / "state.db"
        self._id_path = folder / "id"
        self._db = _open(self._path, writable=writable)
        self._writable = writable
        # Looks and writes run in threads, which outlive a cancelled cycle: SQLite crashes the
        # process when its file is closed under a statement that still runs.
        self._lock = threading.Lock()
        self._closed = False
        self._files: dict[tuple[int, int], FileRecord] = {}
        self._probes: dict[Digest, ProbeAnswer] = {}
        with _explained(self._path):
            self._load()
        if writable and not self._id_path.exists():
            self._id_path.write_text(secrets.token_hex(16))

    def close(self) -> None:
        """Close the file, once a statement under way has ended."""
        with self._lock:
            self._closed = True
            if self._db is not None:
                self._db.close()

    # The caches.

    def file(self, stat: FileStat) -> FileRecord | None:
        """What is known of a file, if it is still in the state that it was read in."""
        record = self._files.get((stat.device, stat.inode))
        return record if record is not None and record.stat == stat else None

    def remember_file(self, record: FileRecord) -> None:
        """Keep what was found out about a file."""
        stat = record.stat
        self._files[stat.device, stat.inode] = record
        facts = None if record.facts is None else record.facts.to_json()
        row = (*_row(stat), record.digest, facts)
        self._write("INSERT OR REPLACE INTO files VALUES (?,?,?,?,?,?,?)", [row])

    def probes(self) -> Mapping[Digest, ProbeAnswer]:
        """Ollama's answers to probes, as they are now."""
        return dict(self._probes)

    def remember_probe(self, key: Digest, answer: ProbeAnswer) -> None:
        """Keep Ollama's answer to a probe."""
        self._probes[key] = answer
        row = (key, json.dumps(_answer_to_json(answer)))
        self._write("INSERT OR REPLACE INTO probes VALUES (?,?)", [row])

    # The ledger.

    def ledger(self) -> Ledger:
        """All that is ours."""
        with _explained(self._path):
            return Ledger(
                store_id=self._id_path.read_text() if self._id_path.exists() else None,
                owned={Name.parse_api(n): Owned(g) for n, g in self._rows("owned")},
                pulled={Name.parse_api(r): _pulled(d, m) for r, d, m in self._rows("pulled")},
                scratch=frozenset(Name.parse_api(n) for (n,) in self._rows("scratch")),
                blobs={Digest(d): Name.parse_api(n) for d, n in self._rows("blobs")},
                runners={Digest(m): Digest(g) for m, g in self._rows("runners")},
            )

    def claim(self, names: Iterable[Name]) -> None:
        """Record names as ours, before the first byte of them is written."""
        self._write("INSERT OR IGNORE INTO owned VALUES (?, 0)", [(n.full,) for n in names])

    def disclaim(self, name: Name) -> None:
        """Forget a name that is gone."""
        self._write("DELETE FROM owned WHERE name = ?", [(name.full,)])
        self._write("DELETE FROM pulled WHERE reference = ?", [(name.full,)])

    def set_generation(self, name: Name, generation: int) -> None:
        """Record that the manifest of a name must be of this generation."""
        self._write("UPDATE owned SET generation = ? WHERE name = ?", [(generation, name.full)])

    def record_pull(self, reference: Name, digest: Digest, manifest: Manifest) -> None:
        """Keep the manifest that a registry gave."""
        row = (reference.full, digest, manifest.encode())
        self._write("INSERT OR REPLACE INTO pulled VALUES (?,?,?)", [row])

    def record_blob(self, digest: Digest, name: Name) -> None:
        """Record a blob as ours, before it is made."""
        self._write("INSERT OR IGNORE INTO blobs VALUES (?,?)", [(digest, name.full)])

    def forget_blob(self, digest: Digest) -> None:
        """Forget a blob that is gone."""
        self._write("DELETE FROM blobs WHERE digest = ?", [(digest,)])

    def record_runner(self, manifest: Digest, model: Digest) -> None:
        """Keep which GGUF a manifest names, for runners that outlive it."""
        self._write("INSERT OR REPLACE INTO runners VALUES (?,?)", [(manifest, model)])

    def record_scratch(self, name: Name) -> None:
        """Record a scratch model, before it is asked for."""
        self._write("INSERT OR IGNORE INTO scratch VALUES (?)", [(name.full,)])

    def forget_scratch(self, name: Name) -> None:
        """Forget a scratch model that is gone."""
        self._write("DELETE FROM scratch WHERE name = ?", [(name.full,)])

    def _load(self) -> None:
        for device, inode, size, mtime, ctime, digest, facts in self._rows("files"):
            stat = FileStat(device, inode, size, mtime, ctime)
            with contextlib.suppress(InvalidGguf):  # facts of an older format are read anew
                parsed = None if facts is None else Facts.from_json(facts)
                self._files[device, inode] = FileRecord(stat, digest, parsed)
        for key, answer in self._rows("probes"):
            self._probes[Digest(key)] = _answer_from_json(json.loads(answer))

    def _rows(self, table: str) -> Iterator[tuple[Any, ...]]:
        if self._db is None:
            return iter(())
        with self._opened():
            return iter(self._db.execute(f"SELECT * FROM {table}").fetchall())  # noqa: S608

    def _write(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        if self._db is None or not self._writable:
            return
        with _explained(self._path), self._opened(), self._db:
            self._db.executemany(statement, rows)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[None]:
        with self._lock:
            if self._closed:
                raise StoreError(f"{self._path} is closed: paddock is stopping", reason="Stopping")
            yield


def _open(path: Path, *, writable: bool) -> sqlite3.Connection | None:
    if not writable and not path.exists():
        return None
    with _explained(path):
        mode = "rwc" if writable else "ro"
        uri = f"file:{quote(str(path))}?mode={mode}"
        db = sqlite3.connect(uri, uri=True, timeout=10, check_same_thread=False)
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0 and writable:
            db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
        elif version not in (0, _VERSION):
            db.close()
            what = f"{path} was written by another version of paddock (format {version})"
            raise StoreError(what, reason="LedgerVersion", retry=Retry.STALLED)
        return db if version == _VERSION or writable else None


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StoreError(f"cannot use {path}: {error}", reason="LedgerUnreadable") from error
    except (sqlite3.DatabaseError, ValueError, KeyError) as error:
        what = f"{path} is damaged ({error}); move it away: models stay, and paddock adopt claims"
        raise StoreError(what, reason="LedgerCorrupt", retry=Retry.STALLED) from error


def _row(stat: FileStat) -> tuple[int, ...]:
    return stat.device, stat.inode, stat.size_bytes, stat.mtime_ns, stat.ctime_ns


def _pulled(digest: str, manifest: bytes) -> Pulled:
    return Pulled(parse_digest(digest), parse_manifest(manifest))


def _answer_to_json(answer: ProbeAnswer) -> dict[str, Any]:
    layers = [[layer.media_type, _text(layer.content)] for layer in answer.layers]
    return {"config": _text(answer.config), "layers": layers}


def _answer_from_json(document: dict[str, Any]) -> ProbeAnswer:
    layers = [SmallLayer(kind, base64.b64decode(text)) for kind, text in document["layers"]]
    return ProbeAnswer(base64.b64decode(document["config"]), tuple(layers))


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
