"""The sources as they are: one look at each file that a model is made of.

Reads states and, once for each state, headers; hashes nothing. What is known of a file that only
changed its times stands for the time being, if a sampled print of it is the same. On file systems
that can hang the look is left after a while, and then nothing is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TypeVar

from paddock.core.desired import Desired, File
from paddock.core.digest import Digest
from paddock.core.files import claim_of, further_parts, trusted
from paddock.core.gguf import Facts
from paddock.core.observed import (
    Blob,
    FileStat,
    Known,
    Proof,
    SourceFact,
    SourceFile,
    SourceMissing,
    Unknown,
)
from paddock.edges import sources
from paddock.edges.mounts import mounts, way
from paddock.edges.state import FileRecord
from paddock.edges.store.reader import is_readable
from paddock.engine.glance import Glance
from paddock.engine.world import World
from paddock.errors import PaddockError, StoreError, shown

T = TypeVar("T")


def look_at_sources(world: World, desired: Desired) -> Mapping[str, SourceFact]:
    """Every file that a declared model is made of, by its path; of a split GGUF all parts."""
    found: dict[str, SourceFact] = {}
    mounted = mounts()
    glance = Glance(world.glances, world.state, world.rules, mounted)

    def look(path: str, files: Sequence[File]) -> SourceFact:
        at_it = partial(_look, world, path, files, glance.rules)
        return within_limit(world, path, mounted, at_it, glance.plain)

    for path, files in sorted(desired.files.items()):
        known = glance.unchanged(path)
        found[path] = fact = known or look(path, files)
        if known is None:
            glance.remember(path, fact)
        for part in further_parts(path, fact):
            found.setdefault(part, look(part, [replace(f, path=part) for f in files]))
    return found


def within_limit(
    world: World,
    path: str,
    mounted: Mapping[str, str],
    look: Callable[[], T],
    plain: set[str] | None = None,
) -> T | Unknown:
    """What a look at a path finds; unknown where its file system does not answer in time. `plain`
    as `way` has it."""
    remote = way(path, mounted, plain).remote
    if remote is None:
        return look()
    try:
        return world.slow.run(remote, look)
    except TimeoutError:
        what = f"{shown(path)}: no answer within {world.slow.limit_s:g} s from {shown(remote)}"
        return Unknown("SourceTimeout", f"{what}; see what is mounted there")


def hold_store(world: World) -> None:
    """See that the store is there and ours still. Raises StoreError, and where the models folder
    does not answer in time too: then nothing else in it is asked for; raises LockedError."""
    found = within_limit(world, str(world.store.root), mounts(), world.keep_hold)
    if isinstance(found, Unknown):
        raise StoreError(f"the models folder {found.message}", reason="StoreTimeout")


def look_within_limit(world: World, path: str) -> tuple[str, FileStat] | SourceMissing | Unknown:
    """The real path and the state of a source, as `sources.look` has it."""
    return within_limit(world, path, mounts(), lambda: sources.look(path, world.rules))


def has_blob(world: World, digest: Digest) -> Known[bool]:
    """Whether a blob, or what its link leads to, is there."""
    path = str(world.store.blob_path(digest))
    return within_limit(world, path, mounts(), lambda: world.store.has_blob(digest))


def look_at_blobs(
    world: World, sources: Mapping[str, SourceFact] = MappingProxyType({})
) -> Mapping[Digest, Blob]:
    """Every blob; what was just seen among the sources is not looked at again. A link to a file
    system that does not answer stands: nothing is known against it. Raises StoreError."""
    mounted = mounts()
    readable = {fact.real_path for fact in sources.values() if isinstance(fact, SourceFile)}

    def can_read(path: str) -> bool:
        found = within_limit(world, path, mounted, lambda: is_readable(path))
        return isinstance(found, Unknown) or found

    return world.store.blobs(can_read, readable)


def _look(world: World, path: str, files: Sequence[File], rules: sources.Rules) -> SourceFact:
    """A source as it is, with what is known of it in this state."""
    found = sources.look(path, rules)
    if isinstance(found, SourceMissing | Unknown):
        return found
    real_path, stat = found
    claim = claim_of(path) or claim_of(sources.one_link_on(path)) or claim_of(real_path)
    digest, proof = _digest(world, real_path, stat)
    facts = facts_of(world, real_path, stat)
    if digest is None or proof == "claimed":
        digest, proof = trusted(files, claim), "claimed"
        _remember_claim(world, stat, digest)
    if isinstance(facts, Unknown):
        return SourceFile(real_path, stat, digest, None, facts, proof, claim)
    return SourceFile(real_path, stat, digest, facts, None, proof, claim)


def _digest(world: World, real_path: str, stat: FileStat) -> tuple[Digest | None, Proof]:
    record = world.state.file(stat) or carried_over(world, real_path, stat)
    if record is None or record.digest is None:
        return None, "hashed"
    if record.sample is None and not record.verified:
        return record.digest, "claimed"
    return record.digest, "hashed" if record.verified else "sampled"


def _remember_claim(world: World, stat: FileStat, digest: Digest | None) -> None:
    """For who asks of this state of the file before it was hashed."""
    known = world.state.file(stat)
    if known is not None and digest is not None and known.digest != digest:
        world.state.remember_file(replace(known, digest=digest, verified=False, sample=None))


def carried_over(world: World, real_path: str, stat: FileStat) -> FileRecord | None:
    """What was known of a file that only its times tell from what was hashed."""
    before = world.state.file_before(real_path, stat)
    if before is None or before.digest is None or before.sample is None:
        return None
    try:
        sample, sampled = sources.sample_file(real_path)
    except PaddockError:
        return None
    if (sample, sampled) != (before.sample, stat):
        return None
    record = replace(before, stat=stat, verified=False, path=real_path)
    world.state.remember_file(record)
    return record


def facts_of(world: World, real_path: str, stat: FileStat) -> Known[Facts]:
    """The facts of a header, read once for each state of its file."""
    record = world.state.file(stat)
    if record is not None and record.facts is not None:
        return record.facts
    try:
        facts = sources.read_facts(real_path)
    except PaddockError as error:
        return Unknown(error.reason, f"{real_path}: {error.message}")
    known = record or FileRecord(stat, None, None)
    world.state.remember_file(replace(known, facts=facts, path=real_path))
    return facts
