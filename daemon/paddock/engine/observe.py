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

from paddock.core.desired import Desired, FromFile, FromModel, FromRegistry
from paddock.core.digest import Digest
from paddock.core.gguf import Facts
from paddock.core.manifest import Manifest
from paddock.core.names import Name
from paddock.core.observed import (
    Blob,
    FileStat,
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
from paddock.edges import sources
from paddock.edges.state import FileRecord
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
    manifests: Known[Mapping[Name, ManifestFile]]
    blobs: Known[Mapping[Digest, Blob]]
    ledger: Known[Ledger]
    sources: Mapping[str, SourceFact]
    facts: Mapping[Digest, Facts]


def _look_at_disk(world: World, wish: Desired) -> _Disk:
    manifests = _read(world.store.manifests)
    desired = wish if isinstance(manifests, Unknown) else respell(wish, manifests)
    ledger = _read(world.state.ledger)
    paths = {m.source.path for m in desired.models.values() if isinstance(m.source, FromFile)}
    return _Disk(
        desired=desired,
        manifests=manifests,
        blobs=_read(world.store.blobs),
        ledger=ledger,
        sources={path: look_at_source(world, path) for path in sorted(paths)},
        facts=_base_facts(world, desired, manifests, ledger),
    )


def _read(look: Callable[[], T]) -> Known[T]:
    try:
        return look()
    except PaddockError as error:
        return Unknown(error.reason, error.message)


def look_at_source(world: World, path: str) -> SourceFact:
    """A source as it is, with what is known of it in this state."""
    found = sources.look(path)
    if isinstance(found, SourceMissing | Unknown):
        return found
    real_path, stat = found
    record = world.state.file(stat)
    digest = None if record is None else record.digest
    facts = _facts_of(world, real_path, stat)
    if isinstance(facts, Unknown):
        return SourceFile(real_path, stat, digest, None, facts)
    return SourceFile(real_path, stat, digest, facts)


def _facts_of(world: World, real_path: str, stat: FileStat) -> Known[Facts]:
    """The facts of a header, read once for each state of its file."""
    record = world.state.file(stat)
    if record is not None and record.facts is not None:
        return record.facts
    try:
        facts = sources.read_facts(real_path)
    except PaddockError as error:
        return Unknown(error.reason, f"{real_path}: {error.message}")
    world.state.remember_file(FileRecord(stat, None if record is None else record.digest, facts))
    return facts


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
    for manifest in _bases(desired, manifests, ledger):
        digest = manifest.model_digest
        if digest is None or digest in found:
            continue
        source = sources.look(str(world.store.blob_path(digest)))
        if not isinstance(source, SourceMissing | Unknown):
            facts = _facts_of(world, *source)
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
