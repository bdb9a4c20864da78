"""The ledger: what is ours, and what people told us to remember.

Losing it loses no model: only the right to prune. What manifests say by their marks is learnt from
them (`rebuild`). Every claim is recorded before the first byte of what it claims is written.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

from paddock.core.digest import Digest, parse_digest
from paddock.core.manifest import Manifest, parse_manifest
from paddock.core.names import Name
from paddock.core.observed import Ledger, ManifestFile, Owned, Pulled
from paddock.core.ownership import marked
from paddock.core.tree_facts import Published, Thing
from paddock.core.unknown import Unknown
from paddock.edges.state.caches import Caches
from paddock.errors import StoreError, store_error, words

_ID_CHARS = 32
_ID = re.compile(rb"[0-9a-f]{32}")


class State(Caches):
    """The ledger and the caches of one store."""

    def __init__(self, folder: Path, *, writable: bool, damage: Unknown | None = None):
        super().__init__(folder, writable=writable, damage=damage)
        self._id_path = folder / "id"
        self._last: tuple[object, Ledger] | None = None
        self._scratch_in_use: frozenset[Name] = frozenset()
        if writable and self._store_id() is None:
            self._write_id()

    def reopen(self) -> None:
        """Go on in the file that is at the path now, or in a new one, which has everything to learn
        from the manifests. Raises StoreError."""
        super().reopen()
        if self._store_id() is None:
            self._write_id()

    def ledger(self) -> Ledger:
        """All that is ours; the same object for as long as nothing of it changes."""
        with self.explained():
            state = self._store_id(), self.damage, self.changes(), self._scratch_in_use
            if self._last is None or self._last[0] != state:
                self._last = state, self._ledger()
            return self._last[1]

    def _ledger(self) -> Ledger:
        return Ledger(
            store_id=self._store_id(),
            owned={Name.parse_api(n): Owned(g, bool(r)) for n, g, r in self.rows("owned")},
            pulled={Name.parse_api(r): _pulled(d, m) for r, d, m in self.rows("pulled")},
            scratch=frozenset(Name.parse_api(n) for (n,) in self.rows("scratch"))
            - self._scratch_in_use,
            scratch_in_use=self._scratch_in_use,
            blobs={parse_digest(d): Name.parse_api(n) for d, n in self.rows("blobs")},
            runners={parse_digest(m): parse_digest(g) for m, g in self.rows("runners")},
            withdrawn=frozenset(Name.parse_api(n) for (n,) in self.rows("withdrawn")),
            paused=frozenset(Name.parse_api(n) for (n,) in self.rows("paused")),
            published={
                path: Published(Thing.parse(thing), Name.parse_api(name))
                for path, thing, name in self.rows("published")
            },
            discovered={(f, p): Name.parse_api(n) for f, p, n in self.rows("discovered")},
            folders=dict(self.rows("folders")),
            damage=self.damage,
        )

    def rebuild(self, manifests: Mapping[Name, ManifestFile]) -> list[Name]:
        """Learn from the manifests what a lost ledger held, once for each new file; gives the names
        that bear our marks. Opened read-only it is learnt for the life of this process."""
        if next(self.rows("rebuild"), None) is None:
            return []
        found = marked(manifests, self._store_id())
        owned = [(name.full, manifest.generation) for name, manifest in found.items()]
        blobs = [(d, name.full) for name, m in found.items() for d in sorted(m.digests)]
        self.learn(
            [
                ("INSERT OR IGNORE INTO owned VALUES (?,?,1)", owned),
                ("INSERT OR IGNORE INTO blobs VALUES (?,?)", blobs),
                ("DELETE FROM rebuild WHERE pending = ?", [(1,)]),
            ]
        )
        return list(found)

    def _store_id(self) -> str | None:
        """The store's id; None where there is none that could be one. Raises StoreError."""
        if self._id_path.is_symlink() or not self._id_path.is_file():
            return None
        try:
            with self._id_path.open("rb") as file:
                content = file.read(_ID_CHARS + 1)
        except OSError as error:
            what = f"cannot read {self._id_path}: {words(error)}"
            raise StoreError(what, reason="LedgerUnreadable") from error
        return content.decode() if _ID.fullmatch(content) else None

    def _write_id(self) -> None:
        """Renamed into place: an id that was cut short by a full disk would mark nothing."""
        new = self._id_path.with_name("id.new")
        try:
            new.unlink(missing_ok=True)
            new.write_text(secrets.token_hex(_ID_CHARS // 2))
            new.replace(self._id_path)
        except OSError as error:
            raise store_error(self._id_path, error) from error

    def claim(self, names: Iterable[Name]) -> None:
        """Record names as ours, before the first byte of them is written."""
        rows = [(name.full,) for name in names]
        self.write("INSERT OR IGNORE INTO owned (name, generation) VALUES (?, 0)", rows)
        self.write("DELETE FROM withdrawn WHERE name = ?", rows)

    def adopt(self, names: Iterable[Name]) -> None:
        """Record names as ours to remove as well: somebody said so, or they are about to be made
        where there is nothing."""
        claimed = list(names)
        self.claim(claimed)
        rows = [(name.full,) for name in claimed]
        self.write("UPDATE owned SET rebuilt = 0 WHERE name = ?", rows)

    def disclaim(self, name: Name) -> None:
        """Forget a name that is gone."""
        self.write("DELETE FROM owned WHERE name = ?", [(name.full,)])
        self.write("DELETE FROM pulled WHERE reference = ?", [(name.full,)])

    def withdraw(self, name: Name) -> None:
        """Give up a name until its source is back."""
        self.write("INSERT OR IGNORE INTO withdrawn VALUES (?)", [(name.full,)])
        self.disclaim(name)

    def pause(self, name: Name) -> None:
        """Leave a model alone until it is resumed."""
        self.write("INSERT OR IGNORE INTO paused VALUES (?)", [(name.full,)])

    def resume(self, name: Name) -> None:
        """Care for a model again."""
        self.write("DELETE FROM paused WHERE name = ?", [(name.full,)])

    def record_discovered(
        self, names: Mapping[tuple[str, str], Name], devices: Mapping[str, int]
    ) -> None:
        """Record the names given to files, by folder and path in it, and the devices of folders."""
        rows = [(folder, path, name.full) for (folder, path), name in names.items()]
        if rows:
            self.write("INSERT OR REPLACE INTO discovered VALUES (?,?,?)", rows)
        if devices:
            self.write("INSERT OR REPLACE INTO folders VALUES (?,?)", list(devices.items()))

    def set_generation(self, name: Name, generation: int) -> None:
        """Record that the manifest of a name must be of this generation."""
        self.write("UPDATE owned SET generation = ? WHERE name = ?", [(generation, name.full)])

    def record_pull(self, reference: Name, digest: Digest, manifest: Manifest) -> None:
        """Keep the manifest that a registry gave."""
        row = (reference.full, digest, manifest.encode())
        self.write("INSERT OR REPLACE INTO pulled VALUES (?,?,?)", [row])

    def record_blob(self, digest: Digest, name: Name) -> None:
        """Record a blob as ours, before it is made."""
        self.write("INSERT OR IGNORE INTO blobs VALUES (?,?)", [(digest, name.full)])

    def forget_blob(self, digest: Digest) -> None:
        """Forget a blob that is gone."""
        self.write("DELETE FROM blobs WHERE digest = ?", [(digest,)])

    def record_runner(self, manifest: Digest, model: Digest) -> None:
        """Keep which GGUF a manifest names, for runners that outlive it."""
        self.write("INSERT OR REPLACE INTO runners VALUES (?,?)", [(manifest, model)])

    def record_published(self, path: str, thing: Thing, name: Name) -> None:
        """Record what we make at a path of a publish tree, before it is made."""
        row = (path, str(thing), name.full)
        self.write("INSERT OR REPLACE INTO published VALUES (?,?,?)", [row])

    def forget_published(self, path: str, thing: Thing) -> None:
        """Forget what was ours at a path of a publish tree; not what has been made there since."""
        row = (path, str(thing))
        self.write("DELETE FROM published WHERE path = ? AND target = ?", [row])

    def record_scratch(self, name: Name) -> None:
        """Record a scratch model, before it is asked for. Until it is released it is not listed: it
        is no leftover."""
        self._scratch_in_use |= {name}
        self.write("INSERT OR IGNORE INTO scratch VALUES (?)", [(name.full,)])

    def release_scratch(self, name: Name) -> None:
        """A scratch model is not used any more: what is there of it is a leftover."""
        self._scratch_in_use -= {name}

    def forget_scratch(self, name: Name) -> None:
        """Forget a scratch model that is gone."""
        self.write("DELETE FROM scratch WHERE name = ?", [(name.full,)])


def _pulled(digest: str, manifest: bytes) -> Pulled:
    return Pulled(parse_digest(digest), parse_manifest(manifest))


def read_state(folder: Path) -> State:
    """The ledger and the caches to be read only; where they are damaged, without them. Raises
    StoreError."""
    state: State | None = None
    try:
        state = State(folder, writable=False)
        state.ledger()
    except StoreError as error:
        if state is not None:
            state.close()
        if error.reason != "LedgerCorrupt":
            raise
        return State(folder, writable=False, damage=Unknown(error.reason, error.message))
    return state
