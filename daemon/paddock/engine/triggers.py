"""Triggers: what wakes the loop. A wake-up carries nothing; the cycle looks for itself.

Watches the entries of folders that decide what files are (as written, each link on the way, where
it ends), folders of which every entry counts, and whole trees. Bursts collapse. What cannot be
watched is left to the loop's poll, and said so.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from paddock.core.discover_files import is_half_written
from paddock.edges.mounts import mounts, remote_mount, way
from paddock.edges.watching import Change, Matters, Scope, changes

log = structlog.get_logger()

LOOK_AGAIN_S = 10.0
TRY_AGAIN_S = 60.0
GAP_S, MOST_GAP_S, QUIET_S = 0.1, 2.0, 1.0

_LIMITS = frozenset({errno.ENOSPC, errno.EMFILE, errno.ENFILE})


class Bell:
    """Wakes the loop for changes of files: at once after a quiet time, and the more seldom the
    longer they go on. Changes while it waits are one."""

    def __init__(self, wake: asyncio.Event, *, most_gap_s: float = MOST_GAP_S):
        self._wake = wake
        self._most_gap_s = most_gap_s
        self._gap_s = GAP_S
        self._free_at_s = 0.0

    async def ring(self) -> None:
        """Wake the loop, now or when the gap since the last time has passed."""
        late_s = time.monotonic() - self._free_at_s
        self._gap_s = GAP_S if late_s > QUIET_S else min(2 * self._gap_s, self._most_gap_s)
        if late_s < 0:
            await asyncio.sleep(-late_s)
        self._wake.set()
        self._free_at_s = time.monotonic() + self._gap_s


@dataclass(frozen=True, slots=True)
class Watched:
    """What is watched: `entries` of folders, by their paths, folders `whole`, with every entry of
    theirs, those of `blobs`, that come or go, and `trees`, with all below. `unwatched` says of
    paths why they are not."""

    entries: frozenset[str] = frozenset()
    whole: frozenset[str] = frozenset()
    blobs: frozenset[str] = frozenset()
    trees: frozenset[str] = frozenset()
    unwatched: Mapping[str, str] = field(default_factory=dict)
    folders: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        holding = frozenset(map(os.path.dirname, self.entries))
        object.__setattr__(self, "folders", self.trees or holding | self.whole | self.blobs)

    def matters(self, change: Change, path: str) -> bool:
        """Whether a change of this path can change what is found."""
        folder, name = os.path.split(path)
        if path in self.entries or path in self.folders:
            return True
        if folder in self.blobs:
            return comes_or_goes(change, path) and "-partial" not in name
        return folder in self.whole and is_kept(change, name)


def is_kept(_: Change, path: str) -> bool:
    """Editors' swap files wake nobody."""
    name = os.path.basename(path)  # noqa: PTH119 - of text
    return not name.endswith((".swp", ".swx", "~")) and name != "4913"


def comes_or_goes(change: Change, path: str) -> bool:
    """Files that grow, as downloads do, wake nobody before they are whole."""
    return change is not Change.MODIFIED and not is_half_written(path)


def watched_blobs(folder: Path) -> Watched:
    """What to watch for the blobs of a store. Not as a tree: for that each link is followed."""
    found = watched_trees([folder])
    return Watched(blobs=found.trees, unwatched=found.unwatched)


def watched_files(files: Iterable[Path], places: Iterable[Path] = ()) -> Watched:
    """What to watch for files, and for folders of which every entry counts; of `places` only
    whether they come, go or lead elsewhere. Asks local file systems alone."""
    entries, whole, unwatched, mounted = set[str](), set[str](), dict[str, str](), mounts()
    plain = set[str]()
    for path in (str(file.absolute()) for file in files):
        found = way(path, mounted, plain)
        entries.update(found.entries)
        if found.remote is not None:
            unwatched[path] = _unseen(found.remote, mounted)
        elif os.path.isdir(found.entries[-1]):  # noqa: PTH112
            whole.add(found.entries[-1])
    for place in places:
        entries.update(way(str(place.absolute()), mounted).entries)
    return Watched(frozenset(entries), frozenset(whole), unwatched=unwatched)


def watched_trees(folders: Iterable[Path]) -> Watched:
    """What to watch for trees: those that are there, where they can be watched."""
    trees, unwatched, mounted = set[str](), dict[str, str](), mounts()
    for path in (str(folder.absolute()) for folder in folders):
        found = way(path, mounted)
        if found.remote is not None:
            unwatched[path] = _unseen(found.remote, mounted)
        elif os.path.isdir(found.entries[-1]):  # noqa: PTH112
            trees.add(found.entries[-1])
    return Watched(trees=frozenset(trees), unwatched=unwatched)


def _unseen(mount: str, mounted: Mapping[str, str]) -> str:
    kind = mounted.get(mount, "what is mounted")
    return f"{kind} at {mount} does not tell of changes that are made elsewhere"


Tell = Callable[[Mapping[str, str]], None]


@dataclass(slots=True)
class Watch:
    """One set of things that are watched. `wanted` is asked for it anew when something of it
    changed, and whenever `made_of` gives another thing than before (who sets `again` has that seen
    at once): the file may name others, or a link lead to elsewhere. `matters` judges changes in
    trees; `tell` hears what is not watched, and why, whenever that changes."""

    wanted: Callable[[], Watched]
    bell: Bell
    tell: Tell
    matters: Matters = is_kept
    made_of: Callable[[], object] = object
    told: Mapping[str, str] = field(default_factory=dict)
    again: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, stop: asyncio.Event) -> None:
        """Ring whenever something that matters changes, until `stop`."""
        while not stop.is_set():
            now = await self._present()
            try:
                await self._watch(now, stop)
            except OSError as error:
                await self._do_without(now.watched, error, stop)

    async def _watch(self, now: _Present, stop: asyncio.Event) -> None:
        """Watch these, until others are to be watched."""
        self._tell(now.watched.unwatched)
        if not now.folders:
            await self.bell.ring()  # where they were, they went between two watches
            while not stop.is_set() and now == await self._present(now):
                await first_of(stop, self.again, timeout_s=LOOK_AGAIN_S)
            return
        scope, is_new = self._scope(now), True
        found = changes(scope, stop=stop, again=self.again, timeout_s=LOOK_AGAIN_S)
        async with aclosing(found):
            async for paths in found:
                # What changed before a new watch stood was seen by none.
                if paths or is_new:
                    await self.bell.ring()
                is_new = False
                # A watch ends with its folder, even where another of its name is there by now.
                before, now = now, await self._present(None if paths else now)
                if now != before or not paths.isdisjoint(now.folders):
                    return

    def _scope(self, now: _Present) -> Scope:
        """What comes and goes is all that is asked of blobs, and of trees of models: a download
        writes many times a second."""
        watched, folders = now.watched, tuple(now.folders)
        if not watched.trees:
            contents = watched.folders != watched.blobs
            return Scope(folders, below=False, contents=contents, matters=watched.matters)

        def matters(change: Change, path: str) -> bool:
            return path in watched.trees or self.matters(change, path)

        contents = self.matters is not comes_or_goes
        return Scope(folders, below=True, contents=contents, matters=matters)

    async def _present(self, before: _Present | None = None) -> _Present:
        self.again.clear()
        return await asyncio.to_thread(_present, self.wanted, self.made_of(), before)

    async def _do_without(self, watched: Watched, error: OSError, stop: asyncio.Event) -> None:
        """Leave it to the loop's poll, and try again later: limits can be raised."""
        why = " ".join(str(error).split())
        if error.errno in _LIMITS or "limit" in why:
            why = "the limit of watches is reached; raise fs.inotify.max_user_watches or _instances"
        self._tell({**watched.unwatched, **dict.fromkeys(sorted(watched.folders), why)})
        await first_of(stop, timeout_s=TRY_AGAIN_S)

    def _tell(self, unwatched: Mapping[str, str]) -> None:
        if unwatched == self.told:
            return
        new = sorted(unwatched.keys() - self.told.keys())
        if new:
            why, more = unwatched[new[0]], len(new) - 1
            log.warning("not watched", path=new[0], more=more, why=why, instead="the poll")
        self.told = unwatched
        self.tell(unwatched)


@dataclass(frozen=True, slots=True)
class _Present:
    """What is wanted, of what it was made, and the folders of it that are there, each with what
    tells it from another of its name."""

    watched: Watched
    folders: Mapping[str, tuple[int, int]]
    made_of: object = field(compare=False)
    mounted: Mapping[str, str] = field(compare=False)


def _present(
    wanted: Callable[[], Watched], made_of: object, before: _Present | None = None
) -> _Present:
    """What is to be watched now. What leads to the things of `before` is not followed again while
    no mount is another and each of their folders is where it was: their entries are watched."""
    mounted = mounts()
    if before is not None and (before.made_of, before.mounted) == (made_of, mounted):
        folders = _folders(before.watched, mounted)
        if folders == before.folders:
            return replace(before, made_of=made_of)
    watched = wanted()
    return _Present(watched, _folders(watched, mounted), made_of, mounted)


def _folders(watched: Watched, mounted: Mapping[str, str]) -> Mapping[str, tuple[int, int]]:
    there: dict[str, tuple[int, int]] = {}
    for folder in sorted(watched.folders):
        if remote_mount(folder, mounted) is None and _is_open(folder):
            found = os.stat(folder)  # noqa: PTH116
            there[folder] = (found.st_dev, found.st_ino)
    return there


def _is_open(folder: str) -> bool:
    is_itself = os.path.realpath(folder) == folder
    return is_itself and os.path.isdir(folder) and os.access(folder, os.R_OK)  # noqa: PTH112


async def first_of(*events: asyncio.Event, timeout_s: float) -> None:
    """Wait for the first of these, and no longer than that."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
