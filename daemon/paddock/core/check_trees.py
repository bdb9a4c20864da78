"""The rules of publish trees, as code: nothing of others is touched, and nothing outside of them.

Pure. Written apart from the planner, as `core/check_plan.py` is.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from paddock.core.desired import Desired
from paddock.core.plan import Action, PublishLink, UnpublishLink
from paddock.core.tree_facts import Root
from paddock.core.view import View


def tree_offences(action: Action, desired: Desired, view: View) -> Iterator[str]:
    """The rules that an action on a publish tree breaks."""
    match action:
        case PublishLink():
            yield from _publish(action, desired, view)
        case UnpublishLink():
            yield from _unpublish(action, view)
        case _:
            return
    above = posixpath.commonpath([action.tree, action.path])
    is_root = action.path == action.tree and action.thing.kind == "root"
    if above != action.tree.rstrip("/") or (action.path == action.tree and not is_root):
        yield "its path does not lie in its tree"
    if ".." in posixpath.relpath(action.path, action.tree).split("/"):
        yield "its path leads out of its tree"


def _publish(action: PublishLink, desired: Desired, view: View) -> Iterator[str]:
    if action.tree not in {tree.path for tree in desired.publish}:
        yield "nothing is published there"
    if action.name not in view.manifests:
        yield "is not installed"
    found, claim = view.observed.trees, view.ledger.published.get(action.path)
    place = found.places.get(action.path)
    if place not in (None, action.thing, action.replaces):
        yield "something of others is there"
    if action.replaces is not None:
        if claim is None or claim.thing != action.replaces:
            yield "what it replaces is not ours"
        if not view.observed.complete:
            yield "replaces, and not every part was observed"
    root = found.roots.get(action.tree)
    for folder in (action.tree, root.real_path if isinstance(root, Root) else action.tree):
        if action.thing.content.startswith(f"{folder}/"):
            yield "its link leads into its own tree"


def _unpublish(action: UnpublishLink, view: View) -> Iterator[str]:
    claim = view.ledger.published.get(action.path)
    if claim is None or claim.thing != action.thing:
        yield "is not ours"
    if not view.observed.complete:
        yield "destroys, and not every part was observed"
    if not isinstance(view.observed.trees.roots.get(action.tree), Root):
        yield "its tree cannot be seen"
