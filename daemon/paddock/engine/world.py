"""World: the edges that one reconcile works with.

Opened once, by the service or a command; holds the store's lock when it is to be written.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import structlog

from paddock.core.desired import Desired
from paddock.core.names import Name
from paddock.core.unknown import Unknown
from paddock.edges.hub import cache_roots
from paddock.edges.lock import Holder, StoreLock
from paddock.edges.ollama import UNLOAD_S, Ollama
from paddock.edges.runners import Runners
from paddock.edges.sources import Rules
from paddock.edges.sources_reach import Reader
from paddock.edges.state import State, read_state, set_aside
from paddock.edges.store import Store
from paddock.engine.glance import Glances
from paddock.engine.progress import Board
from paddock.engine.slow import SlowLooks
from paddock.errors import StoreError

log = structlog.get_logger()

CLOSE_S = 1.0


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class World:
    """Ollama, its models folder, and what we remember of it. `lock` None: to be read only. An
    unload that has to wait for requests is waited for `patience_s` seconds; all is looked at once
    in `interval_s`, though polls of memory come between."""

    ollama: Ollama
    store: Store
    state: State
    lock: StoreLock | None = None
    progress: Board = field(default_factory=Board)
    hf_token: str | None = None
    rules: Rules = field(default_factory=Rules)
    slow: SlowLooks = field(default_factory=SlowLooks)
    runners: Runners = field(default_factory=Runners)
    patience_s: float = UNLOAD_S
    clock: Callable[[], datetime] = _utc_now
    interval_s: float = 30.0
    glances: Glances = field(default_factory=Glances)
    fresh_claims: set[Name] = field(default_factory=set)
    spelt: tuple[Desired, object, Desired] | None = None

    @classmethod
    def to_read(cls, url: str, models_dir: Path, roots: tuple[str, ...] = ()) -> Self:
        """A world in which nothing will be changed: no lock, no folder made."""
        store = Store(models_dir)
        state = read_state(store.state_dir)
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
            state = _usable_ledger(store)
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

    def keep_hold(self) -> None:
        """Take hold of the state folder anew, where somebody removed or replaced it under us: else
        another Paddock could hold the new one too, and the ledger could not be written. Raises
        StoreError, LockedError."""
        if self.lock is None or (self.lock.is_in_place and self.state.is_in_place):
            return
        self.store.check_exists()
        self.store.make_state_dir()
        if not self.lock.is_in_place:
            before, self.lock = self.lock, StoreLock(self.store.state_dir, self.lock.holder)
            before.release()
        self.state.reopen()
        _given(self.store, self.state)
        log.warning("state folder was replaced", path=str(self.store.state_dir))

    async def close(self) -> None:
        """Close all of it; the lock last. A models folder that does not answer is left: the kernel
        closes what a process had open there."""
        self.runners.close()
        await self.ollama.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.to_thread(self._leave_store), CLOSE_S)

    def _leave_store(self) -> None:
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
    """The ledger of a store, to be written; given to the store's owner. Raises StoreError."""
    return _given(store, _whole(State(store.state_dir, writable=True)))


def _usable_ledger(store: Store) -> State:
    """The ledger of a store that we hold; a damaged one is set aside, and a new one made."""
    try:
        return open_ledger(store)
    except StoreError as error:
        if error.reason != "LedgerCorrupt":
            raise
        kept = set_aside(store.state_dir, datetime.now(UTC))
        log.warning("ledger set aside", problem=error.message, kept_as=str(kept))
        what = f"{store.state_dir / 'state.db'} was damaged, and is kept as {kept.name}"
        damage = Unknown(error.reason, f"{what}; pauses and what was pulled are forgotten")
        return _given(store, State(store.state_dir, writable=True, damage=damage))


def _whole(state: State) -> State:
    """The same, once all of it was read."""
    try:
        state.ledger()
    except StoreError:
        state.close()
        raise
    return state


def _given(store: Store, state: State) -> State:
    for path in store.state_dir.iterdir():
        if path.name in _OURS:
            store.give_to_owner(path)
    return state


def this_process(since: str, file: str, socket: str | None) -> Holder:
    """How this process names itself in the lock."""
    return Holder(os.getpid(), since, file, socket)
