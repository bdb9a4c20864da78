"""What the state machines see of a models folder and of a user's files, without Paddock's help.

Names are as Ollama shows them: `one`, `host/namespace/model:tag`. Scratch models of probes are
told apart. Only reads.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

LIBRARY = "registry.ollama.ai/library/"
SCRATCH = "paddock.invalid/"
MODEL = "application/vnd.ollama.image.model"


class Kept(NamedTuple):
    """What nobody but its owner may change of a file."""

    digest: str
    inode: int
    mode: int
    owner: tuple[int, int]
    mtime_ns: int


@dataclass(frozen=True)
class Seen:
    """The store before an apply: manifests, whose blobs are lost, and which names are Paddock's."""

    manifests: dict[str, bytes]
    lost: set[tuple[str, str]]
    owned: set[str]


class Store:
    """The models folder as it lies on the disk."""

    def __init__(self, models_dir: Path):
        self.root = models_dir

    def manifest(self, name: str) -> Path:
        path, _, tag = full_name(name).rpartition(":")
        return self.root / "manifests" / path / tag

    @property
    def manifests(self) -> dict[str, bytes]:
        """Every manifest but those of scratch models."""
        return {n: data for n, data in self._all.items() if not n.startswith(SCRATCH)}

    @property
    def scratch(self) -> set[str]:
        return {name for name in self._all if name.startswith(SCRATCH)}

    @property
    def _all(self) -> dict[str, bytes]:
        found = {}
        # Unlike Path.glob this one minds no folder that goes away meanwhile.
        for path in sorted(glob.glob("*/*/*/*", root_dir=self.root / "manifests")):  # noqa: PTH207
            folder, _, tag = path.rpartition("/")
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                content = (self.root / "manifests" / path).read_bytes()
                found[short_name(f"{folder}:{tag}")] = content
        return found

    @property
    def state(self) -> Path:
        return self.root / ".paddock" / "state.db"

    @property
    def owned(self) -> set[str]:
        """The names in the ledger, and those that bear marks, which a lost ledger is made of."""
        marked = {name for name, data in self.manifests.items() if self._is_marked(name, data)}
        return marked | (self._claimed() if self.state.exists() else set())

    def _claimed(self) -> set[str]:
        with contextlib.closing(sqlite3.connect(f"file:{self.state}?mode=ro", uri=True)) as db:
            try:
                rows = db.execute("SELECT name FROM owned").fetchall()
            except sqlite3.Error:  # it is damaged
                return set()
        return {short_name(name) for (name,) in rows}

    def _is_marked(self, name: str, data: bytes) -> bool:
        marks = parsed(data).get("annotations") or {}
        path = self.root / ".paddock" / "id"
        values = list(marks.values())
        return path.exists() and path.read_text() in values and full_name(name) in values

    @property
    def lost(self) -> set[tuple[str, str]]:
        """The blobs that are not there or cannot be read, with the names of their models."""
        return {pair for pair in self._needed if not self.blob(pair[1]).exists()}

    @property
    def missing(self) -> set[tuple[str, str]]:
        """The blobs of which not even a link is there, with the names of their models."""
        return {pair for pair in self._needed if not os.path.lexists(self.blob(pair[1]))}

    @property
    def _needed(self) -> set[tuple[str, str]]:
        found = self.manifests.items()
        return {(name, blob) for name, data in found for blob in blobs_of(parsed(data))}

    @property
    def ggufs(self) -> set[str]:
        """The blobs of which a manifest names a GGUF, by which Ollama reaches its runner."""
        found = map(parsed, self.manifests.values())
        return set().union(*map(self.ggufs_of, found))

    @staticmethod
    def ggufs_of(manifest: dict[str, Any]) -> set[str]:
        """The blobs of the GGUFs of a manifest."""
        layers = manifest.get("layers", ())
        return {_file(layer["digest"]) for layer in layers if layer.get("mediaType") == MODEL}

    @property
    def links(self) -> list[Path]:
        return sorted(path for path in (self.root / "blobs").glob("*") if path.is_symlink())

    def corrupt(self, models: Iterable[str]) -> set[str]:
        """The files, and the blobs of these models, whose content is not what their name says."""
        found = (self.root / "blobs").glob("sha256-" + "?" * 64)  # Ollama's own parts are shorter
        real = {path.name for path in found if not path.is_symlink()}
        named = {blob for name, blob in self._needed if name in models}
        return {name for name in real | named if f"sha256-{sha256_of(self.blob(name))}" != name}

    @property
    def temporary(self) -> list[Path]:
        """What no finished write leaves; but what is left of a pull, Ollama goes on with."""
        mine = list((self.root / ".paddock" / "tmp").glob("*"))
        named = (p for p in (self.root / "blobs").glob("*") if "-partial" not in p.name)
        strange = [path for path in named if not path.name.startswith("sha256-")]
        return [*mine, *strange, *(self.root / "manifests").glob("**/.*")]

    def blob(self, name: str) -> Path:
        return self.root / "blobs" / name

    def see(self) -> Seen:
        return Seen(self.manifests, self.lost, self.owned)


def full_name(name: str) -> str:
    """A name with all its parts."""
    path, tag = (name, "latest") if ":" not in name.rpartition("/")[2] else name.rsplit(":", 1)
    above = {1: LIBRARY, 2: "registry.ollama.ai/"}.get(path.count("/") + 1, "")
    return f"{above}{path}:{tag}"


def short_name(full: str) -> str:
    """A name as Ollama shows it, but for the tag `latest`."""
    return full.removeprefix(LIBRARY).removesuffix(":latest")


def parsed(data: bytes) -> dict[str, Any]:
    """A manifest; nothing where the bytes are none."""
    try:
        document = json.loads(data)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def blobs_of(manifest: dict[str, Any]) -> list[str]:
    """The file names of the blobs of a manifest."""
    parts = [manifest["config"], *manifest["layers"]] if manifest else []
    return [_file(part["digest"]) for part in parts]


def kept(path: Path) -> Kept:
    """What a file is now."""
    facts = path.stat()
    owner = (facts.st_uid, facts.st_gid)
    return Kept(sha256_of(path), facts.st_ino, facts.st_mode, owner, facts.st_mtime_ns)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _file(digest: str) -> str:
    return digest.replace(":", "-")
