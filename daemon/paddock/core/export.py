"""Export: models.yaml for what is installed, so that another host becomes the same.

Pure. A model of a registry is pinned by its manifest; one that shares a registry's files is derived
from it; all else is a GGUF, by the file that its link leads to or by Ollama's own blob, with what
its small layers say. Where the caches know what Ollama adds to a header by itself, that is left
out. What cannot be said is a comment, and never a guess.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from paddock.core.composition import from_manifest, probe_key
from paddock.core.digest import Digest
from paddock.core.export_layers import Said, over, parts_of, read_layers
from paddock.core.manifest import (
    ADAPTER_TYPE,
    DRAFT_TYPE,
    FILE_TYPES,
    MODEL_TYPE,
    PROJECTOR_TYPE,
    Manifest,
)
from paddock.core.names import Name
from paddock.core.observed import ProbeAnswer
from paddock.core.spec_text import Unwritable, models_text

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True, slots=True)
class Pull:
    """What a registry gave: under which reference, and its manifest."""

    reference: Name
    digest: Digest
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Installed:
    """A model that is there. `pull` is what its registry gave, where it came from one: its own
    manifest, or the one behind ours under the same name. `stubs` are the digests of its header's
    stubs, where those are known; `is_pinned` says that it is in memory for ever."""

    name: Name
    manifest: Manifest
    pull: Pull | None = None
    stubs: tuple[Digest, ...] = ()
    is_pinned: bool = False

    @property
    def files(self) -> tuple[tuple[str, Digest], ...]:
        """The files that it is made of."""
        found = [layer for layer in self.manifest.layers if layer.media_type in FILE_TYPES]
        return tuple((layer.media_type, layer.digest) for layer in found)


@dataclass(frozen=True, slots=True)
class FilePlace:
    """Where the bytes of a blob are: the target of its link, or Ollama's own file. `note` says what
    is to be known of it."""

    path: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Inventory:
    """All that is installed, with what is at hand: the bytes of small blobs, where the large ones
    are, and Ollama's answers to probes. `skipped` are models that cannot be told, and why."""

    models: Sequence[Installed]
    texts: Mapping[Digest, bytes]
    places: Mapping[Digest, FilePlace]
    probes: Mapping[Digest, ProbeAnswer] = field(default_factory=dict)
    skipped: Mapping[Name, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Export:
    """Models as keys of models.yaml, comments by name, and what was left out, with the reason."""

    models: Mapping[str, Mapping[str, Any]]
    comments: Mapping[str, str]
    skipped: Mapping[str, str]


def remote_of(config: bytes | None) -> str:
    """Where a model runs that is no file here, by its config; empty for a local one."""
    try:
        document = json.loads(config or b"{}")
    except (ValueError, RecursionError):
        return ""
    host = document.get("remote_host") if isinstance(document, dict) else None
    return host if isinstance(host, str) else ""


def export(inventory: Inventory, names: Collection[Name], *, digests: bool = True) -> Export:
    """What models.yaml says of the installed models of these names; `digests` pins every source."""
    exporter = _Exporter(inventory, frozenset(names), digests)
    models, comments = {}, {}
    skipped = {n.display: why for n, why in inventory.skipped.items() if n in exporter.names}
    for model in sorted(inventory.models, key=lambda model: model.name):
        if model.name not in exporter.names:
            continue
        entry = exporter.entry(model)
        if isinstance(entry, str):
            skipped[model.name.display] = entry
            continue
        models[model.name.display] = entry.keys
        comments[model.name.display] = "\n".join(entry.notes)
    return Export(models, comments, dict(sorted(skipped.items())))


@dataclass(slots=True)
class _Exporter:
    inventory: Inventory
    names: frozenset[Name]
    digests: bool
    based: set[Name] = field(default_factory=set)

    def entry(self, model: Installed) -> Said | str:
        """The keys of one model, or why there are none."""
        said = read_layers(model.manifest, self.inventory.texts)
        short = self._of_registry(model, said) or self._of_base(model, said)
        found = self._of_files(model, said) if short is None else short
        if isinstance(found, str):
            return found
        held = {"preload": True, "keep_alive": "forever"} if model.is_pinned else {}
        keys = {**found.keys, **held}
        try:
            models_text({model.name.display: keys})
        except Unwritable:
            return "its texts hold a NUL character, which models.yaml cannot hold"
        return Said(keys, found.notes)

    def _of_registry(self, model: Installed, said: Said) -> Said | None:
        if model.pull is None:
            return None
        return self._over(said, self._said(model.pull.manifest), self._registry(model.pull))

    def _of_base(self, model: Installed, said: Said) -> Said | None:
        """A model over the files of one from a registry, or one that was derived here."""
        for base in self.inventory.models:
            if base.name == model.name or base.files != model.files or not model.files:
                continue
            its = self._said(base.manifest)
            if base.pull is None and not self._was_derived(model, base, over(said, its)):
                continue
            source = self._base(base)
            found = None if source is None else self._over(said, its, source)
            if found is not None:
                self.based.add(model.name)
                return found
        return None

    def _base(self, base: Installed) -> Mapping[str, Any] | None:
        """A base by its name, where that is told of too; else by what its registry gave."""
        if base.name in self.names:
            return {"model": base.name.display}
        stands = base.pull is not None and base.pull.manifest == base.manifest
        return self._registry(base.pull) if base.pull is not None and stands else None

    def _was_derived(self, model: Installed, base: Installed, said: Said | None) -> bool:
        """Whether Ollama was asked just that, and answered what is there."""
        if said is None or not said.keys or base.name in self.based or not model.stubs:
            return False
        composed = from_manifest(base.manifest)
        return self._answers(probe_key(model.stubs[:1], composed, said.overrides), model)

    def _over(self, said: Said, base: Said, source: Mapping[str, Any]) -> Said | None:
        written = over(said, base)
        return None if written is None else Said({"source": source, **written.keys}, written.notes)

    def _said(self, manifest: Manifest) -> Said:
        return read_layers(manifest, self.inventory.texts)

    def _registry(self, pull: Pull) -> dict[str, Any]:
        source: dict[str, Any] = {"registry": pull.reference.display}
        if self.digests:
            source["digest"] = pull.digest
        if pull.reference.host.rpartition(":")[0] in _LOOPBACK or pull.reference.host in _LOOPBACK:
            source["insecure"] = True  # nobody has a certificate for this
        return source

    def _of_files(self, model: Installed, said: Said) -> Said | str:
        source = self._files(model)
        if isinstance(source, str):
            return source
        notes = [self.inventory.places[digest].note for _, digest in model.files]
        written = self._written(model, said)
        return Said(
            {"source": source, **written.keys},
            (*dict.fromkeys(filter(None, notes)), *said.notes),
        )

    def _written(self, model: Installed, said: Said) -> Said:
        """Of what the layers say, what Ollama would not add by itself, as far as it is known."""
        for part in parts_of(said) if model.stubs else ():
            if self._answers(probe_key(model.stubs, None, part.overrides), model):
                return part
        return said

    def _answers(self, key: Digest, model: Installed) -> bool:
        answer = self.inventory.probes.get(key)
        if answer is None:
            return False
        small = [la for la in model.manifest.layers if la.media_type not in FILE_TYPES]
        texts = {(la.media_type, self.inventory.texts.get(la.digest)) for la in small}
        return {(la.media_type, la.content) for la in answer.layers} == texts

    def _files(self, model: Installed) -> dict[str, Any] | str:
        """The source of a model that is made of files, or why it cannot be one."""
        kinds = dict.fromkeys(kind for kind, _ in model.files)
        if MODEL_TYPE not in kinds:
            return "it is not made of GGUF files"
        lost = [digest for _, digest in model.files if digest not in self.inventory.places]
        if lost:
            return f"its blob {lost[0][:19]} is missing; pull or create it again"
        source: dict[str, Any] = {}
        for kind, key in (
            (MODEL_TYPE, "gguf"),
            (PROJECTOR_TYPE, "projector"),
            (DRAFT_TYPE, "draft"),
        ):
            of_kind = [digest for its, digest in model.files if its == kind]
            if len(of_kind) > 1 and not (kind == MODEL_TYPE and self._is_split(of_kind)):
                return f"it has {len(of_kind)} {key} files, and models.yaml takes one"
            if of_kind:
                source |= self._file(key, of_kind[0])
        adapters = [digest for kind, digest in model.files if kind == ADAPTER_TYPE]
        if adapters:
            source["adapters"] = [self._beside(digest) for digest in adapters]
        return source

    def _is_split(self, digests: Sequence[Digest]) -> bool:
        """Whether these are the parts of a split GGUF, found from its first part."""
        count = len(digests)
        ends = [f"-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1)]
        paths = [self.inventory.places[digest].path for digest in digests]
        stems = {path.removesuffix(end) for path, end in zip(paths, ends, strict=True)}
        return len(stems) == 1 and not stems & {*paths}

    def _file(self, key: str, digest: Digest) -> Mapping[str, Any]:
        if key != "gguf":
            return {key: self._beside(digest)}
        pin = {"sha256": digest.removeprefix("sha256:")} if self.digests else {}
        return {key: self.inventory.places[digest].path, **pin}

    def _beside(self, digest: Digest) -> str | dict[str, Any]:
        path = self.inventory.places[digest].path
        return {"path": path, "sha256": digest.removeprefix("sha256:")} if self.digests else path


def export_head(*, at: str, host: str, version: str) -> str:
    """The comment that says where models.yaml comes from."""
    ollama = f"Ollama {version}" if version else "an Ollama that did not answer"
    return f"What {host} had on {at}, with {ollama}. Written by paddock export."


def skipped_lines(skipped: Mapping[str, str]) -> str:
    """The comment on models that are not in the file."""
    return "\n".join(f"{name}: left out, {why}" for name, why in skipped.items())
