"""Readiness: whether a declared model can be served this moment.

Owns the check that stands before every chat: what the last cycle said of the model, and a look at
the file behind its link. What was hashed is the only thing that is served: a file of another size,
inode or time is another file until it was hashed again. A look costs two system calls, inline where
the file system cannot hang, else in a thread with a limit.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from paddock.core.conditions import ModelStatus, Status, condition
from paddock.core.desired import Desired, DesiredModel, FromFile, FromHub
from paddock.core.digest import Digest
from paddock.core.names import Name
from paddock.core.observed import FileStat
from paddock.edges.mounts import is_remote, mounts
from paddock.edges.state import State
from paddock.engine.look import carried_over
from paddock.engine.loop import Loop
from paddock.engine.world import World

SLOW_LOOK_S = 2.0
MOUNTS_S = 10.0
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})

# Reason and message.
Trouble: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Link:
    """The blob of a model. `hashed` None: a file that is not ours to judge, so only its presence
    counts; else the cache that says in what state the file was hashed."""

    model: str
    path: str
    digest: Digest
    hashed: State | None
    is_local: bool
    world: World | None = None

    def check(self) -> Trouble | None:
        """Looks at the file; None: it is the one that was hashed."""
        try:
            found = os.stat(self.path)  # noqa: PTH116 - a Path costs as much as the call
        except OSError as error:
            # What cannot be told changes nothing: Ollama may have the file in memory.
            return self._missing() if error.errno in _GONE else None
        if self.hashed is None:
            return None
        record = self.hashed.file(_stat(found))
        if record is None or record.digest != self.digest:
            return "SourceChanged", f"{self.model}: its file has changed; it is being hashed again"
        return None

    async def check_slowly(self) -> Trouble | None:
        """Looks at the file where a look may hang; one that takes too long says nothing."""
        try:
            async with asyncio.timeout(SLOW_LOOK_S):
                return await asyncio.to_thread(self.check)
        except TimeoutError:
            return None

    async def is_only_touched(self) -> bool:
        """Whether a file that is not as it was hashed has other times only, as samples of it tell:
        nothing waits for the next cycle then."""
        if self.world is None:
            return False
        try:
            async with asyncio.timeout(SLOW_LOOK_S):
                return await asyncio.to_thread(self._sample, self.world)
        except TimeoutError:
            return False

    def _sample(self, world: World) -> bool:
        try:
            real_path = os.path.realpath(self.path, strict=True)
            stat = _stat(os.stat(real_path))  # noqa: PTH116
        except OSError:
            return False
        record = carried_over(world, real_path, stat)
        return record is not None and record.digest == self.digest

    def _missing(self) -> Trouble:
        return "LinkBroken", f"{self.model}: its file is missing; it is being repaired"


@dataclass(frozen=True, slots=True)
class Found:
    """A declared model: what the last cycle has against it, and else the links to check.
    `suspended`: it is served as the store has it. `stalled`: what a person has to mend first."""

    model: DesiredModel
    trouble: Trouble | None
    links: tuple[Link, ...] = ()
    suspended: bool = False
    stalled: Trouble | None = None

    async def check(self) -> Trouble | None:
        """What a look at its files has against it, one after the other."""
        for link in self.links:
            trouble = link.check() if link.is_local else await link.check_slowly()
            if trouble is not None and not await link.is_only_touched():
                return self.stalled or trouble
        return None


class Readiness:
    """The declared models by name, as the last status has them; made anew with each status."""

    def __init__(self, loop: Loop, world: World) -> None:
        self._loop = loop
        self._world = world
        self._desired: Desired | None = None
        self._status: Status | None = None
        self._models: Mapping[Name, DesiredModel] = {}
        self._statuses: Mapping[str, ModelStatus] = {}
        self._linked: frozenset[Digest] = frozenset()
        self._files: Mapping[Name, tuple[Digest, ...]] = {}
        self._of_files: list[Name] = []
        self._mounts: Mapping[str, str] = {}
        self._mounts_at_s = -math.inf
        self._found: dict[Name, Found | None] = {}

    def find(self, name: Name) -> Found | None:
        """A declared model by a name in any case; None where it is not declared."""
        if self._loop.wanted.now is not self._desired or self._loop.status is not self._status:
            self._index(self._loop.wanted.now, self._loop.status)
        if name not in self._found:
            if len(self._found) > 2 * len(self._models) + 1024:
                self._found.clear()  # names are a client's to invent
            model = self._models.get(name.folded)
            self._found[name] = None if model is None else self._look_up(model)
        return self._found[name]

    def _index(self, desired: Desired, status: Status) -> None:
        if desired is not self._desired:
            self._models = {name.folded: model for name, model in desired.models.items()}
            self._of_files = [
                model.name
                for model in desired.models.values()
                if isinstance(model.source, FromFile | FromHub)
            ]
        self._desired, self._status = desired, status
        self._statuses = {model.name: model for model in status.models}
        self._files = {} if self._loop.plan is None else self._loop.plan.files
        found = (self._files.get(name) or self._known(name) for name in self._of_files)
        self._linked = frozenset(itertools.chain.from_iterable(found))
        if time.monotonic() - self._mounts_at_s > MOUNTS_S:
            self._mounts, self._mounts_at_s = mounts(), time.monotonic()
        self._found = {}

    def _known(self, name: Name) -> tuple[Digest, ...]:
        """What a model that is not planned now, such as a blocked one, was made of."""
        status = self._statuses.get(name.display)
        return () if status is None or status.digest is None else (status.digest,)

    def _look_up(self, model: DesiredModel) -> Found:
        status = self._statuses.get(model.name.display)
        if status is not None and status.suspended:
            return Found(model, None, suspended=True)
        if status is None or status.digest is None:
            return Found(model, ("NotReady", f"{model.name} is being made"))
        current = condition(status.conditions, "ManifestCurrent")
        if current.status == "False":
            what = f"{model.name} is being made: {current.message}"
            return Found(model, (current.reason, what))
        digests = self._files.get(model.name, (status.digest,))
        links = tuple(self._link(model, digest) for digest in digests)
        stalled = condition(status.conditions, "Stalled")
        told = (stalled.reason, f"{model.name}: {stalled.message}")
        return Found(model, None, links, stalled=told if stalled.status == "True" else None)

    def _link(self, model: DesiredModel, digest: Digest) -> Link:
        path = str(self._world.store.blob_path(digest))
        try:
            target = str(Path(path).readlink())
        except OSError:
            target = ""  # a file of the store's own, or nothing
        ours = bool(target) and digest in self._linked
        paths = [at for at in (path, target) if at]
        return Link(
            model=str(model.name),
            path=path,
            digest=digest,
            hashed=self._world.state if ours else None,
            world=self._world if ours else None,
            is_local=not any(is_remote(at, self._mounts) for at in paths),
        )


def _stat(found: os.stat_result) -> FileStat:
    return FileStat(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
