"""Observe: one look at Ollama, the store, the sources and the ledger.

Reads only. What cannot be read becomes Unknown, with the reason; only a server that does not answer
at all ends the look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias, TypeVar

import structlog

from paddock.core.desired import Desired, FromModel, FromRegistry
from paddock.core.digest import Digest
from paddock.core.discover_kinds import with_doubts, without_others
from paddock.core.gguf import Facts
from paddock.core.hub import HubFile
from paddock.core.locate import hub_files, locate
from paddock.core.manifest import MODEL_TYPE, Manifest
from paddock.core.names import Name
from paddock.core.observed import (
    Blob,
    HubFact,
    Known,
    Ledger,
    ManifestFile,
    Memory,
    Observed,
    SourceFact,
    SourceFile,
    SourceMissing,
    Unknown,
)
from paddock.core.respell import respell
from paddock.core.tree_facts import TreesFound
from paddock.edges import sources
from paddock.edges.hub import look as find_in_caches
from paddock.edges.mounts import mounts, way
from paddock.engine.folders import look_at_folders
from paddock.engine.look import facts_of, look_at_blobs, look_at_sources, within_limit
from paddock.engine.residency import with_processes
from paddock.engine.trees import look_at_trees
from paddock.engine.world import World
from paddock.errors import OllamaUnreachable, PaddockError, listed

T = TypeVar("T")
Wish: TypeAlias = Callable[[], Desired]
_Manifests: TypeAlias = Known[Mapping[Name, ManifestFile]]
log = structlog.get_logger()


async def observe(world: World, wish: Wish, memory: Memory) -> tuple[Desired, Observed]:
    """One look at everything, and what is desired as the store spells its names; `wish` may have to
    be read, and is asked for while Ollama lists its tags. Raises OllamaUnreachable, SpecError."""
    version, manifests = await asyncio.gather(
        world.ollama.version(), asyncio.to_thread(_read, world.store.manifests)
    )
    # After the manifests: a model that is made meanwhile is in the tags and not yet in them.
    tags, running, disk = await asyncio.gather(
        _known(world.ollama.tags()),
        _known(world.ollama.running()),
        asyncio.to_thread(_look_at_disk, world, wish, manifests),
    )
    observed = Observed(
        at=world.clock(),
        version=version,
        tags=tags,
        running=running,
        manifests=manifests,
        blobs=disk.blobs,
        ledger=disk.ledger,
        sources=disk.sources,
        facts=disk.facts,
        probes=world.state.probes(),
        memory=memory,
        trees=disk.trees,
        hub=disk.hub,
    )
    return disk.desired, await with_processes(world, observed)


async def observe_memory(world: World, before: Observed, memory: Memory) -> Observed:
    """An earlier look, with what is in memory now. Raises OllamaUnreachable."""
    running = await _known(world.ollama.running())
    observed = replace(before, at=world.clock(), running=running, memory=memory)
    return await with_processes(world, observed)


async def _known(asked: Awaitable[T]) -> Known[T]:
    try:
        return await asked
    except OllamaUnreachable:
        raise
    except PaddockError as error:
        return Unknown(error.reason, error.message)


@dataclass(frozen=True, slots=True)
class _Disk:
    desired: Desired
    hub: Mapping[HubFile, HubFact]
    blobs: Known[Mapping[Digest, Blob]]
    ledger: Known[Ledger]
    sources: Mapping[str, SourceFact]
    facts: Mapping[Digest, Facts]
    trees: TreesFound


def _look_at_disk(world: World, wish: Wish, manifests: _Manifests) -> _Disk:
    wished = wish()
    hub = {file: _find_in_caches(world, file) for file in sorted(hub_files(wished))}
    ledger = _read(lambda: _ledger(world, manifests))
    discovered = look_at_folders(world, locate(wished, hub), ledger)
    desired = discovered.desired
    if not isinstance(manifests, Unknown):
        desired = _spelt(world, desired, manifests)
    found = with_doubts(look_at_sources(world, desired), discovered.unsure)
    desired = without_others(desired, found)
    blobs = _read(lambda: look_at_blobs(world, found))
    return _Disk(
        desired=desired,
        hub=hub,
        blobs=blobs,
        ledger=ledger,
        sources=found,
        facts=_base_facts(world, _bases(desired, manifests, ledger), found),
        trees=look_at_trees(world, desired, manifests, blobs, ledger),
    )


def _find_in_caches(world: World, file: HubFile) -> HubFact:
    """The file in the caches of the hub, the first of which that may hang sets the limit."""
    roots, mounted = world.hub_roots, mounts()
    remote = [str(root) for root in roots if way(str(root), mounted).remote is not None]
    at = remote[0] if remote else str(world.hub_cache)
    return within_limit(world, at, mounted, partial(find_in_caches, file, roots))


def _spelt(world: World, wish: Desired, manifests: Mapping[Name, ManifestFile]) -> Desired:
    """The wish as the store spells it; of the same two what it was the last time."""
    last = world.spelt
    if last is None or last[0] is not wish or last[1] is not manifests:
        world.spelt = last = wish, manifests, respell(wish, manifests)
    return last[2]


def _read(look: Callable[[], T]) -> Known[T]:
    try:
        return look()
    except PaddockError as error:
        return Unknown(error.reason, error.message)


def _ledger(world: World, manifests: _Manifests) -> Ledger:
    """The ledger; a new one first learns from the manifests what a lost one held."""
    if not isinstance(manifests, Unknown):
        found = world.state.rebuild(manifests)
        if found and world.lock is not None:
            told = listed([name.display for name in found])
            log.warning("ledger rebuilt", models=len(found), names=told)
    return world.state.ledger()


def _base_facts(
    world: World, bases: Iterable[Manifest], sources: Mapping[str, SourceFact]
) -> Mapping[Digest, Facts]:
    """The facts of GGUFs in the store that models with overrides are derived from; those of a
    source that was just seen are at hand."""
    layers = (layer for manifest in bases for layer in manifest.layers)
    digests = {layer.digest for layer in layers if layer.media_type == MODEL_TYPE}
    found, mounted = _hashed_facts(digests, sources), mounts()
    for digest in digests - found.keys():
        path = str(world.store.blob_path(digest))
        facts = within_limit(world, path, mounted, partial(_facts_at, world, path))
        if not isinstance(facts, SourceMissing | Unknown):
            found[digest] = facts
    return found


def _hashed_facts(digests: Set[Digest], sources: Mapping[str, SourceFact]) -> dict[Digest, Facts]:
    return {
        fact.digest: fact.facts
        for fact in (sources.values() if digests else ())
        if isinstance(fact, SourceFile) and fact.proof == "hashed" and fact.digest in digests
        if fact.digest is not None and fact.facts is not None
    }


def _facts_at(world: World, path: str) -> Known[Facts] | SourceMissing:
    source = sources.look(path)
    return source if isinstance(source, SourceMissing | Unknown) else facts_of(world, *source)


def _bases(desired: Desired, manifests: _Manifests, ledger: Known[Ledger]) -> Iterator[Manifest]:
    if isinstance(manifests, Unknown) or isinstance(ledger, Unknown):
        return
    for model in desired.models.values():
        if not model.overrides:
            continue
        match model.source:
            case FromModel(name) | FromRegistry(reference=name):
                pulled, present = ledger.pulled.get(name), manifests.get(name)
                if pulled is not None:
                    yield pulled.manifest
                if present is not None and present.manifest is not None:
                    yield present.manifest
            case _:
                pass
