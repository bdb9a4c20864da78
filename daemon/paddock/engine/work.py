"""The hands: what each action on the store and the sources does.

Looks once more before each change that what was planned on still holds; if not, the next cycle
plans anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from paddock.core.digest import Digest, digest_of, short
from paddock.core.manifest import parse_manifest
from paddock.core.names import Name
from paddock.core.observed import SourceMissing, Unknown
from paddock.core.plan import (
    LinkBlob,
    RemoveManifest,
    UnlinkBlob,
    WriteBlob,
    WriteManifest,
)
from paddock.engine.look import has_blob, look_within_limit
from paddock.engine.probe import delete_model
from paddock.engine.world import World
from paddock.errors import (
    InvalidManifest,
    OllamaError,
    OllamaUnreachable,
    Retry,
    SourceError,
    StoreError,
)


def write_blob(world: World, action: WriteBlob) -> None:
    """Write a small blob that is ours."""
    world.state.record_blob(action.digest, action.name)
    world.store.write_blob(action.digest, action.content)


async def link_blob(world: World, action: LinkBlob) -> None:
    """Link a source that is still what was hashed, and make sure that Ollama sees it."""
    await asyncio.to_thread(_link, world, action)
    if not await world.ollama.has_blob(action.digest):
        # Left there, it would look to us, who may see more than Ollama, as if all were well.
        await asyncio.to_thread(world.store.remove_link, action.digest)
        what = f"Ollama cannot see {action.target} through {short(action.digest)}"
        hint = "let its user pass every folder on the way (a closed home folder is the usual cause)"
        raise StoreError(f"{what}; {hint}", reason="NotVisibleToOllama")


def _link(world: World, action: LinkBlob) -> None:
    found = look_within_limit(world, action.target)
    if isinstance(found, SourceMissing | Unknown):
        reason = found.reason if isinstance(found, Unknown) else "SourceMissing"
        raise SourceError(found.message, reason=reason)
    if found != (action.target, action.stat):
        raise SourceError(f"{action.target} has just changed", reason="SourceChanging")
    world.state.set_generation(action.name, action.generation)
    world.state.record_blob(action.digest, action.name)
    world.store.link_blob(action.digest, action.target)


async def write_manifest(world: World, action: WriteManifest) -> None:
    """Publish a model, and make sure that Ollama can use it; else all is as it was before."""
    before = await asyncio.to_thread(_publish, world, action)
    try:
        await _show(world, action.name)
    except OllamaUnreachable:
        raise
    except OllamaError:
        await _take_back(world, action, before)
        raise


async def _show(world: World, name: Name) -> None:
    """Tried thrice: while another manifest is being removed, Ollama may fail to list any."""
    for _ in range(2):
        try:
            await world.ollama.capabilities(name)
        except OllamaUnreachable:
            raise
        except OllamaError:
            await asyncio.sleep(0.1)
        else:
            return
    await world.ollama.capabilities(name)


def _publish(world: World, action: WriteManifest) -> bytes | None:
    """The manifest's bytes before this."""
    before = world.store.manifest_bytes(action.name)
    if (None if before is None else digest_of(before)) != action.replaces:
        if action.replaces is None and action.name in world.fresh_claims:
            # It was claimed because nothing was there: now it is somebody else's.
            world.state.disclaim(action.name)
        what = f"{action.name} was changed by somebody else just now"
        raise StoreError(what, reason="ManifestForeign", retry=Retry.BACKOFF)
    _check_answers(world, action.needs)
    if action.model_digest is not None:
        world.state.record_runner(action.digest, action.model_digest)
    world.state.set_generation(action.name, action.generation)
    world.store.write_manifest(action.name, action.content, action.needs)
    world.fresh_claims.discard(action.name)
    return before


def _check_answers(world: World, digests: Iterable[Digest]) -> None:
    """A model over a file system that hangs would hang Ollama, when it lists what it has."""
    for digest in sorted(digests):
        found = has_blob(world, digest)
        if isinstance(found, Unknown):
            raise StoreError(found.message, reason=found.reason)


async def _take_back(world: World, action: WriteManifest, before: bytes | None) -> None:
    if before is None:
        await delete_model(world, action.name)
        return
    with contextlib.suppress(InvalidManifest, StoreError):
        needs = parse_manifest(before).digests
        await asyncio.to_thread(_check_answers, world, needs)
        await asyncio.to_thread(world.store.write_manifest, action.name, before, needs)


async def remove_manifest(world: World, action: RemoveManifest) -> None:
    """Let Ollama remove a model of ours, with the blobs that no other one names."""
    _check_unchanged(world, action.name, action)
    await delete_model(world, action.name)
    if action.until_back:
        world.state.withdraw(action.name)
    else:
        world.state.disclaim(action.name)


def _check_unchanged(world: World, name: Name, action: RemoveManifest) -> None:
    if world.store.manifest_digest(name) not in (action.digest, None):
        what = f"{name} was changed by somebody else just now"
        raise StoreError(what, reason="ManifestForeign")


def unlink_blob(world: World, action: UnlinkBlob) -> None:
    """Remove a blob of ours that still no manifest names."""
    manifests = world.store.manifests().values()
    if any(
        found.manifest is None or action.digest in found.manifest.digests for found in manifests
    ):
        return
    world.store.remove_blob(action.digest)
    world.state.forget_blob(action.digest)
