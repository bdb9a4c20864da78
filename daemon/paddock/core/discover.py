"""Discover: from folders of GGUFs to more desired models.

Pure. Which files become models, under which names, and what holds of files that are no longer seen:
where a folder is whole they are gone, where it is not they are unknown, and nothing of them is
withdrawn. A name once given stays with its file; models that the file declares come first.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from paddock.core.desired import (
    Desired,
    DesiredModel,
    Discover,
    File,
    Found,
    FromFile,
    LeftOut,
    State,
)
from paddock.core.discover_doubts import Doubts, devices_to_record
from paddock.core.discover_globs import matches
from paddock.core.discover_names import unique
from paddock.core.discover_scan import Scan
from paddock.core.layouts import STILL_WRITTEN, Candidate, candidates, half_written, key_of
from paddock.core.names import Name
from paddock.core.observed import Known, Unknown

Key: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Looked:
    """One folder of an entry of discover, and what was found in it. `assumed`: nobody named it, it
    is where a program keeps its models."""

    entry: Discover
    folder: str
    found: Known[Scan]
    assumed: bool = False


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the ledger holds of discovering: `names` given, by folder and path in it, and the
    devices of folders."""

    names: Mapping[Key, Name] = field(default_factory=dict)
    devices: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Discovered:
    """What is desired with the models that were found. `unsure` are the sources whose absence
    proves nothing, and why."""

    desired: Desired
    unsure: Mapping[str, Unknown]


def with_discovered(
    wish: Desired,
    looks: Sequence[Looked],
    remembered: Remembered,
    *,
    declared: Set[str],
    store: str,
) -> Discovered:
    """The wish with every GGUF of these folders in it. `declared` are the files of the models that
    it holds already (as written, and their real paths), `store` is the real models folder."""
    if not looks:
        return Discovered(wish, {})
    work = _Work(wish, remembered, declared, store)
    items = [item for look in looks for item in work.items(look)]
    for item in items:
        if item.name is not None:
            work.add_given(item, item.name)
    work.reserve(looks)
    for item in items:
        if item.name is None:
            work.add_new(item)
    return work.result()


@dataclass(frozen=True, slots=True)
class _Item:
    """A file that may become a model. `candidate` None: known from before, and not seen now."""

    look: Looked
    key: str
    candidate: Candidate | None
    name: Name | None
    doubt: Unknown | None = None

    @property
    def path(self) -> str:
        at = self.key if self.candidate is None else self.candidate.entry.path
        return posixpath.join(self.look.folder, at)


@dataclass(slots=True)
class _Work:
    wish: Desired
    remembered: Remembered
    declared: Set[str]
    store: str
    models: dict[Name, DesiredModel] = field(default_factory=dict)
    taken: set[Name] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    names: dict[Key, Name] = field(default_factory=dict)
    devices: dict[str, int] = field(default_factory=dict)
    unsure: dict[str, Unknown] = field(default_factory=dict)
    notes: list[LeftOut] = field(default_factory=list)
    found: dict[str, Key] = field(default_factory=dict)
    hidden: Mapping[Name, State] = field(init=False)

    def __post_init__(self) -> None:
        self.hidden = {name.folded: model.state for name, model in self.wish.models.items()}
        self.taken |= self.hidden.keys()
        self.files |= self.declared

    def result(self) -> Discovered:
        notes = tuple(dict.fromkeys(self.notes))
        found = Found(self.found, self.names, self.devices, notes)
        models = {**self.wish.models, **self.models}
        return Discovered(replace(self.wish, models=models, found=found), self.unsure)

    def items(self, look: Looked) -> Iterator[_Item]:
        """Every file of a folder that is meant: those that are there, and those that were."""
        known = {k: n for (f, k), n in self.remembered.names.items() if f == look.folder}
        doubts = Doubts.of(look.entry.layout, look.folder, look.found, known, self._devices(look))
        if doubts.whole is not None and not (look.assumed and not known):
            self._leave_out(look.folder, doubts.whole.reason, doubts.whole.message)
        there: set[str] = set()
        if isinstance(look.found, Scan):
            self._tell(look, look.found, doubts)
            self.devices |= devices_to_record(look.folder, look.found, doubts, self._devices(look))
            there = {key_of(look.entry.layout, entry.path) for entry in look.found.entries}
            yield from self._seen(look, look.found, doubts, known)
        for key in sorted(known.keys() - there):
            if _is_meant(look.entry, key):
                yield _Item(look, key, None, known[key], doubts.of_key(key))

    def _devices(self, look: Looked) -> Mapping[str, int]:
        prefix = f"{look.folder.rstrip('/')}/"
        return {
            path: device
            for path, device in self.remembered.devices.items()
            if path == look.folder or path.startswith(prefix)
        }

    def _tell(self, look: Looked, scan: Scan, doubts: Doubts) -> None:
        """What lies there and is left out, whatever the files are."""
        for path, why in scan.unread.items():
            self._leave_out(f"{look.folder}/{path}", why.reason, why.message)
        for path in scan.folder_links:
            what = "it is a link to a folder, which is not followed; name that folder in discover"
            self._leave_out(f"{look.folder}/{path}", "FolderLink", what)
        for key in half_written(look.entry.layout, scan):
            if _is_meant(look.entry, posixpath.splitext(key)[0]) and doubts.of_key(key) is None:
                self._leave_out(f"{look.folder}/{key}", "HalfWritten", "it is half-written")

    def _leave_out(self, path: str, reason: str, message: str) -> None:
        self.notes.append(LeftOut(path, reason, message))

    def _seen(
        self, look: Looked, scan: Scan, doubts: Doubts, known: Mapping[str, Name]
    ) -> Iterator[_Item]:
        found_all = candidates(look.entry.layout, scan, posixpath.basename(look.folder))
        # A file comes before the links to it.
        for found in sorted(found_all, key=lambda found: bool(found.entry.hop)):
            if not _is_meant(look.entry, found.key) or self._is_of_the_store(found):
                continue
            name = known.get(found.key)
            if name is not None and not found.missing:
                yield _Item(look, found.key, found, name)
            elif name is None and found.waits:
                reason = "StillWritten" if found.waits == STILL_WRITTEN else "HalfWritten"
                self._leave_out(f"{look.folder}/{found.key}", reason, found.waits)
            elif name is None and doubts.of_key(found.key) is None:
                yield _Item(look, found.key, found, None)

    def _is_of_the_store(self, found: Candidate) -> bool:
        """A blob of Ollama's, or a link to one, which is how models are published."""
        entry = found.entry
        prefix = f"{self.store.rstrip('/')}/"
        return entry.real_path.startswith(prefix) or entry.hop.startswith(prefix)

    def add_given(self, item: _Item, name: Name) -> None:
        """A file keeps the name that it has, unless that is declared."""
        if self._is_first(item) and not self._is_hidden(item, name):
            is_free = name.folded not in self.taken
            self._add(item, name if is_free else self._named(item, name))

    def reserve(self, looks: Iterable[Looked]) -> None:
        """What was given to other files of these folders is not given anew."""
        folders = {look.folder for look in looks}
        given = self.remembered.names.items()
        self.taken |= {name.folded for (folder, _), name in given if folder in folders}

    def add_new(self, item: _Item) -> None:
        """A new file gets a name of its own."""
        assert item.candidate is not None
        name = item.look.entry.name.name(item.candidate.fields, item.key)
        if self._is_first(item) and not self._is_hidden(item, name):
            self._add(item, self._named(item, name))

    def _named(self, item: _Item, name: Name) -> Name:
        found = unique(name, item.look.folder, item.key, self.taken)
        self.names[item.look.folder, item.key] = found
        return found

    def _is_first(self, item: _Item) -> bool:
        """One file is one model, also where several paths or folders lead to it."""
        real = item.path if item.candidate is None else item.candidate.entry.real_path
        if item.path in self.files or real in self.files:
            return False
        self.files |= {item.path, real}
        return True

    def _is_hidden(self, item: _Item, name: Name) -> bool:
        state = self.hidden.get(name.folded)
        if state is State.PRESENT:
            what = f"the file declares {name} itself; rename one of them, or exclude this one"
            self._leave_out(item.path, "NameDeclared", what)
        return state is not None

    def _add(self, item: _Item, name: Name) -> None:
        entry = item.look.entry
        projector = None if item.candidate is None else item.candidate.projector
        beside = None if projector is None else posixpath.join(item.look.folder, projector.path)
        source = FromFile(
            File(item.path, trust=entry.trust),
            projector=None if beside is None else File(beside, trust=entry.trust),
        )
        self.taken.add(name.folded)
        self.found[item.path] = item.look.folder, item.key
        self.models[name] = replace(entry.model, name=name, source=source)
        if item.doubt is not None:
            self.unsure[item.path] = item.doubt


def _is_meant(entry: Discover, key: str) -> bool:
    included = not entry.include or matches(key, entry.include)
    return included and not matches(key, entry.exclude)
