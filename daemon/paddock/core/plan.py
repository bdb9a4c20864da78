"""Plan: what to do, in order, as data.

Pure. A closed union of actions, each with a reason and the bytes that it links or copies. What is
printed is what is executed: `engine/apply.py` takes nothing but these. Carries no client and no
open file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, TypeAlias

from paddock.core.action import PlannedAction
from paddock.core.action import Subject as Subject  # noqa: PLC0414  told on
from paddock.core.composition import Composition
from paddock.core.desired import Overrides
from paddock.core.digest import Digest
from paddock.core.hub import HubFile
from paddock.core.names import Name
from paddock.core.observed import FileStat, Memory
from paddock.core.tree_facts import Thing


@dataclass(frozen=True, slots=True, kw_only=True)
class PullModel(PlannedAction):
    """Ask Ollama to pull `reference`. `copied_bytes` is None: known after apply."""

    rank: ClassVar[int] = 0
    reference: Name
    digest: Digest | None = None
    insecure: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadFile(PlannedAction):
    """Download what is missing of a model, files of one repository of the Hugging Face Hub.
    `copied_bytes` is None: known after apply."""

    rank: ClassVar[int] = 0
    files: tuple[HubFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HashSource(PlannedAction):
    """Read a source once, from end to end, and remember its digest."""

    rank: ClassVar[int] = 1
    path: str
    stat: FileStat


@dataclass(frozen=True, slots=True)
class Stub:
    """The stub of one file of a model, under the name that Ollama shall know it by."""

    file: str
    content: bytes
    is_draft: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeModel(PlannedAction):
    """Ask Ollama what it makes of the stubs of a model's files, with overrides, and remember the
    answer."""

    rank: ClassVar[int] = 2
    key: Digest
    stubs: tuple[Stub, ...]
    base: Composition | None
    overrides: Overrides


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteBlob(PlannedAction):
    """Put a small blob into the store."""

    rank: ClassVar[int] = 3
    digest: Digest
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkBlob(PlannedAction):
    """Make `blobs/sha256-…` a link to `target`. `generation` is recorded first, so that the
    manifest is written anew after a mended link even when we are killed between the two. It rises
    with each attempt, so it does not make one attempt another action than the last."""

    rank: ClassVar[int] = 4
    digest: Digest
    target: str
    stat: FileStat
    generation: int = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnloadModel(PlannedAction):
    """Take a runner out of memory and wait until ps says so. `manifest_digest` is the one it was
    loaded with, `model_digest` its GGUF: where `running` does not reach that any more, another name
    is asked by, or one that is made for it."""

    rank: ClassVar[int] = 5
    running: Name
    manifest_digest: Digest
    model_digest: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteManifest(PlannedAction):
    """Publish the model: every blob is there, the manifest is renamed into place. `needs` tells one
    from another: the rest of `content` differs by the generation."""

    rank: ClassVar[int] = 6
    content: bytes = field(compare=False)
    digest: Digest = field(compare=False)
    model_digest: Digest | None
    needs: frozenset[Digest]
    files: frozenset[Digest] = frozenset()
    replaces: Digest | None
    generation: int = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadModel(PlannedAction):
    """Load the model, with a keep_alive (seconds; -1 for ever; None for Ollama's own). `num_ctx` is
    what the file gives it, to know its size by: the manifest says so too."""

    rank: ClassVar[int] = 8
    keep_alive: int | float | None
    num_ctx: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetKeepAlive(PlannedAction):
    """Assert the keep_alive of a model that is in memory; 0 lets it go after its last request.
    `running` is the name to ask by, with the `num_ctx` that it was loaded with: Ollama reloads a
    model of which it is asked for another (ollama:server/sched.go needsReload). Before any load:
    one that had just been evicted would be loaded again."""

    rank: ClassVar[int] = 7
    keep_alive: int | float
    running: Name
    num_ctx: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveManifest(PlannedAction):
    """Remove a model: its manifest, only while it has this digest. With `until_back` the name is
    given up until its source is there again."""

    rank: ClassVar[int] = 10
    digest: Digest
    until_back: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlinkBlob(PlannedAction):
    """Remove a blob that no manifest names any more; of a link, the link only."""

    rank: ClassVar[int] = 11
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveScratch(PlannedAction):
    """Remove a scratch model that a probe left behind when it was killed."""

    rank: ClassVar[int] = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishLink(PlannedAction):
    """Make a link (or, with `content`, a small file) at a path of a publish tree, and the folders
    on the way; over nothing but `replaces`, which is ours."""

    rank: ClassVar[int] = 9
    tree: str
    path: str
    thing: Thing
    content: bytes | None = None
    replaces: Thing | None = None

    @property
    def subject(self) -> Subject:
        return self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpublishLink(PlannedAction):
    """Remove what we made at a path of a publish tree, if it is still that (of folders, empty
    ones), and claim it no longer."""

    rank: ClassVar[int] = 13
    tree: str
    path: str
    thing: Thing

    @property
    def subject(self) -> Subject:
        return self.path


Action: TypeAlias = (
    PullModel
    | DownloadFile
    | HashSource
    | ProbeModel
    | WriteBlob
    | LinkBlob
    | UnloadModel
    | WriteManifest
    | LoadModel
    | SetKeepAlive
    | RemoveManifest
    | UnlinkBlob
    | RemoveScratch
    | PublishLink
    | UnpublishLink
)


@dataclass(frozen=True, slots=True)
class Blocked:
    """A model for which nothing can be done now: why, and what a person can do. `gone` says that a
    file of it is not there any more, or not what it was declared to be; a model that is broken by
    this is withdrawn at `withdraw_at`, if it is so still."""

    name: Name
    reason: str
    message: str
    gone: bool = False
    withdraw_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A model whose actions are known only after those of the model that it is derived from."""

    name: Name
    reason: str
    message: str
    symbol: str


@dataclass(frozen=True, slots=True)
class Note:
    """A path of a publish tree that stays as it is, or one of discover that gives no model, and
    why."""

    path: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Actions in the only legal order, and what is blocked. No actions: converged, or blocked."""

    generation: str
    file: str
    models: int
    actions: tuple[Action, ...] = ()
    blocked: tuple[Blocked, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    notes: tuple[Note, ...] = ()
    suspended: Mapping[Name, str] = field(default_factory=dict)  # by model, why it is left alone
    # What each model is made of, as far as it is known: for Status, not for apply. Its GGUF, all of
    # its files, and their bytes.
    made_of: Mapping[Name, Digest] = field(default_factory=dict)
    files: Mapping[Name, tuple[Digest, ...]] = field(default_factory=dict)
    sizes: Mapping[Name, int] = field(default_factory=dict)
    # What the next look has to know of runners; None where ps could not be read.
    memory: Memory | None = field(default=None, compare=False)

    @property
    def symbols(self) -> Mapping[Name, str]:
        """One symbol a model that has one: `!` where it is blocked, else its actions'."""
        found: dict[Name, str] = {}
        for planned in (*self.waiting, *self.actions):
            found.setdefault(planned.name, planned.symbol)
        return found | {blocked.name: "!" for blocked in self.blocked}

    @property
    def summary(self) -> Mapping[str, int]:
        """How many models each thing happens to."""
        symbols = list(self.symbols.values())
        words = {"add": "+", "change": "~", "remove": "-", "blocked": "!"}
        return {word: symbols.count(symbol) for word, symbol in words.items()}
