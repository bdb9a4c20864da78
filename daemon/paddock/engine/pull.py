"""Pull: let Ollama fetch a model from its registry, and remember what came.

A pinned pull asks the registry first: `/api/pull` overwrites without asking, so a mismatch must
never reach it, and the model that is there stays.
"""

from __future__ import annotations

import asyncio

from paddock.core.digest import short
from paddock.core.plan import PullModel
from paddock.edges import registry
from paddock.engine.world import World
from paddock.errors import Retry, SourceError


async def pull(world: World, action: PullModel) -> None:
    """Pull a reference, and record the manifest that it gave."""
    if action.digest is not None:
        offered = await registry.manifest_digest(action.reference, insecure=action.insecure)
        if offered != action.digest:
            what = f"{action.reference} is {short(offered)} in its registry"
            hint = f"the file pins {short(action.digest)}; change one of them"
            raise SourceError(f"{what}; {hint}", reason="DigestMismatch", retry=Retry.STALLED)
    await world.ollama.pull(action.reference, insecure=action.insecure, progress=lambda *_: None)
    await asyncio.to_thread(_record, world, action)


def _record(world: World, action: PullModel) -> None:
    manifest = world.store.read_manifest(action.reference)
    digest = world.store.manifest_digest(action.reference)
    if digest is not None:
        world.state.record_pull(action.reference, digest, manifest)
