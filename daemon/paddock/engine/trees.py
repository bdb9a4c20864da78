"""Publish trees: looked at, and changed as a plan says.

Every path is in the ledger before anything is made there, and leaves it after what was there is
gone: killed at any step, the next cycle knows what is ours. Where a file system may hang, looks and
changes have a limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TypeVar

from paddock.core.desired import Desired
from paddock.core.digest import Digest
from paddock.core.manifest import FILE_TYPES
from paddock.core.names import Name
from paddock.core.observed import Blob, Known, Ledger, ManifestFile
from paddock.core.plan import PublishLink, UnpublishLink
from paddock.core.tree_facts import FOLDER, Place, Root, Thing, TreesFound
from paddock.core.tree_wishes import Stock, is_below
from paddock.core.trees import parents, paths_that_count
from paddock.core.unknown import Unknown
from paddock.edges import trees
from paddock.edges.mounts import mounts, way
from paddock.engine.look import within_limit
from paddock.engine.world import World
from paddock.errors import StoreError

T = TypeVar("T")

CHANGE_S = 30.0


def look_at_trees(
    world: World,
    desired: Desired,
    manifests: Known[Mapping[Name, ManifestFile]],
    blobs: Known[Mapping[Digest, Blob]],
    ledger: Known[Ledger],
) -> TreesFound:
    """What lies at each path that is wished or claimed, below each tree that is there."""
    if isinstance(manifests, Unknown) or isinstance(blobs, Unknown) or isinstance(ledger, Unknown):
        return TreesFound()
    claims = ledger.published
    claimed = {path for path, claim in claims.items() if claim.thing.kind == "root"}
    declared = {tree.path for tree in desired.publish}
    if not claimed | declared:
        return TreesFound()
    mounted = mounts()
    roots = {path: _root(world, path, mounted) for path in claimed | declared}
    stock = Stock(manifests, blobs, dict(_blob_paths(world, manifests)))
    paths = paths_that_count(desired.publish, roots, stock, claims)
    places = {path: _look(world, path, (tree, roots), mounted) for path, tree in paths.items()}
    return TreesFound(roots, places, stock.blob_paths)


def _root(world: World, path: str, mounted: Mapping[str, str]) -> Known[Root | None]:
    look = partial(trees.look_at_root, path, world.store.root)
    return _told(within_limit(world, path, mounted, look))


def _look(
    world: World,
    path: str,
    tree: tuple[str, Mapping[str, Known[Root | None]]],
    mounted: Mapping[str, str],
) -> Place:
    """In a tree that is not there nothing is; what that means is for the planner to say."""
    folder, roots = tree
    root = roots.get(folder)
    if not isinstance(root, Root):
        return root
    return _told(within_limit(world, folder, mounted, partial(trees.look, folder, path)))


def _told(found: Known[T]) -> Known[T]:
    """What did not answer in time is no source here."""
    if isinstance(found, Unknown) and found.reason == "SourceTimeout":
        return replace(found, reason="TreeTimeout")
    return found


def _blob_paths(
    world: World, manifests: Mapping[Name, ManifestFile]
) -> Iterator[tuple[Digest, str]]:
    for found in manifests.values():
        for layer in () if found.manifest is None else found.manifest.layers:
            if layer.media_type in FILE_TYPES:
                yield layer.digest, str(world.store.blob_path(layer.digest).absolute())


def publish_link(world: World, action: PublishLink) -> None:
    """Make what shall be at a path, and the folders on the way. Raises StoreError where something
    of others is there, or nothing answers."""
    _within_limit(world, action.tree, partial(_publish_link, world, action))


def unpublish_link(world: World, action: UnpublishLink) -> None:
    """Remove what is still ours at a path, and claim it no longer."""
    _within_limit(world, action.tree, partial(_unpublish_link, world, action))


def _within_limit(world: World, tree: str, change: Callable[[], None]) -> None:
    """What takes longer may come to its end later: until then nothing else is begun there."""
    remote = way(tree, mounts()).remote
    if remote is None:
        change()
        return
    try:
        world.slow.run(remote, change, CHANGE_S)
    except TimeoutError as error:
        what = f"{tree}: no answer within {CHANGE_S:g} s from {remote}"
        raise StoreError(f"{what}; see what is mounted there", reason="TreeTimeout") from error


def _publish_link(world: World, action: PublishLink) -> None:
    _make_tree(world, action)
    for folder in reversed(list(parents(action.path, action.tree))):
        if trees.look(action.tree, folder) is None:
            world.state.record_published(folder, FOLDER, action.name)
            trees.make(action.tree, folder, FOLDER)
    if action.replaces is None:
        world.state.record_published(action.path, action.thing, action.name)
        trees.make(action.tree, action.path, action.thing, action.content)
    else:
        _replace(world, action, action.replaces)


def _make_tree(world: World, action: PublishLink) -> None:
    """The folder of the tree, as it is told in the ledger."""
    tree, claim = action.tree, world.state.ledger().published.get(action.tree)
    root = _look_at_root(world, tree)
    if root is None:
        thing = Thing.root(trees.device_above(tree), made=True)
        world.state.record_published(tree, thing, action.name)
        trees.make_root(tree)
        return
    made = claim is not None and claim.thing.is_made
    thing = Thing.root(root.device, made=made)
    if claim is None or claim.thing != thing:
        world.state.record_published(tree, thing, action.name)


def _replace(world: World, action: PublishLink, before: Thing) -> None:
    """Without a moment at which nothing is there."""
    temp = trees.temp_path(action.path)
    if (left := world.state.ledger().published.get(temp)) is not None:
        trees.remove(action.tree, temp, left.thing)
    world.state.record_published(temp, action.thing, action.name)
    trees.make(action.tree, temp, action.thing, action.content)
    trees.put_in_place(action.tree, action.path, before, action.thing)
    world.state.record_published(action.path, action.thing, action.name)
    world.state.forget_published(temp, action.thing)


def _unpublish_link(world: World, action: UnpublishLink) -> None:
    if _look_at_root(world, action.tree) is None:
        raise StoreError(f"{action.tree} is not there", reason="TreeMissing")
    claims = world.state.ledger().published
    if action.thing.kind in {"folder", "root"} and any(
        path != action.path and is_below(path, action.path) for path in claims
    ):
        raise StoreError(f"{action.path} holds links of ours still", reason="TreeNotEmpty")
    if action.thing.is_made:
        trees.remove(action.tree, action.path, action.thing)
    world.state.forget_published(action.path, action.thing)


def _look_at_root(world: World, tree: str) -> Root | None:
    root = trees.look_at_root(tree, world.store.root)
    if isinstance(root, Unknown):
        raise StoreError(root.message, reason=root.reason)
    return root
