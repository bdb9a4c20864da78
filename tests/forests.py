"""Folders that are published to, in memory, as far as a plan can see and change them.

Pure, for tests of the planner: `look` gives what `engine/trees.py` would, `publish` and `unpublish`
do what it does, and assert what it would refuse.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from paddock.core.desired import Desired
from paddock.core.digest import Digest, digest_of
from paddock.core.names import Name
from paddock.core.observed import Blob, Ledger, ManifestFile
from paddock.core.plan import PublishLink, UnpublishLink
from paddock.core.tree_facts import FOLDER, Place, Published, Root, Thing, TreesFound
from paddock.core.tree_wishes import Stock, is_below
from paddock.core.trees import parents, paths_that_count
from paddock.core.unknown import Unknown

BLOBS = "/models/blobs"


def blob_path(digest: Digest) -> str:
    """Where a blob lies."""
    return f"{BLOBS}/{digest.replace(':', '-')}"


@dataclass
class Forest:
    """What lies where; `devices` are the folders that are there, `away` those that cannot be looked
    at."""

    devices: dict[str, int] = field(default_factory=dict)
    things: dict[str, Thing] = field(default_factory=dict)
    away: set[str] = field(default_factory=set)

    def look(
        self,
        desired: Desired,
        manifests: Mapping[Name, ManifestFile],
        blobs: Mapping[Digest, Blob],
        ledger: Ledger,
    ) -> TreesFound:
        """One look."""
        claims = ledger.published
        claimed = {path for path, claim in claims.items() if claim.thing.kind == "root"}
        roots = {path: self._root(path) for path in claimed | {t.path for t in desired.publish}}
        stock = Stock(manifests, blobs, {digest: blob_path(digest) for digest in blobs})
        paths = paths_that_count(desired.publish, roots, stock, claims)
        places = {path: self._place(path, roots.get(tree)) for path, tree in paths.items()}
        return TreesFound(roots, places, stock.blob_paths)

    def _root(self, path: str) -> Root | Unknown | None:
        if path in self.away:
            return Unknown("TreeUnreadable", f"cannot look at {path}: input/output error")
        return Root(path, self.devices[path]) if path in self.devices else None

    def _place(self, path: str, root: Root | Unknown | None) -> Place:
        return self.things.get(path) if isinstance(root, Root) else root

    def publish(self, action: PublishLink, ledger: Ledger) -> Ledger:
        """Make a link, and the folders on the way."""
        claims = dict(ledger.published)
        if action.tree not in self.devices:
            assert action.tree not in self.away
            self.devices[action.tree] = 1
            claims[action.tree] = Published(Thing.root(1, made=True), action.name)
        elif action.tree not in claims:
            thing = Thing.root(self.devices[action.tree], made=False)
            claims[action.tree] = Published(thing, action.name)
        for folder in parents(action.path, action.tree):
            assert self.things.get(folder) in (None, FOLDER), folder
            if folder not in self.things:
                self.things[folder] = FOLDER
                claims[folder] = Published(FOLDER, action.name)
        assert self.things.get(action.path) in (None, action.thing, action.replaces), action
        if action.content is not None:
            assert action.thing == Thing("file", digest_of(action.content))
        self.things[action.path] = action.thing
        claims[action.path] = Published(action.thing, action.name)
        return replace(ledger, published=claims)

    def unpublish(self, action: UnpublishLink, ledger: Ledger) -> Ledger:
        """Remove what is still ours."""
        assert action.tree in self.devices
        assert action.tree not in self.away
        if action.thing.kind in {"folder", "root"}:
            claimed = (path for path in ledger.published if path != action.path)
            assert not any(is_below(path, action.path) for path in claimed), action
        below = [path for path in self.things if posixpath.dirname(path) == action.path]
        if action.thing.kind == "root":
            if action.thing.is_made and not below:
                del self.devices[action.path]
        elif self.things.get(action.path) == action.thing and not below:
            del self.things[action.path]
        ours = (action.path, action.thing)
        claims = {p: c for p, c in ledger.published.items() if (p, c.thing) != ours}
        return replace(ledger, published=claims)
