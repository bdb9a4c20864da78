"""What was found out and costs to find out again: digests and headers of files, what Ollama
answered to probes, what models take in memory and how long their loads took.

A digest belongs to one state of a file. When only its times or its device's number changed, which
Ollama's own touch and a reboot do, the digest stands for the time being if a sampled print of the
file is the same: it counts as not verified until the file was hashed again.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import itertools
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from paddock.core.digest import Digest, parse_digest
from paddock.core.gguf import Facts
from paddock.core.names import Name
from paddock.core.observed import FileStat, ProbeAnswer, SmallLayer
from paddock.core.unknown import Unknown
from paddock.edges.state.database import Database
from paddock.errors import InvalidDigest, InvalidGguf, InvalidName

_Key = TypeVar("_Key")

MAX_SIZES = 1024
# Many more than are in use. Of the rest the oldest go: should anything still ask, it is found out
# again.
MAX_FILES, MAX_PROBES = 65536, 32768
# What a row may raise that we did not write, or an older Paddock did.
_FOUND_OUT_AGAIN = contextlib.suppress(
    ValueError, LookupError, TypeError, AttributeError, InvalidDigest, InvalidGguf, InvalidName
)


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What is known of a file in one state: its digest once hashed, its header's facts. `verified`
    says that the digest was computed in this very state; `sample` is the sampled print of then."""

    stat: FileStat
    digest: Digest | None
    facts: Facts | None
    verified: bool = True
    sample: str | None = None
    path: str | None = None


class Caches(Database):
    """The caches of one store. Read-only, they are for the life of this process."""

    def __init__(self, folder: Path, *, writable: bool, damage: Unknown | None = None):
        super().__init__(folder, writable=writable, damage=damage)
        self._files: dict[tuple[int, int], FileRecord] = {}
        self._paths: dict[str, FileRecord] = {}
        self._probes: dict[Digest, ProbeAnswer] = {}
        self._sizes: Mapping[tuple[Digest, int | None], int] = {}
        self._load_times: dict[Digest, float] = {}
        self._held: frozenset[Name] = frozenset()
        self._remembering = threading.Lock()
        with self.explained():
            self._load()

    def file(self, stat: FileStat) -> FileRecord | None:
        """What is known of a file, if it is still in the state that it was read in."""
        record = self._files.get((stat.device, stat.inode))
        return record if record is not None and record.stat == stat else None

    def file_before(self, real_path: str, stat: FileStat) -> FileRecord | None:
        """What was known of a file whose times or device alone have changed since."""
        for record in (self._files.get((stat.device, stat.inode)), self._paths.get(real_path)):
            if record is None or record.stat == stat:
                continue
            before = record.stat
            if (before.inode, before.size_bytes) == (stat.inode, stat.size_bytes):
                return record
        return None

    def remember_file(self, record: FileRecord) -> None:
        """Keep what was found out about a file."""
        stat = record.stat
        with self._remembering:
            self._keep(record)
            old = [self._files.pop(key) for key in _oldest(self._files, MAX_FILES)]
            for known in old:
                if known.path is not None and self._paths.get(known.path) is known:
                    del self._paths[known.path]
        facts = None if record.facts is None else record.facts.to_json()
        row = (*_row(stat), record.digest, facts, record.verified, record.sample, record.path)
        self.write("INSERT OR REPLACE INTO files VALUES (?,?,?,?,?,?,?,?,?,?)", [row])
        if old:
            gone = [(known.stat.device, known.stat.inode) for known in old]
            self.write("DELETE FROM files WHERE device = ? AND inode = ?", gone)

    def probes(self) -> Mapping[Digest, ProbeAnswer]:
        """Ollama's answers to probes, as they are now."""
        return dict(self._probes)

    def remember_probe(self, key: Digest, answer: ProbeAnswer) -> None:
        """Keep Ollama's answer to a probe."""
        self._probes[key] = answer
        row = (key, json.dumps(_answer_to_json(answer)))
        self.write("INSERT OR REPLACE INTO probes VALUES (?,?)", [row])
        for old in _oldest(self._probes, MAX_PROBES):
            del self._probes[old]
            self.write("DELETE FROM probes WHERE key = ?", [(old,)])

    def sizes(self) -> Mapping[tuple[Digest, int | None], int]:
        """What each GGUF took in memory, in bytes, by the context that it was loaded with; the same
        object for as long as nothing of it changes."""
        return self._sizes

    def remember_size(self, digest: Digest, num_ctx: int | None, size_bytes: int) -> None:
        """Keep what a GGUF takes in memory with a context."""
        if self._sizes.get((digest, num_ctx)) != size_bytes:
            if len(self._sizes) >= MAX_SIZES:  # contexts are a client's to invent
                self._sizes = {}
                self.write("DELETE FROM sizes WHERE bytes >= ?", [(0,)])
            self._sizes = {**self._sizes, (digest, num_ctx): size_bytes}
            row = (digest, num_ctx or 0, size_bytes)
            self.write("INSERT OR REPLACE INTO sizes VALUES (?,?,?)", [row])

    def load_time_s(self, digest: Digest) -> float | None:
        """How long the last load of a GGUF took."""
        return self._load_times.get(digest)

    def remember_load_time(self, digest: Digest, seconds: float) -> None:
        """Keep how long a load took."""
        self._load_times[digest] = seconds
        self.write("INSERT OR REPLACE INTO load_times VALUES (?,?)", [(digest, seconds)])

    def held(self) -> frozenset[Name]:
        """The models that the file kept in memory when it was looked at last."""
        return self._held

    def remember_held(self, names: frozenset[Name]) -> None:
        """Keep which models the file keeps in memory, for the next start."""
        new, old = sorted(names - self._held), sorted(self._held - names)
        self._held = names
        if new:
            self.write("INSERT OR IGNORE INTO held VALUES (?)", [(name.full,) for name in new])
        if old:
            self.write("DELETE FROM held WHERE name = ?", [(name.full,) for name in old])

    def _keep(self, record: FileRecord) -> None:
        self._files[record.stat.device, record.stat.inode] = record
        if record.path is not None:
            self._paths[record.path] = record

    def _load(self) -> None:
        """A row that cannot be costs itself alone: it is found out again, and the ledger stands."""
        read = functools.lru_cache(Facts.from_json)  # files of one kind may have the same header
        for row in self.rows("files"):
            with _FOUND_OUT_AGAIN:
                self._keep(_record(read, *row))
        for key, answer in self.rows("probes"):
            with _FOUND_OUT_AGAIN:
                self._probes[parse_digest(key)] = _answer_from_json(json.loads(answer))
        sizes: dict[tuple[Digest, int | None], int] = {}
        for digest, num_ctx, size_bytes in self.rows("sizes"):
            with _FOUND_OUT_AGAIN:
                sizes[parse_digest(digest), int(num_ctx) or None] = int(size_bytes)
        self._sizes = sizes
        for digest, seconds in self.rows("load_times"):
            with _FOUND_OUT_AGAIN:
                self._load_times[parse_digest(digest)] = float(seconds)
        for (name,) in self.rows("held"):
            with _FOUND_OUT_AGAIN:
                self._held |= {Name.parse_api(name)}


def _record(read: Callable[[str], Facts], *row: Any) -> FileRecord:
    *state, digest, facts, verified, sample, path = row
    return FileRecord(
        stat=FileStat(*map(int, state)),
        digest=None if digest is None else parse_digest(digest),
        facts=None if facts is None else read(facts),
        verified=bool(verified),
        sample=sample,
        path=path,
    )


def _row(stat: FileStat) -> tuple[int, ...]:
    return stat.device, stat.inode, stat.size_bytes, stat.mtime_ns, stat.ctime_ns


def _answer_to_json(answer: ProbeAnswer) -> dict[str, Any]:
    layers = [[layer.media_type, _text(layer.content)] for layer in answer.layers]
    return {"config": _text(answer.config), "layers": layers, "models": answer.models}


def _answer_from_json(document: dict[str, Any]) -> ProbeAnswer:
    layers = [SmallLayer(kind, base64.b64decode(text)) for kind, text in document["layers"]]
    config, models = base64.b64decode(document["config"]), document.get("models", 1)
    return ProbeAnswer(config, tuple(layers), models)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _oldest(known: Mapping[_Key, object], most: int) -> list[_Key]:
    """The keys that are too many; looks at no other, for it is asked at each one that is added."""
    return list(itertools.islice(known, max(len(known) - most, 0)))
