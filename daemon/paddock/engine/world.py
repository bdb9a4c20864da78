"""World: the edges that one reconcile works with.

Opened once, by the service or a command; holds the store's lock when it is to be written.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from paddock.edges.hub import cache_roots
from paddock.edges.lock import Holder, StoreLock
from paddock.edges.ollama import Ollama
from paddock.edges.sources import Rules
from paddock.edges.sources_reach import Reader
from paddock.edges.state import State
from paddock.edges.store import Store
from paddock.engine.progress import Board


@dataclass(slots=True)
class World:
    """Ollama, its models folder, and what we remember of it. `lock` None: to be read only."""

    ollama: Ollama
    store: Store
    state: State
    lock: StoreLock | None = None
    progress: Board = field(default_factory=Board)
    hf_token: str | None = None
    rules: Rules = field(default_factory=Rules)

    @classmethod
    def to_read(cls, url: str, models_dir: Path, roots: tuple[str, ...] = ()) -> Self:
        """A world in which nothing will be changed: no lock, no folder made."""
        store = Store(models_dir)
        state = State(store.state_dir, writable=False)
        return cls(Ollama(url), store, state, rules=rules_of(store, roots))

    @classmethod
    def to_write(
        cls, url: str, models_dir: Path, holder: Holder, roots: tuple[str, ...] = ()
    ) -> Self:
        """A world of our own. Raises StoreError where we may not write, LockedError where another
        Paddock does."""
        store = Store(models_dir)
        store.check_writable()
        store.make_state_dir()
        lock = StoreLock(store.state_dir, holder)
        try:
            store.clear_leftovers()
            state = open_ledger(store)
        except BaseException:
            lock.release()
            raise
        return cls(Ollama(url), store, state, lock, rules=rules_of(store, roots))

    @property
    def hub_cache(self) -> Path:
        """Where downloads from the Hugging Face Hub lie."""
        return self.store.state_dir / "hf"

    @property
    def hub_roots(self) -> tuple[Path, ...]:
        """Every cache of that hub, our own last."""
        return (*cache_roots(os.environ), self.hub_cache)

    async def close(self) -> None:
        """Close all of it; the lock last."""
        await self.ollama.close()
        self.state.close()
        if self.lock is not None:
            self.lock.release()


def rules_of(store: Store, roots: tuple[str, ...]) -> Rules:
    """What sources have to keep to. Ollama's user is the owner of its store, unless it is ours."""
    owner = store.root.stat().st_uid if store.root.is_dir() else os.geteuid()
    reader = None if owner == os.geteuid() else Reader.of(owner)
    return Rules(roots, str(store.root), reader)


# What may lie in the state folder and is made by whoever opens the ledger.
_OURS = frozenset({"id", "lock", "state.db", "state.db-journal", "tmp"})


def open_ledger(store: Store) -> State:
    """The ledger of a store, to be written; given to the store's owner."""
    state = State(store.state_dir, writable=True)
    for path in store.state_dir.iterdir():
        if path.name in _OURS:
            store.give_to_owner(path)
    return state


def this_process(since: str, file: str, socket: str | None) -> Holder:
    """How this process names itself in the lock."""
    return Holder(os.getpid(), since, file, socket)
