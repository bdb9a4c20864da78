"""Triggers: what wakes the loop. A wake-up carries nothing; the cycle looks for itself.

Watches the entries of folders that decide what files are (as written, each link on the way, where
it ends), folders of which every entry counts, and whole trees. Bursts collapse. What cannot be
watched is left to the loop's poll, and said so.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from watchfiles import Change, awatch
from watchfiles.main import FileChange

from paddock.core.discover_files import is_half_written
from paddock.edges.mounts import mounts, remote_mount, way

log = structlog.get_logger()

DEBOUNCE_MS = 200
STEP_MS = 25
LOOK_AGAIN_MS = 2000
TRY_AGAIN_S = 60.0
GAP_S, MOST_GAP_S, QUIET_S = 0.1, 2.0, 1.0

Matters = Callable[[Change, str], bool]


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
    """Files that grow, as downloads do, wake nobody; the next look finds what became of them."""
    return change is not Change.modified and not is_half_written(path)


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
    """One set of things that are watched, asked for anew now and then: the file may name others,
    or a link lead to elsewhere. `matters` judges changes in trees; `tell` hears what is not
    watched, and why, whenever that changes."""

    wanted: Callable[[], Watched]
    bell: Bell
    tell: Tell
    matters: Matters = is_kept
    told: Mapping[str, str] = field(default_factory=dict)
    is_lenient: bool = False

    async def run(self, stop: asyncio.Event) -> None:
        """Ring whenever something that matters changes, until `stop`."""
        while not stop.is_set():
            now = await self._present()
            try:
                await self._watch(now, stop)
            except PermissionError:
                self.is_lenient = True  # what is closed to us below a tree is left out
            except (OSError, RuntimeError) as error:
                await self._do_without(now.watched, error, stop)

    async def _watch(self, now: _Present, stop: asyncio.Event) -> None:
        """Watch these, until others are to be watched."""
        self._tell(now.watched.unwatched)
        if not now.folders:
            while not stop.is_set() and now == await self._present():
                await first_of(stop, timeout_s=LOOK_AGAIN_MS / 1000)
            return
        # What changed between two watches was seen by none. It rings when this next waits: by then
        # the new watch stands.
        ringing = asyncio.create_task(self.bell.ring())
        try:
            async for changes in self._changes(now, stop):
                if changes:
                    await self.bell.ring()
                # A watch ends with its folder, even where another of its name is there by now.
                ended = any(path in now.folders for _, path in changes)
                if ended or now != await self._present():
                    return
        finally:
            ringing.cancel()

    def _changes(self, now: _Present, stop: asyncio.Event) -> AsyncGenerator[set[FileChange], None]:
        return awatch(
            *now.folders,
            watch_filter=self._filter(now.watched),
            debounce=DEBOUNCE_MS,
            step=STEP_MS,
            stop_event=stop,
            rust_timeout=LOOK_AGAIN_MS,
            yield_on_timeout=True,
            recursive=bool(now.watched.trees),
            ignore_permission_denied=self.is_lenient,
        )

    def _filter(self, watched: Watched) -> Matters:
        if not watched.trees:
            return watched.matters
        return lambda change, path: path in watched.trees or self.matters(change, path)

    async def _present(self) -> _Present:
        return await asyncio.to_thread(_present, self.wanted)

    async def _do_without(
        self, watched: Watched, error: OSError | RuntimeError, stop: asyncio.Event
    ) -> None:
        """Leave it to the loop's poll, and try again later: limits can be raised."""
        why = " ".join(str(error).split())
        if "limit" in why or "Too many" in why:
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
    """What is wanted, and the folders of it that are there, each with what tells it from another
    of its name."""

    watched: Watched
    folders: Mapping[str, tuple[int, int]]


def _present(wanted: Callable[[], Watched]) -> _Present:
    watched, mounted = wanted(), mounts()
    there: dict[str, tuple[int, int]] = {}
    for folder in sorted(watched.folders):
        if remote_mount(folder, mounted) is None and _is_open(folder):
            found = os.stat(folder)  # noqa: PTH116
            there[folder] = (found.st_dev, found.st_ino)
    return _Present(watched, there)


def _is_open(folder: str) -> bool:
    return os.path.isdir(folder) and os.access(folder, os.R_OK)  # noqa: PTH112


async def first_of(*events: asyncio.Event, timeout_s: float) -> None:
    """Wait for the first of these, and no longer than that."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
