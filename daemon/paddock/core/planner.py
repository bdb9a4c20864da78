"""The whole mind of Paddock: from Desired and Observed to a Plan.

Pure. Each model is planned for itself, so that one model's trouble never hides another's; then the
actions are put into the only legal order. Declaring a name does not claim it: a model that the
ledger does not hold is compared, and never changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import assert_never

from paddock.core.compose import Composer, Pending
from paddock.core.composition import Composition
from paddock.core.desired import Desired, DesiredModel, State
from paddock.core.digest import Digest, short
from paddock.core.names import Name
from paddock.core.observed import Observed, Unknown
from paddock.core.plan import (
    Action,
    Blocked,
    Plan,
    PullModel,
    RemoveManifest,
    RemoveScratch,
    UnlinkBlob,
    UnloadModel,
    Waiting,
    WriteManifest,
)
from paddock.core.publish import not_owned, publish
from paddock.core.residency import Want, plan_residency
from paddock.core.view import View, view_of


def make_plan(desired: Desired, observed: Observed) -> Plan:
    """The actions that close the difference, and what is blocked. The same input gives the same
    plan, in whatever order it comes."""
    view = view_of(observed)
    if isinstance(view, Unknown):
        blocked = tuple(Blocked(n, view.reason, view.message) for n in sorted(desired.models))
        return Plan(desired.generation, desired.file, len(desired.models), blocked=blocked)
    planner = _Planner(desired, view)
    for name in sorted(desired.models):
        planner.add(desired.models[name])
    planner.add_residency()
    planner.add_leftovers()
    return planner.plan()


@dataclass(slots=True)
class _Planner:
    desired: Desired
    view: View
    actions: list[Action] = field(default_factory=list)
    blocked: list[Blocked] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)
    wants: list[Want] = field(default_factory=list)
    made_of: dict[Name, Digest] = field(default_factory=dict)
    composer: Composer = field(init=False)

    def __post_init__(self) -> None:
        self.composer = Composer(self.desired, self.view)

    def plan(self) -> Plan:
        return Plan(
            generation=self.desired.generation,
            file=self.desired.file,
            models=len(self.desired.models),
            actions=tuple(sorted(self.actions, key=lambda action: action.rank)),
            blocked=tuple(self.blocked),
            waiting=tuple(self.waiting),
            made_of=self.made_of,
        )

    def add(self, model: DesiredModel) -> None:
        """Plan one model: what its store needs, and what memory shall hold."""
        match model.state:
            case State.PRESENT:
                self._add_present(model)
            case State.ABSENT:
                self._add_absent(model)
            case _:
                assert_never(model.state)

    def _add_present(self, model: DesiredModel) -> None:
        name = model.name
        composed = self.composer.compose(name)
        match composed:
            case Blocked():
                self.blocked.append(composed)
            case Pending():
                self._add_pending(name, composed)
            case Composition():
                done = publish(name, composed, self.view)
                if isinstance(done, Blocked):
                    self.blocked.append(done)
                    return
                self.actions.extend(done)
                self._want(model, composed)
            case _:
                assert_never(composed)

    def _add_pending(self, name: Name, pending: Pending) -> None:
        action = pending.action
        exists = name in self.view.manifests
        if action is None:
            message = f"{pending.message} (known after apply)"
            self.waiting.append(Waiting(name, pending.reason, message, "~" if exists else "+"))
            return
        if isinstance(action, PullModel) and self._is_foreign(action.reference):
            self.blocked.append(not_owned(action.reference, "differs from the file", name))
            return
        linked = 0 if exists else pending.size_bytes
        self.actions.append(replace(action, symbol="~" if exists else "+", linked_bytes=linked))

    def _is_foreign(self, name: Name) -> bool:
        return name in self.view.manifests and name not in self.view.ledger.owned

    def _want(self, model: DesiredModel, composition: Composition) -> None:
        digest = composition.model_digest
        if digest is not None:
            self.made_of[model.name] = digest
            self.wants.append(Want(model.name, digest, model.residency))

    def _add_absent(self, model: DesiredModel) -> None:
        name = model.name
        found = self.view.manifests.get(name)
        if found is None:
            return
        if self._is_foreign(name):
            self.blocked.append(not_owned(name, "the file says that it shall be absent", name))
            return
        self.actions.extend(self._unload_all(name))
        self.actions.append(
            RemoveManifest(
                name=name,
                reason="Absent",
                message=f"remove {name}",
                symbol="-",
                digest=found.digest,
            )
        )

    def _unload_all(self, name: Name) -> Iterator[UnloadModel]:
        """Unload the model's runner, unless another name that stays has the same GGUF."""
        running = self.view.observed.running
        manifest = self.view.manifest(name)
        if isinstance(running, Unknown) or manifest is None:
            return
        others = {n for n in self._same_gguf(manifest.model_digest) if n != name}
        if any(not self._goes(other) for other in others):
            return
        for runner in running:
            if self.view.runner_digest(runner) == manifest.model_digest:
                yield UnloadModel(
                    name=name,
                    reason="Absent",
                    message=f"unload {name}",
                    symbol="-",
                    running=name,
                    manifest_digest=runner.manifest_digest,
                )

    def _same_gguf(self, digest: Digest | None) -> Iterator[Name]:
        for name, found in self.view.manifests.items():
            if found.manifest is not None and found.manifest.model_digest == digest:
                yield name

    def _goes(self, name: Name) -> bool:
        model = self.desired.models.get(name)
        return model is not None and model.state is State.ABSENT

    def add_residency(self) -> None:
        """What memory shall hold, for the models that will be there after this plan."""
        running = self.view.observed.running
        if isinstance(running, Unknown):
            return
        loaded = [(runner, self.view.runner_digest(runner)) for runner in running]
        going = {a.manifest_digest for a in self.actions if isinstance(a, UnloadModel)}
        staying = [(r, d) for r, d in loaded if r.manifest_digest not in going]
        observed = self.view.observed
        self.actions.extend(plan_residency(self.wants, staying, observed.memory, observed.at))

    def add_leftovers(self) -> None:
        """What a killed Paddock left behind, and blobs of ours that nothing names any more."""
        for name in sorted(self.view.ledger.scratch):
            message = f"remove the scratch model {name}"
            self.actions.append(
                RemoveScratch(name=name, reason="Leftover", message=message, symbol="-")
            )
        for digest in self._unnamed_blobs():
            self.actions.append(
                UnlinkBlob(
                    name=self.view.ledger.blobs[digest],
                    reason="Unnamed",
                    message=f"remove {short(digest)}, which no manifest names",
                    symbol="~",
                    digest=digest,
                )
            )

    def _unnamed_blobs(self) -> Iterable[Digest]:
        """Destructive: only with every part observed, and every manifest readable."""
        if not self.view.observed.complete:
            return []
        if any(found.manifest is None for found in self.view.manifests.values()):
            return []
        named = {d for m in self.view.manifests.values() if m.manifest for d in m.manifest.digests}
        needed = {d for a in self.actions if isinstance(a, WriteManifest) for d in a.needs}
        ours = self.view.ledger.blobs.keys() & self.view.blobs.keys()
        return sorted(ours - named - needed)
