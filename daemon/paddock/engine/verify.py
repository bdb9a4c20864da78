"""Verify: the files of a store, hashed as fast as the cores can, and mended where that is asked.

Reading changes nothing. Repair removes a blob of ours whose content is wrong, or remembers what a
file holds now; the cycle after it does the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence

from paddock.core.desired import Desired, FromRegistry, State
from paddock.core.digest import Digest
from paddock.core.names import Name
from paddock.core.observed import Blob, Ledger, ManifestFile, SourceMissing, Unknown
from paddock.core.verify import (
    Finding,
    Hashed,
    Reading,
    Repair,
    Subject,
    Unread,
    broken_manifests,
    judge,
    subjects,
)
from paddock.edges import sources
from paddock.edges.state import FileRecord
from paddock.edges.state import State as Remembered
from paddock.edges.store import Store
from paddock.engine.residency import unload
from paddock.engine.world import World
from paddock.errors import OllamaError, SourceError

TELL_S = 0.25

Tell = Callable[[int, int], None]


async def verify(
    store: Store, state: Remembered, names: frozenset[Name] | None, tell: Tell
) -> list[Finding]:
    """How every file stands that the named models need, or that there is. `tell` is given the bytes
    read and the bytes in all, a few times a second. Cancelled, it stops within a step of a hash."""
    manifests, blobs, ledger = await asyncio.to_thread(_look, store, state)
    needed = {d for f in manifests.values() if f.manifest for d in f.manifest.digests}
    paths = {digest: str(store.blob_path(digest)) for digest in blobs.keys() | needed}
    asked = subjects(manifests, blobs, paths, names)
    readings = await _Hashing(state, tell).run(asked)
    files = {name: str(store.manifest_path(name)) for name in manifests}
    found = broken_manifests(manifests, files, names)
    found += [judge(s, r, ledger, manifests) for s, r in zip(asked, readings, strict=True)]
    return sorted(found, key=lambda finding: (finding.models[:1] or (), -finding.size_bytes))


def _look(
    store: Store, state: Remembered
) -> tuple[dict[Name, ManifestFile], dict[Digest, Blob], Ledger]:
    return store.manifests(), store.blobs(), state.ledger()


class _Hashing:
    """One pass over the files, as many at a time as there are cores."""

    def __init__(self, state: Remembered, tell: Tell):
        self._state = state
        self._tell = tell
        self._done: dict[Digest, int] = {}
        self._stop = threading.Event()
        self._at_once = asyncio.Semaphore(len(os.sched_getaffinity(0)))

    async def run(self, asked: Sequence[Subject]) -> list[Reading]:
        """What each file holds, in the order asked."""
        total = sum(subject.size_bytes for subject in asked)
        tasks = [asyncio.ensure_future(self._one(subject)) for subject in asked]
        try:
            pending: set[asyncio.Future[Reading]] = set(tasks)
            while pending:
                _, pending = await asyncio.wait(pending, timeout=TELL_S)
                self._tell(min(sum(self._done.values()), total), total)
            return [task.result() for task in tasks]
        finally:
            self._stop.set()
            for task in tasks:
                task.cancel()

    async def _one(self, subject: Subject) -> Reading:
        async with self._at_once:
            return await asyncio.to_thread(self._read, subject)

    def _read(self, subject: Subject) -> Reading:
        found = sources.look(subject.path)
        match found:
            case SourceMissing():
                what = (
                    "the blob is not there" if subject.target is None else "its file is not there"
                )
                return Unread(what, gone=True)
            case Unknown(message=message):
                return Unread(message, gone=False)
            case (real_path, _):
                return self._hash(subject, real_path)

    def _hash(self, subject: Subject, real_path: str) -> Reading:
        def progress(done_bytes: int) -> None:
            self._done[subject.digest] = done_bytes

        try:
            digest, stat = sources.hash_file(
                real_path, progress=progress, stopped=self._stop.is_set
            )
        except SourceError as error:
            return Unread(error.message, gone=error.reason == "SourceMissing")
        except OSError as error:
            return Unread(f"{real_path}: {(error.strerror or str(error)).lower()}", gone=False)
        record = self._state.file(stat)
        return Hashed(digest, stat, None if record is None else record.digest)


async def repair(world: World, findings: Sequence[Finding], desired: Desired) -> list[Finding]:
    """Do what a cycle cannot know by itself, for models that it will make anew; gives what was
    mended. Raises OllamaUnreachable before anything is done."""
    await world.ollama.version()
    made = {name.folded for name in _made(desired)}
    asked = [f for f in findings if f.repair and {name.folded for name in f.models} <= made]
    await _unload(world, {name for finding in asked for name in finding.models})
    return [finding for finding in asked if await asyncio.to_thread(_mend, world, finding)]


def _made(desired: Desired) -> Iterator[Name]:
    """The names that a cycle cares for: the declared ones, and what they are pulled under."""
    for model in desired.models.values():
        if model.state is State.PRESENT:
            yield model.name
            if isinstance(model.source, FromRegistry):
                yield model.source.reference


async def _unload(world: World, names: set[Name]) -> None:
    """What is in memory was read from the wrong bytes."""
    with contextlib.suppress(OllamaError):
        for running in await world.ollama.running():
            if running.name in names:
                await unload(world, running.name, running.manifest_digest)


def _mend(world: World, finding: Finding) -> bool:
    if finding.repair is not Repair.FOLLOW:
        assert finding.digest is not None
        return world.store.remove_corrupt_blob(finding.digest)
    if finding.stat is None:
        return False
    # What is remembered of this state is wrong: the next cycle hashes the file again.
    world.state.remember_file(FileRecord(finding.stat, None, None))
    return True
