"""Publish trees as data: what is asked for, what is there, and what of it is ours.

Pure. A tree is a folder of links to GGUFs, for other programs. What lies at a path of it is a
Thing, and the ledger remembers a Thing for each path that we made: it is ours only while both are
the same.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal, TypeAlias, cast

from paddock.core.digest import Digest
from paddock.core.names import Name
from paddock.core.unknown import Unknown

Kind: TypeAlias = Literal["link", "file", "folder", "root"]
_KINDS = frozenset({"link", "file", "folder", "root"})
_MADE = "made"
_FOUND = "found"


class Layout(enum.Enum):
    """How the program that reads a tree wants it."""

    DIRECTORY = "directory"
    LMSTUDIO = "lmstudio"
    TRANSFORMERLAB = "transformerlab"


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree as it shall be; `path` is absolute, as the file wrote it."""

    path: str
    layout: Layout = Layout.DIRECTORY
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()

    def wants(self, name: Name) -> bool:
        """Whether a model belongs into the tree: by its name as people write it, in any case."""
        return _matches(name, self.include) and not _matches(name, self.exclude)


@dataclass(frozen=True, slots=True, order=True)
class Thing:
    """What lies at a path. `content` is the target of a link, the digest of a small file ("" of
    any other thing), nothing for a folder; for a root, whether we made it and its device."""

    kind: Kind
    content: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.content}"

    @classmethod
    def parse(cls, text: str) -> Thing:
        """Reads what `str` gives. Raises ValueError."""
        kind, _, content = text.partition(" ")
        if kind not in _KINDS:
            raise ValueError(f"{text!r} is nothing that lies in a tree")
        return cls(cast("Kind", kind), content)

    @classmethod
    def root(cls, device: int, *, made: bool) -> Thing:
        """The folder that a tree is, on a device; `made` by us, or found there."""
        return cls("root", f"{_MADE if made else _FOUND} {device}")

    @property
    def device(self) -> str:
        """The device of a root."""
        return self.content.rpartition(" ")[2]

    @property
    def is_made(self) -> bool:
        """Whether it is for us to remove: all but a root that was there before."""
        return self.kind != "root" or self.content.startswith(_MADE)


FOLDER = Thing("folder")


@dataclass(frozen=True, slots=True)
class Published:
    """What the ledger holds of a path: what we made there, and for which model."""

    thing: Thing
    name: Name


@dataclass(frozen=True, slots=True)
class Root:
    """The folder of a tree, with no link on the way in `real_path`. `in_store`: it lies in the
    models folder."""

    real_path: str
    device: int
    in_store: bool = False


Place: TypeAlias = Thing | Unknown | None


@dataclass(frozen=True, slots=True)
class TreesFound:
    """One look at the trees: each declared or claimed root (None: not there, its parent is), what
    lies at each path that counts (None: nothing), and where the blobs lie."""

    roots: Mapping[str, Root | Unknown | None] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)
    blob_paths: Mapping[Digest, str] = field(default_factory=dict)


def _matches(name: Name, globs: tuple[str, ...]) -> bool:
    spellings = {name.display.lower(), name.short.lower()}
    return any(fnmatchcase(text, glob.lower()) for glob in globs for text in spellings)
