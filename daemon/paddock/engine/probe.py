"""The header probe: what would this Ollama make of that GGUF?

A stub of the header is uploaded and created under a scratch name; the config and small layers that
come out are those of the whole file (but for the parameter count). The user's file is not involved.
A scratch name is in the ledger before it is asked for, and only such names are removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from paddock.core.composition import Composition
from paddock.core.digest import Digest, digest_of
from paddock.core.manifest import FILE_TYPES, MODEL_TYPE, Descriptor, Manifest
from paddock.core.names import Name, scratch_name
from paddock.core.observed import ProbeAnswer, SmallLayer
from paddock.core.plan import ProbeModel, Stub
from paddock.engine.world import World
from paddock.errors import OllamaError, OllamaUnreachable, PaddockError, Retry, StoreError


async def probe(world: World, action: ProbeModel) -> None:
    """Ask, and remember the answer under the action's key."""
    for stub in action.stubs:
        await prove_store(world, stub.content)
    async with AsyncExitStack() as stack:
        answer = await stack.enter_async_context(scratch(world))
        if action.base is None:
            await world.ollama.create(answer, _of_files(action.stubs), action.overrides)
        else:
            base = await stack.enter_async_context(scratch(world))
            await asyncio.to_thread(_write_base, world, base, action.stubs, action.base)
            await world.ollama.create(answer, {"from": base.full}, action.overrides)
        found = await asyncio.to_thread(_read_answer, world, answer)
    world.state.remember_probe(action.key, found)


async def prove_store(world: World, content: bytes) -> Digest:
    """Upload a small blob and see it appear in our folder: else it is not the server's own."""
    digest = digest_of(content)
    await world.ollama.upload_blob(digest, content)
    if not world.store.has_blob(digest):
        raise store_mismatch(world)
    return digest


def store_mismatch(world: World) -> StoreError:
    """The models folder is not the one that the server uses."""
    what = f"{world.store.root} is not the models folder of the Ollama at {world.ollama.url}"
    hint = "set --models-dir to its OLLAMA_MODELS"
    return StoreError(f"{what}; {hint}", reason="StoreMismatch", retry=Retry.STALLED)


async def remove_scratch(world: World, name: Name) -> None:
    """Remove a scratch model of ours and forget it."""
    if not await asyncio.to_thread(_unlink_bare, world, name):
        await delete_model(world, name)
    world.state.forget_scratch(name)


def _unlink_bare(world: World, name: Name) -> bool:
    """A scratch manifest without a config was made to reach a runner, over a blob that may be
    somebody's: Ollama would remove that with it, if no other name has it."""
    with contextlib.suppress(StoreError):
        if world.store.read_manifest(name).config is None:
            world.store.unlink_manifest(name)
            return True
    return False


async def delete_model(world: World, name: Name) -> None:
    """Let Ollama remove a model of ours; one whose manifest it cannot read, such as one that was
    being written when the disk was full, is removed here."""
    try:
        await world.ollama.delete(name)
    except OllamaUnreachable:
        raise
    except OllamaError:
        if not await asyncio.to_thread(world.store.remove_broken_manifest, name):
            raise


@asynccontextmanager
async def scratch(world: World) -> AsyncIterator[Name]:
    """A scratch name, in the ledger from before its first use to after its removal."""
    name = scratch_name(secrets.token_hex(8))
    world.state.record_scratch(name)
    try:
        yield name
    except PaddockError:
        with contextlib.suppress(PaddockError):  # the first one says why
            await remove_scratch(world, name)
        raise
    except BaseException:
        # Given up, while Ollama may go on and make it after this: the next cycle looks again.
        await delete_model(world, name)
        raise
    else:
        await remove_scratch(world, name)
    finally:
        world.state.release_scratch(name)


def _of_files(stubs: Sequence[Stub]) -> dict[str, Any]:
    """The part of a create request that names uploaded files."""
    files = {stub.file: digest_of(stub.content) for stub in stubs if not stub.is_draft}
    drafts = {stub.file: digest_of(stub.content) for stub in stubs if stub.is_draft}
    return {"files": files, "draft_files": drafts} if drafts else {"files": files}


def _write_base(world: World, name: Name, stubs: Sequence[Stub], base: Composition) -> None:
    """A model with the base's config and small layers over stubs, so that `from` it never opens
    the user's file."""
    models = [Descriptor(MODEL_TYPE, digest_of(s.content), len(s.content)) for s in stubs]
    for part in (*base.texts, *([base.config] if base.config else [])):
        if part.content is not None:
            world.store.write_blob(part.descriptor.digest, part.content)
    config = None if base.config is None else base.config.descriptor
    manifest = Manifest(config, (*models, *(part.descriptor for part in base.texts)))
    world.store.write_manifest(name, manifest.encode(), manifest.digests)


def _read_answer(world: World, name: Name) -> ProbeAnswer:
    manifest = world.store.read_manifest(name)
    if manifest.config is None:
        raise StoreError(f"Ollama made {name} without a config", reason="ProbeFailed")
    layers = tuple(
        SmallLayer(layer.media_type, world.store.read_blob(layer.digest))
        for layer in manifest.layers
        if layer.media_type not in FILE_TYPES
    )
    models = sum(layer.media_type == MODEL_TYPE for layer in manifest.layers)
    return ProbeAnswer(world.store.read_blob(manifest.config.digest), layers, models)
