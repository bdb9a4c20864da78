"""Desired: what models.yaml asks for, with defaults filled in and names and sources resolved.

Pure. Made by `core/resolve.py` from a Spec; read by the planner. It holds nothing about the world:
whether a file exists or a base model is installed is for Observed to say.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, time, tzinfo
from typing import Literal, TypeAlias

from paddock.core.access import Access
from paddock.core.digest import Digest
from paddock.core.discover_names import NameTemplate
from paddock.core.hub import HubFile
from paddock.core.keep_alive import FOREVER, UNLOAD, KeepAlive
from paddock.core.layouts import Layout
from paddock.core.names import Name
from paddock.core.tree_facts import Tree

ParameterValue: TypeAlias = bool | int | float | str | tuple[str, ...]


class Trust(enum.Enum):
    """What is believed of a digest that was not computed: a `sha256` in the file, or the name of a
    blob in a cache. VERIFY hashes the file before it is used, NAME afterwards."""

    VERIFY = "verify"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class File:
    """A file on this host, linked where it lies. `path` is absolute, as the file wrote it; `sha256`
    is what its author says that it is."""

    path: str
    sha256: Digest | None = None
    trust: Trust = Trust.VERIFY


@dataclass(frozen=True, slots=True)
class FromHub:
    """A GGUF of the Hugging Face Hub, and its projector: files of one repository, `model` and
    `projector` by path or glob. Becomes a FromFile where a look has found both on this host."""

    model: HubFile
    projector: HubFile | None = None
    sha256: Digest | None = None
    trust: Trust = Trust.VERIFY

    @property
    def files(self) -> tuple[HubFile, ...]:
        """Every file, the model's own first."""
        return (self.model,) if self.projector is None else (self.model, self.projector)


@dataclass(frozen=True, slots=True)
class FromFile:
    """A GGUF on this host, with the files that go with it; `hub` where it was looked for as a file
    of the Hugging Face Hub."""

    model: File
    projector: File | None = None
    adapters: tuple[File, ...] = ()
    draft: File | None = None
    hub: FromHub | None = None

    @property
    def files(self) -> tuple[File, ...]:
        """Every file, the model's own first."""
        beside = [file for file in (self.projector, self.draft) if file is not None]
        return (self.model, *self.adapters, *beside)


@dataclass(frozen=True, slots=True)
class FromRegistry:
    """A model that Ollama pulls. `digest` pins the registry's manifest."""

    reference: Name
    digest: Digest | None = None
    insecure: bool = False


@dataclass(frozen=True, slots=True)
class FromModel:
    """A model that shares the blobs of another one, declared here or installed."""

    base: Name


Source: TypeAlias = FromFile | FromHub | FromRegistry | FromModel


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation that the model starts with."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the file says over what the source brings."""

    template: str | None = None
    system: str | None = None
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    messages: tuple[Message, ...] = ()
    license: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(
            self.template is not None
            or self.system is not None
            or self.parameters
            or self.messages
            or self.license
        )


class State(enum.Enum):
    """Whether a model shall exist."""

    PRESENT = "present"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Window:
    """A time of the week with a policy of its own: `days` from Monday, 0, on which it opens, at
    `start`, to `end`, which is of the next day where it is not after `start`. `preload` and
    `keep_alive` are all that holds while it is open."""

    days: frozenset[int]
    start: time
    end: time
    preload: bool = False
    keep_alive: KeepAlive | None = None


@dataclass(frozen=True, slots=True)
class Bounds:
    """The keep_alives that a client may ask for, both ends included."""

    least: KeepAlive = UNLOAD
    most: KeepAlive = FOREVER


Clients: TypeAlias = Literal["deny", "allow"] | Bounds | None


@dataclass(frozen=True, slots=True)
class Residency:
    """What the file says about memory. `keep_alive` None leaves the model's use to its clients.
    `schedule`: the first window that is open holds. Where memory is short, the higher `priority`
    stays. `clients` is what a client's own keep_alive counts; None: nothing where the file gives
    one, else all."""

    preload: bool = False
    keep_alive: KeepAlive | None = None
    schedule: tuple[Window, ...] = ()
    priority: int = 0
    clients: Clients = None


@dataclass(frozen=True, slots=True)
class DesiredModel:
    """One model as it shall be. `source` is None only where `state` is ABSENT. `access` None: for
    whoever may open the socket. `suspended`: left alone, as it is."""

    name: Name
    state: State
    source: Source | None
    overrides: Overrides = Overrides()
    residency: Residency = Residency()
    access: Access | None = None
    suspended: bool = False


@dataclass(frozen=True, slots=True)
class Discover:
    """A folder in which every GGUF becomes a model. `path` None: where the layout's program keeps
    them; `model` is what each is made like, its name and source to be filled in."""

    layout: Layout
    path: str | None
    name: NameTemplate
    model: DesiredModel
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    trust: Trust = Trust.VERIFY


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file or folder of discover that gives no model, and why."""

    path: str
    reason: str
    message: str

    @property
    def sentence(self) -> str:
        """What is told of it, with its path."""
        return self.message if self.path in self.message else f"{self.path}: {self.message}"


@dataclass(frozen=True, slots=True)
class Found:
    """What discovering found out: `files` that became models, by path, each with its folder and the
    path in it. New `names` of such and `devices` of folders are to be recorded before the first
    claim; `notes` tell of what was left out."""

    files: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    names: Mapping[tuple[str, str], Name] = field(default_factory=dict)
    devices: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[LeftOut, ...] = ()


@dataclass(frozen=True, slots=True)
class Prune:
    """Whether models of ours that are no longer named go: up to `most` at once whatever their
    share, or all of them where a person asked for it (`forced`)."""

    on: bool = False
    most: int | None = None
    forced: bool = False


@dataclass(frozen=True, slots=True)
class Desired:
    """All that the file asks for. `generation` is the same for the same meaning. What folders are
    to be searched for is in `discover`, and in `models` once they were looked at. `warnings` are
    what the file says and hardly means."""

    models: Mapping[Name, DesiredModel]
    generation: str
    file: str
    discover: tuple[Discover, ...] = ()
    found: Found = Found()
    publish: tuple[Tree, ...] = ()
    prune: Prune = Prune()
    memory_limit_bytes: int | None = None
    timezone: tzinfo = UTC
    warnings: tuple[str, ...] = ()

    def pruning(self) -> Desired:
        """The same, and a person asks that what is no longer named goes."""
        return replace(self, prune=replace(self.prune, on=True, forced=True))

    @property
    def files(self) -> Mapping[str, tuple[File, ...]]:
        """Every file that a model is declared to be made of, by its path."""
        found: dict[str, tuple[File, ...]] = {}
        for model in self.models.values():
            if isinstance(model.source, FromFile):
                for file in model.source.files:
                    found[file.path] = (*found.get(file.path, ()), file)
        return found

    @property
    def depth(self) -> int:
        """How many models deep a derivation goes."""
        derived = (n for n, m in self.models.items() if isinstance(m.source, FromModel))
        return max((len(self.bases(name)) for name in derived), default=0)

    def bases(self, name: Name) -> list[Name]:
        """The declared models that one is derived from, next first."""
        found: list[Name] = []
        source = self.models[name].source
        while isinstance(source, FromModel) and source.base in self.models:
            if source.base in (*found, name):
                break
            found.append(source.base)
            source = self.models[source.base].source
        return found
