"""Folders of models: looked at, and what is desired with the models in them.

Reads names, sizes and times of the user's folders; headers come later, with the sources. What was
found out is recorded before the first claim, and not here. A walk that takes long, or never ends,
goes on beside the cycles.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

import structlog

from paddock.core.desired import Desired, Discover, LeftOut
from paddock.core.discover import Discovered, Looked, Remembered, with_discovered
from paddock.core.discover_scan import Scan
from paddock.core.observed import Known, Ledger, Unknown
from paddock.edges import folders
from paddock.edges.mounts import mounts, way
from paddock.engine.slow import WALK_S
from paddock.engine.world import World
from paddock.errors import PaddockError, shown

log = structlog.get_logger()

# A cold disk may take its time, and does not hang.
LOCAL_WALK_S = 120.0


def look_at_folders(world: World, wish: Desired, ledger: Known[Ledger]) -> Discovered:
    """The wish with every GGUF in it that lies in a folder of its discover."""
    if not wish.discover:
        return Discovered(wish, {})
    remembered, mounted = Remembered(), mounts()
    if not isinstance(ledger, Unknown):
        remembered = Remembered(ledger.discovered, ledger.folders)
    return with_discovered(
        wish,
        [look for entry in wish.discover for look in _looks(world, entry, mounted)],
        remembered,
        declared=frozenset(_real_paths(world, wish.files, mounted)),
        store=os.path.realpath(world.store.root),
    )


class Wanted:
    """What is desired with the models that lie in folders, for those who must know it between the
    cycles: access to a model that was found has rules too. One object while it is the same."""

    def __init__(self, world: World, wish: Desired):
        self._world = world
        self._told: frozenset[LeftOut] = frozenset()
        self.now = wish
        self.look(wish)

    def look(self, wish: Desired) -> None:
        """Look at the folders of another wish."""
        if wish.discover:
            wish = look_at_folders(self._world, wish, _ledger(self._world)).desired
        self.now = wish

    def saw(self, desired: Desired) -> None:
        """Take what a cycle saw, and log what is left out of it, once."""
        if desired.models != self.now.models:
            self.now = desired
        left = frozenset(desired.found.notes)
        for out in sorted(left - self._told, key=lambda out: out.path):
            log.info("left out of discover", path=out.path, reason=out.reason, why=out.message)
        self._told = left


def _ledger(world: World) -> Known[Ledger]:
    try:
        return world.state.ledger()
    except PaddockError as error:
        return Unknown(error.reason, error.message)


def folders_of(entry: Discover) -> tuple[str, ...]:
    """The folders that an entry means: the one that it names, or those of its layout's program."""
    if entry.path is not None:
        return (entry.path,)
    return folders.default_folders(entry.layout, os.environ, Path.home())


def folders_to_watch(wish: Desired) -> set[Path]:
    """The folders in which files may come and go."""
    return {Path(folder) for entry in wish.discover for folder in folders_of(entry)}


def _looks(world: World, entry: Discover, mounted: Mapping[str, str]) -> Iterator[Looked]:
    for folder in folders_of(entry):
        found = _scan(world, entry, folder, mounted)
        yield Looked(entry, folder, found, assumed=entry.path is None)


def _scan(world: World, entry: Discover, folder: str, mounted: Mapping[str, str]) -> Known[Scan]:
    """What lies in a folder. A local one is walked apart too, for links in it may lead anywhere."""
    limit_s = LOCAL_WALK_S if way(folder, mounted).remote is None else WALK_S
    try:
        return world.slow.walk(
            (folder, entry.layout), partial(folders.look, folder, entry.layout), limit_s
        )
    except TimeoutError:
        what = f"{shown(folder)} was not looked through within {limit_s:g} s"
        return Unknown("FolderTimeout", f"{what}; see what is mounted there")


def _real_paths(world: World, files: Iterable[str], mounted: Mapping[str, str]) -> Iterator[str]:
    """The files as they are written, and what they lead to where that can be told."""
    plain = set[str]()
    for file in files:
        yield file
        remote = way(file, mounted, plain).remote
        if remote is None:
            yield os.path.realpath(file)
            continue
        with contextlib.suppress(TimeoutError):
            yield world.slow.run(remote, partial(os.path.realpath, file))
