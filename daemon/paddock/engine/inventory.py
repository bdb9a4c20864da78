"""Inventory: what is installed, for `export` and `adopt`, told from the store alone.

Reads manifests, small blobs, the ledger and the caches; asks Ollama nothing and writes nothing. A
manifest does not say where it came from, so it is judged by what each maker leaves behind.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from paddock.core.digest import Digest, short
from paddock.core.export import FilePlace, Installed, Inventory, Pull, remote_of
from paddock.core.manifest import (
    ADAPTER_TYPE,
    CONFIG_TYPE,
    DRAFT_TYPE,
    LICENSE_TYPE,
    MESSAGES_TYPE,
    MODEL_TYPE,
    NAME_MARK,
    PARAMS_TYPE,
    PROJECTOR_TYPE,
    STORE_MARK,
    SYSTEM_TYPE,
    TEMPLATE_TYPE,
    Manifest,
)
from paddock.core.names import Name, is_scratch
from paddock.core.observed import Blob, Ledger, LinkBlob, ManifestFile, SourceMissing, Unknown
from paddock.edges import sources
from paddock.edges.state import State
from paddock.edges.store import Store
from paddock.errors import InvalidName, StoreError

_SMALL = frozenset(
    {CONFIG_TYPE, TEMPLATE_TYPE, SYSTEM_TYPE, PARAMS_TYPE, MESSAGES_TYPE, LICENSE_TYPE}
)
_STUB_ORDER = (MODEL_TYPE, PROJECTOR_TYPE, DRAFT_TYPE)
_HUB = re.compile(r"/models--([^/]+?)--([^/]+)/")
_FROM_HUB = "it came from huggingface.co/{repo}: source: {{huggingface: {repo}}} downloads it anew"
_AWAY = "its file {path} is not there now"
_OWN = "{path} is a file of Ollama's own: bring it along, or name the GGUF that it was made from"


def installed_names(store: Store, texts: Sequence[str]) -> list[Name]:
    """Every name in the store, or those that `texts` mean, in the store's case. Raises InvalidName,
    and StoreError where one is not installed."""
    present = [name for name in sorted(store.manifests()) if not is_scratch(name)]
    if not texts:
        return present
    return list(dict.fromkeys(_installed(present, text, store) for text in texts))


def _installed(present: Sequence[Name], text: str, store: Store) -> Name:
    name = Name.parse_api(text)
    found = [other for other in present if other.folded == name.folded]
    if not found:
        what = f"{name} is not installed in {store.root}"
        raise StoreError(f"{what}; see ollama list", reason="NotInstalled")
    return name if name in found else found[0]


def take_inventory(store: Store, state: State, pinned: Collection[Name] = ()) -> Inventory:
    """All that is installed, with as much as can be told of each; `pinned` are in memory for ever,
    each in lower case."""
    manifests = {name: found for name, found in store.manifests().items() if not is_scratch(name)}
    taker = _Taker(store, state, state.ledger(), store.blobs(), manifests)
    for name, found in sorted(manifests.items()):
        taker.take(name, found, is_pinned=name.folded in pinned)
    return Inventory(taker.models, taker.texts, taker.places, state.probes(), taker.skipped)


@dataclass(slots=True)
class _Taker:
    store: Store
    state: State
    ledger: Ledger
    blobs: Mapping[Digest, Blob]
    manifests: Mapping[Name, ManifestFile]
    models: list[Installed] = field(default_factory=list)
    texts: dict[Digest, bytes] = field(default_factory=dict)
    places: dict[Digest, FilePlace] = field(default_factory=dict)
    skipped: dict[Name, str] = field(default_factory=dict)

    def take(self, name: Name, found: ManifestFile, *, is_pinned: bool) -> None:
        """Take one model in, or say why not."""
        manifest = found.manifest
        if manifest is None:
            self.skipped[name] = "its manifest cannot be read"
            return
        lost = self._read_texts(manifest)
        config = None if manifest.config is None else self.texts.get(manifest.config.digest)
        pull = self._pull(name, found, manifest)
        if why := _unnameable(name, remote_of(config)):
            self.skipped[name] = why
        elif lost is not None and pull is None:
            self.skipped[name] = f"its blob {short(lost)} is missing; create it again"
        else:
            self._place_files(manifest)
            if pull is not None:
                self._read_texts(pull.manifest)
            stubs = tuple(self._stubs(manifest))
            self.models.append(Installed(name, manifest, pull, stubs, is_pinned))

    def _read_texts(self, manifest: Manifest) -> Digest | None:
        """The small blobs of a manifest; gives one that is missing."""
        config = () if manifest.config is None else (manifest.config,)
        lost = None
        for layer in (*config, *manifest.layers):
            if layer.media_type in _SMALL and layer.digest not in self.texts:
                try:
                    self.texts[layer.digest] = self.store.read_blob(layer.digest)
                except StoreError:
                    lost = layer.digest
        return lost

    def _place_files(self, manifest: Manifest) -> None:
        for layer in manifest.layers:
            match self.blobs.get(layer.digest):
                case LinkBlob(target, ok):
                    hub = _HUB.search(target)
                    note = "" if hub is None else _FROM_HUB.format(repo=f"{hub[1]}/{hub[2]}")
                    note = note if ok else _AWAY.format(path=target)
                    self.places[layer.digest] = FilePlace(target, note)
                case None:
                    pass
                case _:
                    path = str(self.store.blob_path(layer.digest).absolute())
                    self.places[layer.digest] = FilePlace(path, _OWN.format(path=path))

    def _stubs(self, manifest: Manifest) -> Iterator[Digest]:
        """The digests of its header's stubs, in the order in which Ollama is asked; none where a
        header was never read, or there is an adapter, which no stub stands for."""
        if any(layer.media_type == ADAPTER_TYPE for layer in manifest.layers):
            return
        layers = [
            layer for kind in _STUB_ORDER for layer in manifest.layers if layer.media_type == kind
        ]
        facts = [self._stub(layer.digest) for layer in layers]
        yield from (stub for stub in facts if stub is not None and None not in facts)

    def _stub(self, digest: Digest) -> Digest | None:
        found = sources.look(str(self.store.blob_path(digest)))
        if isinstance(found, SourceMissing | Unknown):
            return None
        # Ollama changes the times of what it makes another model from.
        record = self.state.file(found[1]) or self.state.file_before(*found)
        return None if record is None or record.facts is None else record.facts.stub_digest

    def _pull(self, name: Name, found: ManifestFile, manifest: Manifest) -> Pull | None:
        """Where a model comes from, if that is a registry."""
        record, is_ours = self.ledger.pulled.get(name), self._is_ours(name, manifest)
        if record is not None and (is_ours or record.digest in found.digests):
            return Pull(name, record.digest, record.manifest)
        if is_ours or not self._looks_pulled(name, manifest):
            return None
        return Pull(self._original(name, found), found.digest, manifest)

    def _is_ours(self, name: Name, manifest: Manifest) -> bool:
        marks = manifest.annotations
        return (marks.get(NAME_MARK), marks.get(STORE_MARK)) == (name.full, self.ledger.store_id)

    def _looks_pulled(self, name: Name, manifest: Manifest) -> bool:
        """Ollama ends a manifest that it creates with a newline (ollama:manifest/manifest.go
        WriteManifest), and keeps the bytes of one that it pulls; nobody pulls a link."""
        content = self.store.manifest_bytes(name) or b"\n"
        linked = (isinstance(self.blobs.get(digest), LinkBlob) for digest in manifest.digests)
        return not (content.endswith(b"\n") or NAME_MARK in manifest.annotations or any(linked))

    def _original(self, name: Name, found: ManifestFile) -> Name:
        """Of names with one manifest, those of other repositories are copies of the eldest."""
        same = [other for other, its in self.manifests.items() if its.digest == found.digest]
        eldest = min(same, key=lambda other: (self._made_ns(other), other))
        return name if eldest.parts[:3] == name.parts[:3] else eldest

    def _made_ns(self, name: Name) -> int:
        with contextlib.suppress(OSError):
            return self.store.manifest_path(name).stat().st_mtime_ns
        return 0


def _unnameable(name: Name, remote: str) -> str:
    """Why a model cannot be in models.yaml, if so."""
    if remote:
        return f"it runs at {remote}, not here"
    try:
        Name.parse(name.display)
    except InvalidName:
        return f"Ollama keeps the tag {name.tag} to itself"
    return ""
