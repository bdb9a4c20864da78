"""The whole mind of Paddock: from Desired and Observed to a Plan.

Pure. Each model is planned for itself, so that one model's trouble never hides another's; then the
actions are put into the only legal order. Declaring a name does not claim it: a model that the
ledger does not hold is compared, and never changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import assert_never

from paddock.core.compose import Composer, blocked_by
from paddock.core.compose_files import Pending
from paddock.core.composition import Composition
from paddock.core.desired import Desired, DesiredModel, FromModel, State
from paddock.core.digest import Digest, short
from paddock.core.names import CaseConflict, Name, Spelling
from paddock.core.observed import Observed, RegularBlob, Unknown
from paddock.core.ownership import kept, ledger_note
from paddock.core.plan import (
    Action,
    Blocked,
    Note,
    Plan,
    PullModel,
    RemoveManifest,
    RemoveScratch,
    UnlinkBlob,
    Waiting,
    WriteManifest,
)
from paddock.core.prune import plan_prune
from paddock.core.publish import publish
from paddock.core.questions import question
from paddock.core.residency_plan import turn, with_memory, without_memory
from paddock.core.shared import shared_runners
from paddock.core.suspend import left_alone, suspended
from paddock.core.trees import plan_trees
from paddock.core.unload import plan_stale, plan_unloads
from paddock.core.view import View, view_of
from paddock.core.withdraw import name_taken, withdraw

# No text layer of ours is larger.
_TEXT_BYTES = 16 << 20


def make_plan(desired: Desired, observed: Observed) -> Plan:
    """The actions that close the difference, and what is blocked. The same input gives the same
    plan, in whatever order it comes."""
    view = view_of(observed)
    if isinstance(view, Unknown):
        names = sorted(desired.models.keys() - suspended(desired, observed.ledger))
        blocked = tuple(Blocked(name, view.reason, view.message) for name in names)
        return Plan(desired.generation, desired.file, len(names), blocked=blocked)
    planner = _Planner(desired, view)
    awake = desired.models.keys() - planner.suspended
    for name in sorted(awake, key=lambda name: (len(desired.bases(name)), name)):
        planner.add(desired.models[name])
    planner.add_pruned()
    planner.add_unloads()
    planner.add_leftovers()
    planner.add_trees()
    return with_memory(planner.plan(), desired, view)


def plan_again(plan: Plan, desired: Desired, observed: Observed) -> Plan:
    """A plan that stands (core/settled.py), with what memory needs now."""
    view = view_of(observed)
    assert isinstance(view, View)
    stale = plan_stale(_ours(desired, view), (), view)
    plan = replace(without_memory(plan), actions=tuple(stale))
    return with_memory(plan, desired, view)


def _ours(desired: Desired, view: View) -> Set[Name]:
    """The models whose runners are ours to let go."""
    return desired.models.keys() - suspended(desired, view.ledger)


@dataclass(slots=True)
class _Planner:
    desired: Desired
    view: View
    actions: list[Action] = field(default_factory=list)
    blocked: dict[Name, Blocked] = field(default_factory=dict)
    asked: dict[object, Name] = field(default_factory=dict)
    waiting: list[Waiting] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    made_of: dict[Name, Digest] = field(default_factory=dict)
    files: dict[Name, tuple[Digest, ...]] = field(default_factory=dict)
    sizes: dict[Name, int] = field(default_factory=dict)
    suspended: Mapping[Name, str] = field(init=False)
    composer: Composer = field(init=False)
    spelling: Spelling = field(init=False)

    def __post_init__(self) -> None:
        self.suspended = suspended(self.desired, self.view.ledger)
        alone = left_alone(self.desired, self.view.ledger)
        self.composer = Composer(self.desired, self.view, alone)
        self.spelling = Spelling(self.view.manifests)

    def plan(self) -> Plan:
        return Plan(
            generation=self.desired.generation,
            file=self.desired.file,
            models=len(self.desired.models) - len(self.suspended),
            suspended=self.suspended,
            actions=tuple(sorted(self.actions, key=turn)),
            blocked=tuple(self.blocked[name] for name in sorted(self.blocked)),
            waiting=tuple(sorted(self.waiting, key=lambda waiting: waiting.name)),
            notes=(*self._left_out(), *self.notes),
            made_of=self.made_of,
            files=self.files,
            sizes=self.sizes,
        )

    def _left_out(self) -> list[Note]:
        told = ledger_note(self.view)
        left = [Note(out.path, out.reason, out.sentence) for out in self.desired.found.notes]
        left += [Note(self.desired.file, "Doubtful", warning) for warning in self.desired.warnings]
        left += shared_runners(self.made_of, self.files, self.desired)
        return left if told is None else [told, *left]

    def add(self, model: DesiredModel) -> None:
        """Plan one model, after its bases: what its store needs, and what memory shall hold."""
        match model.state:
            case State.PRESENT:
                blocked = self._add_present(model)
            case State.ABSENT:
                blocked = self._add_absent(model)
            case _:
                assert_never(model.state)
        if blocked is not None:
            self.blocked[model.name] = blocked

    def _add_present(self, model: DesiredModel) -> Blocked | None:
        try:
            self.spelling.respell(model.name)
        except CaseConflict as error:
            return Blocked(model.name, error.reason, error.message)
        composed = self._of_blocked_base(model) or self.composer.compose(model.name)
        match composed:
            case Blocked():
                return self._withdraw(composed)
            case Pending():
                return self._add_pending(model.name, composed)
            case Composition():
                return self._add_composed(model, composed)
            case _:
                assert_never(composed)

    def _withdraw(self, blocked: Blocked) -> Blocked:
        blocked, removal = withdraw(blocked, self.view)
        if removal is not None:
            self.actions.append(removal)
        return blocked

    def _of_blocked_base(self, model: DesiredModel) -> Blocked | None:
        """A model is derived from its base as it is declared: not while that cannot be had."""
        base = model.source.base if isinstance(model.source, FromModel) else None
        blocked = None if base is None else self.blocked.get(base)
        return None if blocked is None else blocked_by(blocked, model.name)

    def _add_pending(self, name: Name, pending: Pending) -> Blocked | None:
        """What one model has asked for, another one waits for: a file is hashed once."""
        symbol = "~" if name in self.view.manifests else "+"
        if any(isinstance(a, PullModel) and self._overwrites(a) for a in pending.actions):
            return self._unsafe(name)
        message, asks = f"{pending.message} (known after apply)", False
        for action in pending.actions:
            first = self.asked.setdefault(question(action), name)
            if first != name:
                message = f"{action.message}, with {first}"
                continue
            asks = True
            linked = 0 if symbol == "~" else action.linked_bytes
            self.actions.append(replace(action, symbol=symbol, linked_bytes=linked))
        if not asks:
            self.waiting.append(Waiting(name, pending.reason, message, symbol))
        return None

    def _overwrites(self, action: PullModel) -> bool:
        return action.reference in self.view.manifests and not self.view.observed.complete

    def _add_composed(self, model: DesiredModel, composition: Composition) -> Blocked | None:
        actions = publish(model.name, composition, self.view)
        if isinstance(actions, Blocked):
            return name_taken(actions, self.view)
        if any(self._moves(action) for action in actions) and not self.view.observed.complete:
            return self._unsafe(model.name)
        self.actions.extend(actions)
        digest = composition.model_digest
        if digest is not None:
            self.made_of[model.name] = digest
            files = [part.descriptor for part in composition.files]
            self.files[model.name] = tuple(file.digest for file in files)
            self.sizes[model.name] = sum(file.size_bytes for file in files)
        return None

    def _moves(self, action: Action) -> bool:
        """Whether a name leaves one of its files, for which its runner may have to be unloaded."""
        if not isinstance(action, WriteManifest) or action.replaces is None:
            return False
        found = self.view.manifest(action.name)
        return found is None or found.files != action.files

    def _add_absent(self, model: DesiredModel) -> Blocked | None:
        name = model.name
        found = self.view.manifests.get(name)
        if found is None:
            return None
        if (blocked := kept(name, self.view)) is not None:
            return blocked
        if not self.view.observed.complete:
            return self._unsafe(name)
        message = f"remove {name}"
        self.actions.append(
            RemoveManifest(
                name=name, reason="Absent", message=message, symbol="-", digest=found.digest
            )
        )
        return None

    def _unsafe(self, name: Name) -> Blocked:
        """Nothing destructive without a whole look."""
        unknown = self.view.observed.unknowns[0]
        return Blocked(name, unknown.reason, unknown.message)

    def add_pruned(self) -> None:
        """The models that the file no longer names, where it says that they shall go."""
        pruned = plan_prune(self.desired, self.view)
        self.actions.extend(pruned.actions)
        self.blocked |= {blocked.name: blocked for blocked in pruned.blocked}

    def add_unloads(self) -> None:
        """What must leave memory first."""
        self.actions.extend(plan_unloads(self.actions, self.view))
        self.actions.extend(plan_stale(_ours(self.desired, self.view), self.actions, self.view))

    def add_leftovers(self) -> None:
        """What a killed Paddock left behind, and blobs of ours that nothing names any more: only
        with every part observed."""
        if not self.view.observed.complete:
            return
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

    def add_trees(self) -> None:
        """The links for other programs, to the models that will be there after this plan."""
        going = [action.name for action in self.actions if isinstance(action, RemoveManifest)]
        actions, self.notes = plan_trees(self.desired, self.view, going)
        self.actions.extend(actions)

    def _unnamed_blobs(self) -> Iterable[Digest]:
        """Of ours, only with every manifest readable: one that is not may name anything."""
        if any(found.manifest is None for found in self.view.manifests.values()):
            return []
        named = {d for m in self.view.manifests.values() if m.manifest for d in m.manifest.digests}
        needed = {d for a in self.actions if isinstance(a, WriteManifest) for d in a.needs}
        ours = {digest for digest in self.view.ledger.blobs if self._is_small_or_link(digest)}
        return sorted(ours - named - needed)

    def _is_small_or_link(self, digest: Digest) -> bool:
        """A large file in the place of our link was pulled by somebody, and is not ours."""
        blob = self.view.blobs.get(digest)
        if isinstance(blob, RegularBlob):
            return blob.size_bytes <= _TEXT_BYTES
        return blob is not None
