"""What was found out and costs to find out again: digests and headers of files, and what Ollama
answered to probes.

A digest belongs to one state of a file. When only its times or its device's number changed, which
Ollama's own touch and a reboot do, the digest stands for the time being if a sampled print of the
file is the same: it counts as not verified until the file was hashed again.
"""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddock.core.digest import Digest
from paddock.core.gguf import Facts
from paddock.core.observed import FileStat, ProbeAnswer, SmallLayer
from paddock.core.unknown import Unknown
from paddock.edges.state.database import Database
from paddock.errors import InvalidGguf


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
        facts = None if record.facts is None else record.facts.to_json()
        row = (*_row(stat), record.digest, facts, record.verified, record.sample, record.path)
        self.write("INSERT OR REPLACE INTO files VALUES (?,?,?,?,?,?,?,?,?,?)", [row])

    def probes(self) -> Mapping[Digest, ProbeAnswer]:
        """Ollama's answers to probes, as they are now."""
        return dict(self._probes)

    def remember_probe(self, key: Digest, answer: ProbeAnswer) -> None:
        """Keep Ollama's answer to a probe."""
        self._probes[key] = answer
        row = (key, json.dumps(_answer_to_json(answer)))
        self.write("INSERT OR REPLACE INTO probes VALUES (?,?)", [row])

    def _keep(self, record: FileRecord) -> None:
        self._files[record.stat.device, record.stat.inode] = record
        if record.path is not None:
            self._paths[record.path] = record

    def _load(self) -> None:
        for device, inode, size, mtime, ctime, digest, facts, verified, sample, path in self.rows(
            "files"
        ):
            stat = FileStat(device, inode, size, mtime, ctime)
            with contextlib.suppress(InvalidGguf):  # facts of an older format are read anew
                parsed = None if facts is None else Facts.from_json(facts)
                self._keep(FileRecord(stat, digest, parsed, bool(verified), sample, path))
        for key, answer in self.rows("probes"):
            self._probes[Digest(key)] = _answer_from_json(json.loads(answer))


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
