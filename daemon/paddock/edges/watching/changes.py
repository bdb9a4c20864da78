"""Changes of folders, as they come: by inotify where there is one, else by watchfiles.

Changes nothing and opens no file. By inotify it costs nothing while nothing changes; watchfiles
looks many times a second whether its library has heard of something (decisions/0017).
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from paddock.edges.watching.change import Matters

if TYPE_CHECKING:
    from paddock.edges.watching.inotify import Inotify

STEP_S = 0.02
MOST_S = 0.2


@dataclass(frozen=True, slots=True)
class Scope:
    """What is watched: folders, with all `below` them or without, and whether it is told that the
    `contents` of files change while they do, or only that files come, go, and were written.
    `matters` judges each change."""

    folders: tuple[str, ...]
    below: bool
    contents: bool
    matters: Matters


async def changes(
    scope: Scope, *, stop: asyncio.Event, again: asyncio.Event, timeout_s: float
) -> AsyncGenerator[set[str], None]:
    """The paths of changes that matter, once nothing more has changed for a moment, until `stop`;
    an empty set once the watch stands, where nothing has for `timeout_s`, and for `again` (but for
    watchfiles, which waits for the time). Raises OSError where it cannot be watched."""
    if sys.platform == "linux":
        found = changes_by_inotify(scope, stop, again, timeout_s)
    else:
        from paddock.edges.watching.elsewhere import changes_by_watchfiles

        found = changes_by_watchfiles(scope, stop, timeout_s)
    async with aclosing(found):
        async for paths in found:
            yield paths


async def changes_by_inotify(
    scope: Scope, stop: asyncio.Event, again: asyncio.Event, timeout_s: float
) -> AsyncGenerator[set[str], None]:
    """As `changes`, on Linux. What may hang, or takes long in a large tree, is done in threads."""
    from paddock.edges.watching.inotify import Inotify

    with await asyncio.to_thread(
        Inotify, scope.folders, below=scope.below, contents=scope.contents
    ) as inotify:
        found = set[str]()
        while not stop.is_set():
            yield found
            found, until_s = set[str](), time.monotonic() + timeout_s
            while not found and await _readable(inotify.descriptor, (stop, again), until_s):
                found = await _settled(inotify, scope.matters)


async def _readable(descriptor: int, others: tuple[asyncio.Event, ...], until_s: float) -> bool:
    """Wait until there is something to read; False where it is time, or for one of the others."""
    running, ready = asyncio.get_running_loop(), asyncio.Event()
    waits = [asyncio.ensure_future(event.wait()) for event in (ready, *others)]
    running.add_reader(descriptor, ready.set)
    try:
        rest_s = max(until_s - time.monotonic(), 0)
        await asyncio.wait(waits, timeout=rest_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        running.remove_reader(descriptor)
        for wait in waits:
            wait.cancel()
    return ready.is_set() and not any(event.is_set() for event in others)


async def _settled(inotify: Inotify, matters: Matters) -> set[str]:
    """What changes until nothing does for a moment, and for no longer than a while. Who writes on
    and on is read of so often and no more: the kernel keeps the same of one file as one."""
    found, until_s = set[str](), time.monotonic() + MOST_S
    while True:
        await asyncio.sleep(STEP_S)
        more = await asyncio.to_thread(inotify.read)
        found |= {path for change, path in more if matters(change, path)}
        if not more or time.monotonic() > until_s:
            return found
