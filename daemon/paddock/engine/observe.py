"""Observe: one look at Ollama, the store, the sources and the ledger.

Reads only. What cannot be read becomes Unknown, with the reason; only a server that does not answer
at all ends the look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

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
    SourceMissing,
    Unknown,
)
from paddock.core.respell import respell
from paddock.core.tree_facts import TreesFound
from paddock.edges import sources
from paddock.edges.hub import look as find_in_caches
from paddock.engine.folders import look_at_folders
from paddock.engine.look import facts_of, look_at_sources
from paddock.engine.trees import look_at_trees
from paddock.engine.world import World
from paddock.errors import OllamaUnreachable, PaddockError

T = TypeVar("T")


async def observe(world: World, wish: Desired, memory: Memory) -> tuple[Desired, Observed]:
    """One look at everything, and what is desired as the store spells its names. Raises
    OllamaUnreachable."""
    version, disk = await asyncio.gather(
        world.ollama.version(), asyncio.to_thread(_look_at_disk, world, wish)
    )
    # After the manifests: a model that is made meanwhile is in the tags and not yet in them.
    tags, running = await asyncio.gather(
        _known(world.ollama.tags()), _known(world.ollama.running())
    )
    return disk.desired, Observed(
        at=datetime.now(UTC),
        version=version,
        tags=tags,
        running=running,
        manifests=disk.manifests,
        blobs=disk.blobs,
        ledger=disk.ledger,
        sources=disk.sources,
        facts=disk.facts,
        probes=world.state.probes(),
        memory=memory,
        trees=disk.trees,
        hub=disk.hub,
    )


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
    manifests: Known[Mapping[Name, ManifestFile]]
    blobs: Known[Mapping[Digest, Blob]]
    ledger: Known[Ledger]
    sources: Mapping[str, SourceFact]
    facts: Mapping[Digest, Facts]
    trees: TreesFound


def _look_at_disk(world: World, wish: Desired) -> _Disk:
    manifests = _read(world.store.manifests)
    hub = {file: find_in_caches(file, world.hub_roots) for file in sorted(hub_files(wish))}
    ledger = _read(world.state.ledger)
    discovered = look_at_folders(world, locate(wish, hub), ledger)
    wish = discovered.desired
    desired = wish if isinstance(manifests, Unknown) else respell(wish, manifests)
    found = with_doubts(look_at_sources(world, desired), discovered.unsure)
    desired = without_others(desired, found)
    blobs = _read(world.store.blobs)
    return _Disk(
        desired=desired,
        hub=hub,
        manifests=manifests,
        blobs=blobs,
        ledger=ledger,
        sources=found,
        facts=_base_facts(world, desired, manifests, ledger),
        trees=look_at_trees(world, desired, manifests, blobs, ledger),
    )


def _read(look: Callable[[], T]) -> Known[T]:
    try:
        return look()
    except PaddockError as error:
        return Unknown(error.reason, error.message)


def _base_facts(
    world: World,
    desired: Desired,
    manifests: Known[Mapping[Name, ManifestFile]],
    ledger: Known[Ledger],
) -> Mapping[Digest, Facts]:
    """The facts of GGUFs in the store that models with overrides are derived from."""
    if isinstance(manifests, Unknown) or isinstance(ledger, Unknown):
        return {}
    found: dict[Digest, Facts] = {}
    layers = (layer for manifest in _bases(desired, manifests, ledger) for layer in manifest.layers)
    for digest in {layer.digest for layer in layers if layer.media_type == MODEL_TYPE}:
        source = sources.look(str(world.store.blob_path(digest)))
        if not isinstance(source, SourceMissing | Unknown):
            facts = facts_of(world, *source)
            if not isinstance(facts, Unknown):
                found[digest] = facts
    return found


def _bases(
    desired: Desired, manifests: Mapping[Name, ManifestFile], ledger: Ledger
) -> Iterator[Manifest]:
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
