"""Desired: what models.yaml asks for, with defaults filled in and names and sources resolved.

Pure. Made by `core/resolve.py` from a Spec; read by the planner. It holds nothing about the world:
whether a file exists or a base model is installed is for Observed to say.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from paddock.core.access import Access
from paddock.core.digest import Digest
from paddock.core.keep_alive import KeepAlive
from paddock.core.names import Name

ParameterValue: TypeAlias = bool | int | float | str | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FromFile:
    """A GGUF on this host, linked where it lies. `path` is absolute, as the file wrote it."""

    path: str


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


Source: TypeAlias = FromFile | FromRegistry | FromModel


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
class Residency:
    """What the file says about memory. `keep_alive` None leaves the model's use to its clients."""

    preload: bool = False
    keep_alive: KeepAlive | None = None


@dataclass(frozen=True, slots=True)
class DesiredModel:
    """One model as it shall be. `source` is None only where `state` is ABSENT. `access` None: for
    whoever may open the socket."""

    name: Name
    state: State
    source: Source | None
    overrides: Overrides = Overrides()
    residency: Residency = Residency()
    access: Access | None = None


@dataclass(frozen=True, slots=True)
class Desired:
    """All that the file asks for. `generation` is the same for the same meaning."""

    models: Mapping[Name, DesiredModel]
    generation: str
    file: str

    @property
    def depth(self) -> int:
        """How many models deep a derivation goes."""
        return max((len(self.bases(name)) for name in self.models), default=0)

    def bases(self, name: Name) -> list[Name]:
        """The declared models that one is derived from, next first."""
        found: list[Name] = []
        source = self.models[name].source
        while isinstance(source, FromModel) and source.base in self.models.keys() - {*found, name}:
            found.append(source.base)
            source = self.models[source.base].source
        return found
