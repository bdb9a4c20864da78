"""Hashing: a file is read once from end to end, in a thread, and its digest kept.

What was taken at its word (a claimed digest, a print of a few samples) is hashed later, when there
is nothing else to do, by the same hands.
"""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field, replace

from paddock.core.digest import Digest
from paddock.core.observed import FileStat, SourceMissing, Unknown
from paddock.core.plan import HashSource
from paddock.edges import sources
from paddock.edges.state import FileRecord
from paddock.engine.look import look_within_limit
from paddock.engine.world import World
from paddock.errors import SourceError, shown

# A file may change twice within one step of its clock: no state younger than this is trusted.
RACY_S = 2.0
# A disk may be busy; no file system that is well gives nothing for so long.
STALL_S = 60.0


async def hash_source(world: World, action: HashSource) -> Digest:
    """Hash a file once it has been quiet for a moment, and remember its digest."""
    quiet_in = action.stat.mtime_ns / 1e9 + RACY_S - time.time()
    if quiet_in > 0:
        await asyncio.sleep(min(quiet_in, RACY_S))
    found = await asyncio.to_thread(look_within_limit, world, action.path)
    if isinstance(found, SourceMissing | Unknown):
        reason = found.reason if isinstance(found, Unknown) else "SourceMissing"
        raise SourceError(found.message, reason=reason)
    real_path, before = found
    with world.progress.meter(action, f"hash {shown(action.path)}") as meter:
        digest, stat, sample = await _hash(
            real_path, lambda done: meter.report(done, before.size_bytes)
        )
    known = world.state.file(stat) or FileRecord(stat, None, None)
    record = replace(known, digest=digest, verified=True, sample=sample, path=real_path)
    world.state.remember_file(record)
    return digest


async def _hash(path: str, progress: sources.Progress) -> tuple[Digest, FileStat, str | None]:
    """Hash in a thread, which ends when we do; one that reads nothing for long is left."""
    stop, moved = threading.Event(), _Moved()

    def report(done_bytes: int) -> None:
        moved.at_s = time.monotonic()
        progress(done_bytes)

    reading = asyncio.ensure_future(asyncio.to_thread(_read, path, report, stop))
    try:
        while not reading.done():
            left_s = moved.at_s + STALL_S - time.monotonic()
            if left_s <= 0:
                what = f"{shown(path)}: nothing could be read for {STALL_S:g} s"
                raise SourceError(f"{what}; see what is mounted there", reason="SourceTimeout")
            await asyncio.wait([reading], timeout=left_s)
        return reading.result()
    finally:
        stop.set()
        reading.cancel()


@dataclass(slots=True)
class _Moved:
    """When the last bytes of a file came."""

    at_s: float = field(default_factory=time.monotonic)


def _read(
    path: str, progress: sources.Progress, stop: threading.Event
) -> tuple[Digest, FileStat, str | None]:
    digest, stat = sources.hash_file(path, progress=progress, stopped=stop.is_set)
    sample, sampled = sources.sample_file(path)
    return digest, stat, sample if sampled == stat else None
