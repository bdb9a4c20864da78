"""Download: fetch what no local cache has of a model from the Hugging Face Hub, and prove it.

What came is hashed at once: nobody else compares it with what the hub says that it is. A file that
is something else is removed, and fetched again later.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from paddock.core.digest import Digest, short
from paddock.core.observed import SourceMissing, Unknown
from paddock.core.plan import DownloadFile, HashSource
from paddock.edges import hub_download, sources
from paddock.edges.hub import find_token
from paddock.engine.hashing import hash_source
from paddock.engine.world import World
from paddock.errors import SourceError


async def download(world: World, action: DownloadFile) -> None:
    """Download files of one repository into our own cache. Raises SourceError."""
    repo, revision = action.files[0].repo, action.files[0].revision
    patterns = tuple(file.pattern for file in action.files)
    token = find_token(world.hf_token, os.environ)
    with world.progress.meter(action, action.message) as meter:
        meter.turn_to("asking the hub")

        def progress(done_bytes: int, total_bytes: int) -> None:
            meter.turn_to("")
            meter.report(done_bytes, total_bytes)

        request = hub_download.Request(repo, revision, patterns)
        try:
            came = await hub_download.download(request, world.hub_cache, token, progress)
        finally:
            await asyncio.to_thread(_settle, world)
    for file in came:
        digest = await _hash(world, action, file.path)
        if file.claim not in (None, digest):
            await asyncio.to_thread(hub_download.discard, file)
            what = f"{file.path.name} of {repo} came as {short(digest)}"
            hint = f"the hub says {short(file.claim)}; it is downloaded again"
            raise SourceError(f"{what}, and {hint}", reason="DownloadCorrupt")


def _settle(world: World) -> None:
    """The cache is the store's: readable as a store is, and its owner's."""
    for path in hub_download.opened_up(world.hub_cache):
        world.store.give_to_owner(path)


async def _hash(world: World, action: DownloadFile, path: Path) -> Digest:
    found = sources.look(str(path))
    if isinstance(found, SourceMissing | Unknown):
        raise SourceError(found.message, reason="SourceUnreadable")
    real_path, stat = found
    hashing = HashSource(
        name=action.name,
        reason=action.reason,
        message=f"hash {path}",
        symbol=action.symbol,
        path=real_path,
        stat=stat,
    )
    return await hash_source(world, hashing)
