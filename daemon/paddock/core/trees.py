"""From what publish trees shall hold and what is there to the actions that close the difference.

Pure. What lies in a tree is ours only where the ledger says so and it is still as we made it: all
else is left alone, and told. Nothing is removed on half a look, or while a tree cannot be seen.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from paddock.core.desired import Desired
from paddock.core.names import Name
from paddock.core.plan import Note, PublishLink, UnpublishLink
from paddock.core.suspend import left_alone
from paddock.core.tree_facts import FOLDER, Published, Root, Thing, Tree, TreesFound
from paddock.core.tree_wishes import Stock, Wish, Wishes, is_below, wishes_of
from paddock.core.unknown import Known, Unknown
from paddock.core.view import View

NOT_LOOKED = Unknown("NotObserved", "not looked at yet")


def plan_trees(
    desired: Desired, view: View, going: Collection[Name]
) -> tuple[list[PublishLink | UnpublishLink], list[Note]]:
    """The actions for all trees, and what stays as it is and why; `going` are models that this very
    plan removes."""
    planner = _Trees(desired, view, frozenset(going))
    planner.wish()
    actions = [action for wish in planner.wishes.values() for action in planner.publish(wish)]
    return [*actions, *planner.unpublish()], planner.notes


def usable_root(
    tree: Tree, found: TreesFound, claims: Mapping[str, Published]
) -> Known[Root | None]:
    """The folder of a declared tree (None: to be made), or why it must not be touched now."""
    path = tree.path
    root = found.roots.get(path, NOT_LOOKED)
    claim = claims.get(path)
    if isinstance(root, Unknown):
        return root
    if root is None:
        if not _ours(path, claims):
            return None
        hint = "bring it back, or make it anew, empty"
        return Unknown("TreeMissing", f"{path} is gone, with the links that we made in it; {hint}")
    if root.in_store:
        return Unknown("TreeInStore", f"{path} lies in Ollama's models folder; name another folder")
    if (
        claim is not None
        and claim.thing.device != str(root.device)
        and _is_bare(tree, found, claims)
    ):
        what = f"{path} is on another device than the links that we made in it, and holds none"
        return Unknown("TreeElsewhere", f"{what}; mount the right one, or publish to another path")
    return root


def _is_bare(tree: Tree, found: TreesFound, claims: Mapping[str, Published]) -> bool:
    """Whether nothing is left of what we made. A device's number may change at a boot, with all
    links there: then it is the folder that it was."""
    ours = _ours(tree.path, claims)
    return bool(ours) and all(found.places.get(path, NOT_LOOKED) is None for path in ours)


def _ours(tree: str, claims: Mapping[str, Published]) -> list[str]:
    return [path for path in claims if path != tree and is_below(path, tree)]


def paths_that_count(
    publish: Iterable[Tree],
    roots: Mapping[str, Root | Unknown | None],
    stock: Stock,
    claims: Mapping[str, Published],
) -> Mapping[str, str]:
    """The paths at which something is wished or ours, and the folders on the way: each with the
    tree that it belongs to ("" for none that we remember)."""
    claimed = _roots(claims)
    paths = {path: _tree_of(path, claimed) for path in claims.keys() - claimed}
    for tree in publish:
        root = roots[tree.path]
        wishes = () if isinstance(root, Unknown) else wishes_of(tree, root, stock).wishes
        for wish in wishes:
            paths |= dict.fromkeys([wish.path, *parents(wish.path, tree.path)], tree.path)
    return paths


def _roots(claims: Mapping[str, Published]) -> list[str]:
    return [path for path, claim in claims.items() if claim.thing.kind == "root"]


def _tree_of(path: str, roots: Iterable[str]) -> str:
    """The tree that a claim belongs to: of those that we remember, the deepest that holds it."""
    return max((root for root in roots if is_below(path, root)), key=len, default="")


@dataclass(slots=True)
class _Trees:
    desired: Desired
    view: View
    going: frozenset[Name]
    wishes: dict[str, Wish] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    declared: dict[str, Known[Root | None]] = field(default_factory=dict)
    unclear: dict[str, frozenset[Name]] = field(default_factory=dict)
    roots: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.roots = _roots(self.claims)

    @property
    def found(self) -> TreesFound:
        return self.view.observed.trees

    @property
    def claims(self) -> Mapping[str, Published]:
        return self.view.ledger.published

    def wish(self) -> None:
        """What every tree shall hold; of two for one folder, the first counts."""
        manifests = {n: m for n, m in self.view.manifests.items() if n not in self.going}
        stock = Stock(manifests, self.view.blobs, self.found.blob_paths)
        for tree in self.desired.publish:
            if tree.path in self.declared:
                self._note(tree.path, "TreeTwice", f"{tree.path} is published to twice; keep one")
                continue
            root = self.declared[tree.path] = usable_root(tree, self.found, self.claims)
            if isinstance(root, Unknown):
                self._note(tree.path, root.reason, root.message)
                continue
            self._take(tree, wishes_of(tree, root, stock))

    def _take(self, tree: Tree, wanted: Wishes) -> None:
        alone = left_alone(self.desired, self.view.ledger)
        self.unclear[tree.path] = wanted.unclear | alone
        for wish in wanted.wishes:
            if wish.name not in alone:
                self.wishes.setdefault(wish.path, wish)
        for name in wanted.split:
            what = f"{name} is split into parts, which no link can join; it is not published"
            self._note(tree.path, "SplitModel", what)

    def _note(self, path: str, reason: str, message: str) -> None:
        self.notes.append(Note(path, reason, message))

    def publish(self, wish: Wish) -> Iterator[PublishLink]:
        """The action that brings about a wish, if one is needed and nothing of others is there."""
        if not self._is_reachable(wish):
            return
        place, claim = self._place(wish.path), self.claims.get(wish.path)
        match place:
            case Unknown():
                self._tell_unknown(wish.path, place)
            case None:
                reason = "NotPublished" if claim is None else "LinkMissing"
                yield _publish_link(wish, reason, None)
            case _ if place == wish.thing:
                if claim is not None and claim.thing != place:
                    yield _publish_link(wish, "NotRecorded", None)
            case _ if claim is not None and claim.thing == place:
                if place != FOLDER and self.view.observed.complete:
                    yield _publish_link(wish, "TargetMoved", place)
            case _ if wish.thing.kind == "link":
                what = f"{wish.path} is not ours; {wish.name} is not published there"
                self._note(wish.path, "PathTaken", what)
            case _:
                pass  # its program has written more into the file: let it

    def _is_reachable(self, wish: Wish) -> bool:
        """Whether the folders on the way are there, or can be made; told if something of others is
        in the place of one. What is ours there goes first."""
        for folder in parents(wish.path, wish.tree):
            place, claim = self._place(folder), self.claims.get(folder)
            if isinstance(place, Unknown):
                self._tell_unknown(folder, place)
                return False
            if place not in (None, FOLDER):
                if claim is None or claim.thing != place:
                    what = f"{folder} is no folder; {wish.name} is not published there"
                    self._note(folder, "PathTaken", what)
                return False
        return True

    def _tell_unknown(self, path: str, unknown: Unknown) -> None:
        if unknown != NOT_LOOKED:  # it will be, once this plan was carried out
            self._note(path, unknown.reason, unknown.message)

    def _place(self, path: str) -> Known[Thing | None]:
        return self.found.places.get(path, NOT_LOOKED)

    def unpublish(self) -> list[UnpublishLink]:
        """What is ours and no longer wished, and claims on what others have put in its place; a
        folder after all that is in it. Only with every part observed."""
        if not self.view.observed.complete:
            return []
        going = {path for path in self.claims if self._goes(path)}
        staying = [*self.wishes, *(self.claims.keys() - going)]
        needed = {above for path in staying for above in parents(path, "/")}
        folders = {path for path in going if _is_folder(self.claims[path].thing)}
        deepest_first = sorted(folders - needed, key=lambda path: (-path.count("/"), path))
        return [self._unpublish_link(path) for path in (*sorted(going - folders), *deepest_first)]

    def _goes(self, path: str) -> bool:
        claim, tree = self.claims[path], _tree_of(path, self.roots)
        if not self._is_visible(tree):
            return False
        if claim.name in self.unclear.get(tree, ()) and not _is_folder(claim.thing):
            return False
        if path == tree:
            return tree not in self.declared
        place, wish = self._place(path), self.wishes.get(path)
        if isinstance(place, Unknown):
            return False
        # At a wished path a claim goes only where it has become wrong.
        is_wrong = claim.thing == FOLDER or place not in (None, claim.thing)
        return wish is None or (is_wrong and place != wish.thing)

    def _is_visible(self, tree: str) -> bool:
        """Whether what is missing below a tree is really gone."""
        if tree in self.declared:
            return isinstance(self.declared[tree], Root)
        return isinstance(self.found.roots.get(tree, NOT_LOOKED), Root)

    def _unpublish_link(self, path: str) -> UnpublishLink:
        claim, tree = self.claims[path], _tree_of(path, self.roots)
        place = self._place(path)
        is_ours = path == tree or place in (None, claim.thing)
        verb = "remove" if is_ours else "leave to others what was"
        return UnpublishLink(
            name=claim.name,
            reason=self._why(claim.name, tree) if is_ours else "ReplacedByOthers",
            message=f"{verb} {_word(claim.thing)} {path}",
            symbol="~",
            tree=tree,
            path=path,
            thing=claim.thing,
        )

    def _why(self, name: Name, tree: str) -> str:
        if tree not in self.declared:
            return "TreeDropped"
        return "NotWanted" if name in self.view.manifests.keys() - self.going else "ModelGone"


def _publish_link(wish: Wish, reason: str, replaces: Thing | None) -> PublishLink:
    to = f" to {wish.thing.content}" if wish.thing.kind == "link" else ""
    return PublishLink(
        name=wish.name,
        reason=reason,
        message=f"publish {_word(wish.thing)} {wish.path}{to}",
        symbol="~",
        tree=wish.tree,
        path=wish.path,
        thing=wish.thing,
        content=wish.content,
        replaces=replaces,
    )


def _is_folder(thing: Thing) -> bool:
    return thing.kind in {"folder", "root"}


def _word(thing: Thing) -> str:
    return {"link": "the link", "file": "the file"}.get(thing.kind, "the folder")


def parents(path: str, above: str) -> Iterator[str]:
    """The folders on the way to a path, nearest first, from one that it lies in."""
    folder = path.rpartition("/")[0]
    while len(folder) > len(above):
        yield folder
        folder = folder.rpartition("/")[0]
