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
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from paddock.core.conditions import ModelStatus, Status, condition
from paddock.core.desired import Desired, DesiredModel, FromFile, FromHub, FromModel
from paddock.core.digest import Digest
from paddock.core.names import Name
from paddock.edges.mounts import remote_mount
from paddock.edges.sources import state_of
from paddock.edges.state import State
from paddock.engine.look import carried_over
from paddock.engine.loop import Loop
from paddock.engine.slow import SlowLooks
from paddock.engine.world import World
from paddock.host.mounted import Mounted

SLOW_LOOK_S = 2.0
LINK_BROKEN = "LinkBroken"
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})

# Reason and message.
Trouble: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Link:
    """The blob of a model. `hashed` None: a file that is not ours to judge, so only its presence
    counts; else the cache that says in what state the file was hashed. `remote` is the mount where
    a look may hang, for `slow` to bound; None: none can."""

    model: str
    path: str
    digest: Digest
    hashed: State | None
    remote: str | None
    slow: SlowLooks
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
        record = self.hashed.file(state_of(found))
        if record is None or record.digest != self.digest:
            return "SourceChanged", f"{self.model}: its file has changed; it is being hashed again"
        return None

    async def check_slowly(self) -> Trouble | None:
        """Looks at the file where a look may hang; one that takes too long says nothing."""
        try:
            return await asyncio.to_thread(self.slow.run, self.remote or "", self.check)
        except TimeoutError:
            return None

    async def is_only_touched(self) -> bool:
        """Whether a file that is not as it was hashed has other times only, as samples of it tell:
        nothing waits for the next cycle then."""
        if self.world is None:
            return False
        sample = partial(self._sample, self.world)
        try:
            async with asyncio.timeout(SLOW_LOOK_S):
                if self.remote is None:
                    return await asyncio.to_thread(sample)
                return await asyncio.to_thread(self.slow.run, self.remote, sample)
        except TimeoutError:
            return False

    def _sample(self, world: World) -> bool:
        try:
            real_path = os.path.realpath(self.path, strict=True)
            stat = state_of(os.stat(real_path))  # noqa: PTH116
        except OSError:
            return False
        # A cycle may have looked at it meanwhile.
        record = world.state.file(stat) or carried_over(world, real_path, stat)
        return record is not None and record.digest == self.digest

    def _missing(self) -> Trouble:
        return LINK_BROKEN, f"{self.model}: its file is missing; it is being repaired"


@dataclass(frozen=True, slots=True)
class Found:
    """A declared model: what the last cycle has against it, and else the links to check.
    `suspended`: it is served as the store has it. `stalled`: what a person has to mend first.
    `loaded`: memory held it at the last look."""

    model: DesiredModel
    trouble: Trouble | None
    links: tuple[Link, ...] = ()
    suspended: bool = False
    stalled: Trouble | None = None
    loaded: bool = False

    async def check(self) -> Trouble | None:
        """What a look at its files has against it, one after the other."""
        for link in self.links:
            trouble = link.check() if link.remote is None else await link.check_slowly()
            if trouble is not None and not await link.is_only_touched():
                return self.stalled or trouble
        return None


class Readiness:
    """The declared models by name, as the last status has them. Of a new status only what is asked
    for is looked up: a request that comes just then does not pay for all the others."""

    def __init__(self, loop: Loop, world: World) -> None:
        self._loop = loop
        self._world = world
        self._mounted = Mounted()
        self._desired: Desired | None = None
        self._status: Status | None = None
        self._places: Mapping[Name, tuple[DesiredModel, int]] = {}
        self._statuses: Mapping[str, ModelStatus] | None = None
        self._linked: frozenset[Digest] | None = None
        self._files: Mapping[Name, tuple[Digest, ...]] = {}
        self._found: dict[Name, Found | None] = {}

    def find(self, name: Name) -> Found | None:
        """A declared model by a name in any case; None where it is not declared."""
        desired, status = self._loop.wanted.now, self._loop.status
        if desired is not self._desired or status is not self._status:
            self._begin(desired, status)
        if name not in self._found:
            if len(self._found) > 2 * len(self._places) + 1024:
                self._found.clear()  # names are a client's to invent
            place = self._places.get(name.folded)
            self._found[name] = None if place is None else self._look_up(*place)
        return self._found[name]

    def _begin(self, desired: Desired, status: Status) -> None:
        if desired is not self._desired:
            models = sorted(desired.models.items())
            self._places = {name.folded: (model, n) for n, (name, model) in enumerate(models)}
        self._desired, self._status = desired, status
        self._files = {} if self._loop.plan is None else self._loop.plan.files
        self._statuses = self._linked = None
        self._found = {}

    def _status_of(self, model: DesiredModel, place: int) -> ModelStatus | None:
        """A status has the models in the order of their names, if it is of the same file."""
        assert self._status is not None
        name, models = model.name.display, self._status.models
        if place < len(models) and models[place].name == name:
            return models[place]
        if self._statuses is None:
            self._statuses = {status.name: status for status in models}
        return self._statuses.get(name)

    def _look_up(self, model: DesiredModel, place: int) -> Found:
        status = self._status_of(model, place)
        if status is not None and status.suspended:
            return Found(model, None, suspended=True)
        if status is None or status.digest is None:
            return Found(model, self._away() or ("NotReady", f"{model.name} is being made"))
        current = condition(status.conditions, "ManifestCurrent")
        if current.status == "False":
            what = f"{model.name} is being made: {current.message}"
            return Found(model, (current.reason, what))
        digests = self._files.get(model.name, (status.digest,))
        links = tuple(self._link(model, digest) for digest in digests)
        stalled = condition(status.conditions, "Stalled")
        told = (stalled.reason, f"{model.name}: {stalled.message}")
        is_stalled = stalled.status == "True"
        return Found(model, None, links, stalled=told if is_stalled else None, loaded=status.loaded)

    def _away(self) -> Trouble | None:
        """Why nothing can be made at present, where Ollama is what is missing."""
        assert self._status is not None
        told = (found for found in self._status.conditions if found.type == "OllamaReachable")
        return next(((c.reason, c.message) for c in told if c.status == "False"), None)

    def _link(self, model: DesiredModel, digest: Digest) -> Link:
        path = str(self._world.store.blob_path(digest))
        try:
            target = str(Path(path).readlink())
        except OSError:
            target = ""  # a file of the store's own, or nothing
        ours = bool(target) and self._is_linked(model, digest)
        table = self._mounted.table()
        mounts = (remote_mount(at, table) for at in (path, target) if at)
        return Link(
            model=str(model.name),
            path=path,
            digest=digest,
            hashed=self._world.state if ours else None,
            world=self._world if ours else None,
            remote=next((at for at in mounts if at is not None), None),
            slow=self._world.slow,
        )

    def _is_linked(self, model: DesiredModel, digest: Digest) -> bool:
        """Whether a file that we hash stands behind a digest: of this model or of any other."""
        if isinstance(model.source, FromFile | FromHub):
            return True
        if isinstance(model.source, FromModel) and digest in self._of_base(model.source.base):
            return True
        if self._linked is None:
            of_files = (
                self._files.get(other.name) or self._known(other, place)
                for other, place in self._places.values()
                if isinstance(other.source, FromFile | FromHub)
            )
            self._linked = frozenset(itertools.chain.from_iterable(of_files))
        return digest in self._linked

    def _of_base(self, base: Name) -> tuple[Digest, ...]:
        place = self._places.get(base.folded)
        if place is None or not isinstance(place[0].source, FromFile | FromHub):
            return ()
        return self._files.get(place[0].name, ())

    def _known(self, model: DesiredModel, place: int) -> tuple[Digest, ...]:
        """What a model that is not planned now, such as a blocked one, was made of."""
        status = self._status_of(model, place)
        return () if status is None or status.digest is None else (status.digest,)
