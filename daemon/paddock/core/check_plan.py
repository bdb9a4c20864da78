"""What every plan must hold to, whatever made it: the rules of the store, as code.

Pure, and cheap: one pass over the actions. Written apart from the planner and knowing nothing of
how it decides, so that the two can disagree.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from paddock.core.check_trees import tree_offences
from paddock.core.desired import Desired, FromRegistry, State
from paddock.core.digest import Digest, digest_of, short
from paddock.core.locate import hub_files
from paddock.core.manifest import Manifest, parse_manifest
from paddock.core.names import Name, is_scratch
from paddock.core.observed import LinkBlob as Link
from paddock.core.observed import Observed, RegularBlob, Unknown
from paddock.core.ownership import is_rebuilt
from paddock.core.plan import (
    Action,
    DownloadFile,
    LinkBlob,
    LoadModel,
    Plan,
    PublishLink,
    PullModel,
    RemoveManifest,
    RemoveScratch,
    SetKeepAlive,
    UnlinkBlob,
    UnloadModel,
    UnpublishLink,
    WriteBlob,
    WriteManifest,
)
from paddock.core.view import View, view_of

_CHANGES_STORE = (WriteBlob, LinkBlob, UnloadModel, WriteManifest, RemoveManifest)
_DESTROYS = (UnloadModel, RemoveManifest, UnlinkBlob, RemoveScratch)


def check_plan(plan: Plan, desired: Desired, observed: Observed) -> list[str]:
    """The rules that a plan breaks, one line each; none for every plan of `make_plan`."""
    view = view_of(observed)
    if isinstance(view, Unknown):
        return [f"{_told(a)}: planned without a look at the store" for a in plan.actions]
    if not plan.actions:
        return []  # every rule is about what a plan does
    rules = _Rules(plan, desired, view)
    told = (rules.order(), rules.names(), rules.ownership(), rules.complete(), rules.trees())
    return list(itertools.chain(*told, rules.prefixes(), rules.runners(), rules.suspended()))


@dataclass(frozen=True, slots=True)
class _Rules:
    plan: Plan
    desired: Desired
    view: View

    def order(self) -> Iterator[str]:
        """Ranks never decrease."""
        for before, after in itertools.pairwise(self.plan.actions):
            if before.rank > after.rank:
                yield f"{_told(after)}: comes after {_told(before)}"

    def names(self) -> Iterator[str]:
        """No stranger is named; what is blocked or waits is left alone."""
        ledger = self.view.ledger
        known = {*self.desired.models, *ledger.owned, *ledger.blobs.values()}
        held = {b.name for b in self.plan.blocked} | {w.name for w in self.plan.waiting}
        for action in self.plan.actions:
            if isinstance(action, RemoveScratch):
                if action.name not in ledger.scratch or not is_scratch(action.name):
                    yield f"{_told(action)}: is no scratch model of ours"
            elif isinstance(action, PublishLink | UnpublishLink):
                pass  # a link to a model is not the model: see `trees`
            elif action.name not in known:
                yield f"{_told(action)}: is neither declared nor ours"
            elif action.name in held - self._gone() and not isinstance(action, UnlinkBlob):
                yield f"{_told(action)}: is blocked or waits"
            if isinstance(action, PullModel) and not self._is_declared(action.reference):
                yield f"{_told(action)}: no model has the source {action.reference}"
            if isinstance(action, DownloadFile) and set(action.files) - hub_files(self.desired):
                yield f"{_told(action)}: downloads what no model is made of"

    def trees(self) -> Iterator[str]:
        """In publish trees only what is ours is changed."""
        for action in self.plan.actions:
            for offence in tree_offences(action, self.desired, self.view):
                yield f"{_told(action)}: {offence}"

    def suspended(self) -> Iterator[str]:
        """What is left alone is not touched, by whatever name; blobs that nothing names may go."""
        models, paused = self.desired.models.values(), self.view.ledger.paused
        alone = {name.folded for name in paused} | {m.name.folded for m in models if m.suspended}
        for action in self.plan.actions:
            pulled = {action.reference} if isinstance(action, PullModel) else set[Name]()
            touched = {name for name in {action.name, *pulled} if name.folded in alone}
            if touched and not isinstance(action, UnlinkBlob):
                yield f"{_told(action)}: {touched.pop()} is suspended"

    def _may_go(self, name: Name) -> bool:
        model, is_lost = self.desired.models.get(name), is_rebuilt(name, self.view)
        if model is None:
            return self.desired.prune.on and name in self.view.ledger.owned and not is_lost
        return (model.state is State.ABSENT and not is_lost) or name in self._gone()

    def _gone(self) -> set[Name]:
        """The models of which a file was away at an earlier look as well."""
        memory = self.view.observed.memory
        return {b.name for b in self.plan.blocked if b.gone and b.name in memory.gone}

    def _is_declared(self, reference: Name) -> bool:
        sources = (model.source for model in self.desired.models.values())
        return any(isinstance(s, FromRegistry) and s.reference == reference for s in sources)

    def ownership(self) -> Iterator[str]:
        """What is there and not ours is never changed, and nothing is removed that stays named."""
        for action in self.plan.actions:
            changed = action.reference if isinstance(action, PullModel) else action.name
            if isinstance(action, (*_CHANGES_STORE, PullModel)) and self._is_foreign(changed):
                yield f"{_told(action)}: {changed} is there and not ours"
            match action:
                case RemoveManifest(name=name):
                    if not self._may_go(name):
                        yield f"{_told(action)}: is not declared absent, and its source not gone"
                case LinkBlob(digest=digest):
                    yield from self._link(action, digest)
                case UnlinkBlob(digest=digest):
                    if digest not in self.view.ledger.blobs:
                        yield f"{_told(action)}: {short(digest)} is not ours"
                case LoadModel() | SetKeepAlive():
                    model = self.desired.models.get(action.name)
                    if model is None or model.state is State.ABSENT:
                        yield f"{_told(action)}: nobody wants it"
                case _:
                    pass

    def _is_foreign(self, name: Name) -> bool:
        return name in self.view.manifests and name not in self.view.ledger.owned

    def _link(self, action: LinkBlob, digest: Digest) -> Iterator[str]:
        blob = self.view.blobs.get(digest)
        if isinstance(blob, RegularBlob):
            yield f"{_told(action)}: {short(digest)} is a real file"
        if not isinstance(blob, Link) or not blob.ok:
            return
        if self.view.files.get(blob.target, digest) != digest:
            return  # the link leads to other bytes: nobody is served by it
        strangers = self.view.manifests.keys() - self.view.ledger.owned.keys()
        if any(digest in _digests(self.view.manifest(name)) for name in strangers):
            yield f"{_told(action)}: a model that is not ours needs the link as it is"

    def complete(self) -> Iterator[str]:
        """Nothing is destroyed on a look that lacks a part."""
        if self.view.observed.complete:
            return
        for action in self.plan.actions:
            if isinstance(action, _DESTROYS) or self._moves(action):
                yield f"{_told(action)}: destroys, and not every part was observed"

    def _moves(self, action: Action) -> bool:
        if not isinstance(action, WriteManifest):
            return False
        found = self.view.manifest(action.name)
        return found is not None and found.files != action.files

    def prefixes(self) -> Iterator[str]:
        """After each action every manifest has all of its blobs."""
        blobs = {digest for digest in self.view.blobs if self.view.has(digest)}
        named = {name: _digests(found.manifest) for name, found in self.view.manifests.items()}
        for action in self.plan.actions:
            match action:
                case WriteBlob(digest=digest) | LinkBlob(digest=digest):
                    blobs.add(digest)
                case WriteManifest(name=name):
                    yield from _written(action, blobs)
                    named[name] = action.needs
                case RemoveManifest(name=name):
                    named.pop(name, None)
                case UnlinkBlob(digest=digest):
                    if any(digest in digests for digests in named.values()):
                        yield f"{_told(action)}: {short(digest)} is named by a manifest"
                case _:
                    pass

    def runners(self) -> Iterator[str]:
        """No runner stays in memory that a name reached before the plan and none does after."""
        found = {name: self.view.manifest(name) for name in self.view.manifests}
        before = {name: m.model_digest for name, m in found.items() if m is not None}
        running, unloaded, after = self.view.observed.running, set[Digest](), dict(before)
        for action in self.plan.actions:
            match action:
                case UnloadModel(manifest_digest=loaded):
                    unloaded.add(loaded)
                case WriteManifest(name=name, model_digest=digest):
                    after[name] = digest
                case RemoveManifest(name=name):
                    after.pop(name, None)
                case _:
                    pass
        lost = set(before.values()) - set(after.values())
        for runner in () if isinstance(running, Unknown) else running:
            stays = runner.manifest_digest not in unloaded
            if stays and self.view.runner_digest(runner) in lost:
                yield f"{runner.name}: stays in memory, and no name will reach it"


def _written(action: WriteManifest, blobs: set[Digest]) -> Iterator[str]:
    if digest_of(action.content) != action.digest:
        yield f"{_told(action)}: its content has another digest"
    if parse_manifest(action.content).digests != action.needs:
        yield f"{_told(action)}: needs other blobs than its content names"
    for digest in sorted(action.needs - blobs):
        yield f"{_told(action)}: {short(digest)} is not in the store yet"


def _digests(manifest: Manifest | None) -> frozenset[Digest]:
    return frozenset() if manifest is None else manifest.digests


def _told(action: Action) -> str:
    return f"{type(action).__name__} {action.name}"
