"""What a publish tree shall hold: from the models that are installed to links at paths.

Pure. A link leads straight to where the bytes are. Where the blob is a real file, that is the blob;
where the blob is a link to a user's file, it is that file: who reads the tree then needs no way
through Ollama's folders, and the link lives on when Ollama removes its own. It is moved with each
change of the blob, so nothing is gained by a link to a link.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from paddock.core.digest import Digest, digest_of
from paddock.core.manifest import MODEL_TYPE, PROJECTOR_TYPE, Manifest
from paddock.core.names import Name, is_scratch
from paddock.core.observed import Blob, LinkBlob, ManifestFile
from paddock.core.tree_facts import Layout, Root, Thing, Tree
from paddock.core.tree_names import Spot, index_json, spots


@dataclass(frozen=True, slots=True)
class Stock:
    """What the store holds, and where its blobs lie."""

    manifests: Mapping[Name, ManifestFile]
    blobs: Mapping[Digest, Blob]
    blob_paths: Mapping[Digest, str]


@dataclass(frozen=True, slots=True)
class Wish:
    """What shall lie at a path: a link, or a small file with a content."""

    name: Name
    tree: str
    path: str
    thing: Thing
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class Wishes:
    """What one tree shall hold. What it holds of `unclear` models is let be: their blobs cannot be
    read now. `split` models cannot be linked: llama.cpp finds parts by their files' names."""

    wishes: tuple[Wish, ...] = ()
    unclear: frozenset[Name] = frozenset()
    split: tuple[Name, ...] = ()


def wishes_of(tree: Tree, root: Root | None, stock: Stock) -> Wishes:
    """What a tree shall hold, in the order of paths; `root` None: it is to be made."""
    own = {tree.path} if root is None else {tree.path, root.real_path}
    chosen = _Chosen(tree, stock, tuple(own))
    for name in sorted(stock.manifests):
        if tree.wants(name) and not is_scratch(name):
            chosen.add(name, stock.manifests[name].manifest)
    places = spots(tree.layout, chosen.projectors)
    wishes = [w for name in chosen.models for w in chosen.wishes(name, places[name])]
    return Wishes(
        tuple(sorted(wishes, key=lambda wish: wish.path)),
        frozenset(chosen.unclear),
        tuple(chosen.split),
    )


def is_below(path: str, folder: str) -> bool:
    """Whether a path lies in a folder, or is it; both as they are written."""
    inner, outer = posixpath.normpath(path), posixpath.normpath(folder)
    return inner == outer or inner.startswith(outer.rstrip("/") + "/")


@dataclass(slots=True)
class _Chosen:
    """The models that one tree is about. `projectors` says of each whether it has one, also of
    those that are unclear: they keep their place."""

    tree: Tree
    stock: Stock
    own: tuple[str, ...]
    models: dict[Name, tuple[str, str | None]] = field(default_factory=dict)
    projectors: dict[Name, bool] = field(default_factory=dict)
    unclear: set[Name] = field(default_factory=set)
    split: list[Name] = field(default_factory=list)

    def add(self, name: Name, manifest: Manifest | None) -> None:
        if manifest is None:
            self.unclear.add(name)
            return
        models = _digests(manifest, MODEL_TYPE)
        projectors = _digests(manifest, PROJECTOR_TYPE)[:1]  # llama-server takes one
        if len(models) > 1:
            self.split.append(name)
        if len(models) != 1:
            return
        self.projectors[name] = bool(projectors)
        targets = [self._target(digest) for digest in (*models, *projectors)]
        if None in targets:
            self.unclear.add(name)
            return
        first, *beside = (target for target in targets if target is not None)
        if not any(is_below(target, folder) for target in (first, *beside) for folder in self.own):
            self.models[name] = (first, beside[0] if beside else None)

    def _target(self, digest: Digest) -> str | None:
        """Where the bytes of a blob are; None while it cannot be read."""
        blob = self.stock.blobs.get(digest)
        if blob is None or (isinstance(blob, LinkBlob) and not blob.ok):
            return None
        if isinstance(blob, LinkBlob) and blob.target.startswith("/"):
            return blob.target
        return self.stock.blob_paths.get(digest)

    def wishes(self, name: Name, spot: Spot) -> Iterator[Wish]:
        model, projector = self.models[name]
        yield self._wish(name, spot.model, Thing("link", model))
        if projector is not None and self.tree.layout is not Layout.TRANSFORMERLAB:
            yield self._wish(name, spot.projector, Thing("link", projector))
        if self.tree.layout is Layout.TRANSFORMERLAB:
            content = index_json(name, spot)
            yield self._wish(name, spot.index, Thing("file", digest_of(content)), content)

    def _wish(self, name: Name, relative: str, thing: Thing, content: bytes | None = None) -> Wish:
        path = posixpath.join(self.tree.path, relative)
        return Wish(name, self.tree.path, path, thing, content)


def _digests(manifest: Manifest, media_type: str) -> list[Digest]:
    return [layer.digest for layer in manifest.layers if layer.media_type == media_type]
