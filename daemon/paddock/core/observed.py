"""Observed: what is there. Ollama's tags and ps, the store's manifests and blobs, the sources, the
ledger, and what earlier work found out (digests, headers, probe answers).

Pure data, made by `engine/observe.py`. A part that could not be read is Unknown, never empty:
nothing destructive is planned on an Unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple, TypeAlias

from paddock.core.digest import Digest
from paddock.core.gguf import Facts
from paddock.core.hub import HubFile, HubFound
from paddock.core.manifest import Manifest
from paddock.core.names import Name
from paddock.core.tree_facts import Published, TreesFound
from paddock.core.unknown import Known as Known  # noqa: PLC0414  told on
from paddock.core.unknown import Unknown as Unknown  # noqa: PLC0414


@dataclass(frozen=True, slots=True)
class Tag:
    """A model that Ollama lists: its manifest's digest and its size in bytes."""

    digest: Digest
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Running:
    """A model in memory, as ps tells. `manifest_digest` is that of the manifest at load, whatever
    the name says now (ollama:server/sched.go); `expires_at` is None for "never". `num_ctx` is the
    context that it was loaded with. `alive` False: its process is seen to be gone, which ps does
    not tell until the next request. `lasts_to` is the time that ps gives for "never"."""

    name: Name
    manifest_digest: Digest
    expires_at: datetime | None
    size_bytes: int
    num_ctx: int | None = None
    alive: bool = True
    lasts_to: datetime | None = None

    @property
    def stamp(self) -> datetime | None:
        """The expiry as ps gives it, also for "never"."""
        return self.lasts_to if self.expires_at is None else self.expires_at


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """A manifest on disk. `manifest` is None where it does not parse; `digests` are those that
    Ollama may report for it."""

    digest: Digest
    digests: frozenset[Digest]
    manifest: Manifest | None


@dataclass(frozen=True, slots=True)
class RegularBlob:
    """A blob that is a file of the store's own."""

    size_bytes: int


@dataclass(frozen=True, slots=True)
class LinkBlob:
    """A blob that is a link. `target` is as written in the link; `ok` says it can be read."""

    target: str
    ok: bool


Blob: TypeAlias = RegularBlob | LinkBlob


class FileStat(NamedTuple):
    """What tells whether a file is still the one that was hashed."""

    device: int
    inode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int


Proof: TypeAlias = Literal["hashed", "sampled", "claimed"]


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A source that is there. `real_path` has no link on the way. `digest` is None until one is
    known, and `proof` says how: `hashed` in the very state that it is in now, `sampled` against the
    state that was hashed, or `claimed` by the file or by the name of a blob in a cache (`claim`).
    `facts` is None where the header is `problem`atic."""

    real_path: str
    stat: FileStat
    digest: Digest | None
    facts: Facts | None
    problem: Unknown | None = None
    proof: Proof = "hashed"
    claim: Digest | None = None


@dataclass(frozen=True, slots=True)
class SourceMissing:
    """A source that is not there (ENOENT, ENOTDIR)."""

    message: str


SourceFact: TypeAlias = SourceFile | SourceMissing | Unknown
HubFact: TypeAlias = HubFound | SourceMissing | Unknown


@dataclass(frozen=True, slots=True)
class SmallLayer:
    """A layer whose bytes are at hand."""

    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """What the running Ollama makes of headers and overrides: its config blob, its small layers,
    and how many model layers it keeps. The config's `model_type` is still that of the stub."""

    config: bytes
    layers: tuple[SmallLayer, ...]
    models: int = 1


@dataclass(frozen=True, slots=True)
class Owned:
    """A name that Paddock made, or was told to own. `rebuilt`: the ledger was lost, and the marks
    in its manifest alone say so: it is repaired and updated, and removed only once adopted."""

    generation: int = 0
    rebuilt: bool = False


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a registry gave for a reference: the manifest as it was pulled."""

    digest: Digest
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Ledger:
    """The only remembered input: what is ours. `store_id` is None before the first claim; `scratch`
    are the scratch models that a killed Paddock left; `blobs` gives the model for which we made
    each; `runners` the GGUF behind manifests that we replaced. `withdrawn` were ours until their
    source went away; `paused` shall be left alone. `published` is what we made in publish trees, by
    path. `discovered` are the names given to files, by folder and path in it, `folders` the devices
    that folders are on. `damage` says that a damaged one was found."""

    store_id: str | None = None
    owned: Mapping[Name, Owned] = field(default_factory=dict)
    pulled: Mapping[Name, Pulled] = field(default_factory=dict)
    scratch: frozenset[Name] = frozenset()
    scratch_in_use: frozenset[Name] = frozenset()
    blobs: Mapping[Digest, Name] = field(default_factory=dict)
    runners: Mapping[Digest, Digest] = field(default_factory=dict)
    withdrawn: frozenset[Name] = frozenset()
    paused: frozenset[Name] = frozenset()
    published: Mapping[str, Published] = field(default_factory=dict)
    discovered: Mapping[tuple[str, str], Name] = field(default_factory=dict)
    folders: Mapping[str, int] = field(default_factory=dict)
    damage: Unknown | None = None


@dataclass(frozen=True, slots=True)
class Full:
    """Runners of `size_bytes` together do not fit into memory: a load showed it at `since`. Until
    `until`, and for this `generation` of the file, pins that come to as much are not tried."""

    size_bytes: int
    since: datetime
    until: datetime
    generation: str


@dataclass(frozen=True, slots=True)
class Went:
    """A model that is away: since when, how it was shown last, and the stamps of those that
    stayed."""

    at: datetime
    shown: Running
    beside: Mapping[Digest, datetime | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Load:
    """A load of ours that has ended: `done`, or not for want of memory. `num_ctx` is as the file
    gives it."""

    done: bool
    num_ctx: int | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """What the polls before this one saw, by GGUF: `expires` the last expiry of each runner that
    was judged, `loaded` the models that were loaded once since Paddock or Ollama started or their
    window opened, `runners` the GGUF behind the manifests that ps names, `gone` since when a file
    of a model is away. Empty for a single look.

    `shown` is what the last look saw alive; `loads` ended since then. `asserted` is the stamp that
    was shown when a keep_alive was set last, which a busy runner shows on. `loading` are under way.
    `sizes` is what runners took, by num_ctx; `held` the models that the file kept in memory.

    `busy` are known to be in use for as long as they show the same, `fresh` to be in their first
    use. `released` were told to go. `went` are wanted and away, and `came` what has come meanwhile;
    others are having `coming` loaded, since when. `most_bytes` were in memory at once; `full` did
    not fit."""

    polled_at: datetime | None = None
    expires: Mapping[Digest, datetime | None] = field(default_factory=dict)
    loaded: frozenset[tuple[Name, Digest]] = frozenset()
    runners: Mapping[Digest, Digest] = field(default_factory=dict)
    gone: Mapping[Name, datetime] = field(default_factory=dict)
    shown: Mapping[Digest, Running] = field(default_factory=dict)
    loads: Mapping[Digest, Load] = field(default_factory=dict)
    loading: frozenset[Digest] = frozenset()
    asserted: Mapping[Digest, datetime | None] = field(default_factory=dict)
    sizes: Mapping[tuple[Digest, int | None], int] = field(default_factory=dict)
    held: frozenset[Name] = frozenset()
    busy: Mapping[Digest, datetime | None] = field(default_factory=dict)
    fresh: frozenset[Digest] = frozenset()
    released: frozenset[Digest] = frozenset()
    went: Mapping[Digest, Went] = field(default_factory=dict)
    came: frozenset[Digest] = frozenset()
    coming: Mapping[Digest, datetime] = field(default_factory=dict)
    most_bytes: int = 0
    full: Full | None = None


@dataclass(frozen=True, slots=True)
class Observed:
    """One look at the world, at a time. `coming` are GGUFs that runners are being started for, by
    whose request ever, where that can be seen."""

    at: datetime
    version: str
    tags: Known[Mapping[Name, Tag]]
    running: Known[tuple[Running, ...]]
    manifests: Known[Mapping[Name, ManifestFile]]
    blobs: Known[Mapping[Digest, Blob]]
    ledger: Known[Ledger]
    sources: Mapping[str, SourceFact] = field(default_factory=dict)
    facts: Mapping[Digest, Facts] = field(default_factory=dict)
    probes: Mapping[Digest, ProbeAnswer] = field(default_factory=dict)
    memory: Memory = Memory()
    coming: frozenset[Digest] = frozenset()
    trees: TreesFound = field(default_factory=TreesFound)
    hub: Mapping[HubFile, HubFact] = field(default_factory=dict)

    @property
    def unknowns(self) -> tuple[Unknown, ...]:
        """The parts that could not be read."""
        parts = (self.tags, self.running, self.manifests, self.blobs, self.ledger)
        return tuple(part for part in parts if isinstance(part, Unknown))

    @property
    def complete(self) -> bool:
        """Whether every part was read: what a destructive step needs."""
        return not self.unknowns
