"""The status of one model: its conditions, from what is wanted, seen, planned and failed.

Pure. One function a condition; `Ready` is computed from the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from paddock.core.conditions import Fact, ModelStatus, Truth, conditions_of
from paddock.core.desired import (
    Desired,
    DesiredModel,
    State,
)
from paddock.core.digest import Digest, short
from paddock.core.hub import is_download
from paddock.core.managed import ServerState
from paddock.core.manifest import Manifest
from paddock.core.names import Name
from paddock.core.observed import (
    LinkBlob,
    Observed,
    RegularBlob,
    Running,
    Unknown,
)
from paddock.core.outcome import Failure
from paddock.core.plan import (
    Action,
    Blocked,
    DownloadFile,
    HashSource,
    LoadModel,
    Plan,
    ProbeModel,
    PullModel,
    SetKeepAlive,
    Subject,
    UnlinkBlob,
    Waiting,
)
from paddock.core.policy import Policy, policy_at
from paddock.core.residency_status import MAY_BE_AWAY, loaded, not_loaded
from paddock.core.source_status import NOT_OBSERVED, describe, source_available
from paddock.core.suspend import suspended, why
from paddock.core.view import View

# Actions that find something out, and those that leave the manifest as it is.
_ASKING = (PullModel, DownloadFile, HashSource, ProbeModel)
_BESIDE = (LoadModel, SetKeepAlive, UnlinkBlob)
_SUSPENDED: Fact = ("Unknown", "Suspended", "left alone, and not compared with the file")


@dataclass(frozen=True, slots=True)
class Cycle:
    """Everything that one reconcile knows at its end. `trouble` is what kept it from observing or
    from acting at all, `stalled` that this needs a person; `spec_trouble` says that a newer file is
    invalid, `unwatched` of paths why their changes are seen at a poll alone; `server` is how the
    server stands that we start."""

    desired: Desired
    at: datetime
    observed: Observed | None = None
    plan: Plan | None = None
    failures: Mapping[Subject, Failure] = field(default_factory=dict)
    trouble: Unknown | None = None
    stalled: bool = False
    spec_trouble: Unknown | None = None
    unwatched: Mapping[str, str] = field(default_factory=dict)
    server: ServerState | None = None


@dataclass(frozen=True, slots=True)
class Index:
    """A cycle, by model."""

    cycle: Cycle
    view: View | None
    actions: Mapping[Name, list[Action]]
    blocked: Mapping[Name, Blocked]
    waiting: Mapping[Name, Waiting]
    runners: Mapping[Digest, Running]
    loading: frozenset[Digest]
    suspended: Mapping[Name, str]

    @classmethod
    def of(cls, cycle: Cycle, view: View | None) -> Index:
        """Sort a cycle's plan and runners by what they belong to."""
        actions: defaultdict[Name, list[Action]] = defaultdict(list)
        plan = cycle.plan or Plan(cycle.desired.generation, cycle.desired.file, 0)
        for action in plan.actions:
            if action.subject == action.name:  # the trouble of a publish tree is not its models'
                actions[action.name].append(action)
        blocked = {found.name: found for found in plan.blocked}
        waiting = {found.name: found for found in plan.waiting}
        loads = {action.name for action in plan.actions if isinstance(action, LoadModel)}
        loads |= waiting.keys()
        loading = frozenset(plan.made_of[name] for name in loads if name in plan.made_of)
        ledger = Unknown("NotObserved", "") if view is None else view.ledger
        asleep = suspended(cycle.desired, ledger)
        return cls(cycle, view, actions, blocked, waiting, _runners(view), loading, asleep)

    def policy(self, model: DesiredModel) -> Policy:
        """What the file says of a model's memory at this time."""
        return policy_at(model.residency, self.cycle.desired.timezone, self.cycle.at)

    def rests(self, name: Name) -> bool:
        """Whether the plan knows the model's GGUF, and does not want it loaded by any name."""
        made_of = {} if self.cycle.plan is None else self.cycle.plan.made_of
        return name in made_of and made_of[name] not in self.loading


def _runners(view: View | None) -> Mapping[Digest, Running]:
    if view is None or isinstance(view.observed.running, Unknown):
        return {}
    alive = (running for running in view.observed.running if running.alive)
    found = ((view.runner_digest(running), running) for running in alive)
    return {digest: running for digest, running in found if digest is not None}


def model_status(model: DesiredModel, index: Index) -> ModelStatus:
    """The status of one declared model."""
    manifest = None if index.view is None else index.view.manifest(model.name)
    digest = None if manifest is None else manifest.model_digest
    running = None if digest is None else index.runners.get(digest)
    facts = _facts(model, index, manifest, running)
    generation, at = index.cycle.desired.generation, index.cycle.at
    policy = index.policy(model)
    keep_alive = policy.keep_alive
    return ModelStatus(
        name=model.name.display,
        source=describe(model.source),
        digest=digest,
        size_bytes=_size(manifest),
        copied_bytes=_copied(index.view, manifest),
        loaded=running is not None,
        keep_alive=None if keep_alive is None else keep_alive.display,
        expires_at=None if running is None else running.expires_at,
        window_until=policy.closes,
        conditions=conditions_of(facts, generation, at),
    )


def _facts(
    model: DesiredModel, index: Index, manifest: Manifest | None, running: Running | None
) -> Mapping[str, Fact]:
    stalled, reconciling = _stalled(model, index), _reconciling(model, index)
    if model.state is State.ABSENT:
        facts = {"ManifestCurrent": _absent(manifest)}
    else:
        facts = {
            "SourceAvailable": source_available(model, index.view),
            "BlobsPresent": _blobs_present(model.name, index.view, manifest),
            "ManifestCurrent": _manifest_current(model, index, manifest),
            "Loaded": _loaded(model, index, running),
        }
    if model.name in index.suspended:
        return _suspended(model, index, facts)
    ready = _ready(index.policy(model), stalled, reconciling, facts)
    return {"Ready": ready, "Reconciling": reconciling, "Stalled": stalled, **facts}


def _suspended(model: DesiredModel, index: Index, facts: Mapping[str, Fact]) -> Mapping[str, Fact]:
    """A model that is left alone: not Ready where a look tells so, and else nobody knows, because
    what it should be made of is not asked."""
    reason = index.suspended[model.name]
    message = why(model.name, reason, index.cycle.desired.file)
    unready = [fact for kind, fact in facts.items() if kind != "Loaded" and fact[0] == "False"]
    is_gone = model.state is State.ABSENT and not unready and index.view is not None
    ready: Fact = ("True", "AsDeclared", "as the file says") if is_gone else _SUSPENDED
    return {
        "Ready": unready[0] if unready else ready,
        "Reconciling": ("False", "Suspended", "left alone"),
        "Stalled": ("False", "Suspended", "left alone"),
        "Suspended": ("True", reason, message),
        **facts,
    }


def _ready(policy: Policy, stalled: Fact, reconciling: Fact, facts: Mapping[str, Fact]) -> Fact:
    for fact in (stalled, reconciling):
        if fact[0] == "True":
            return "False", fact[1], fact[2]
    for kind, fact in facts.items():
        may_be_away = not policy.preload or fact[1] in MAY_BE_AWAY
        if fact[0] != "True" and not (kind == "Loaded" and may_be_away):
            return fact
    return "True", "AsDeclared", "as the file says"


def _stalled(model: DesiredModel, index: Index) -> Fact:
    trouble = index.cycle.trouble
    if trouble is not None and index.cycle.stalled:
        return "True", trouble.reason, trouble.message
    blocked, failure = index.blocked.get(model.name), index.cycle.failures.get(model.name)
    if blocked is not None:
        return "True", blocked.reason, blocked.message
    if failure is not None and failure.stalled:
        return "True", failure.reason, failure.message
    return "False", "Idle", "nothing needs a person"


def _reconciling(model: DesiredModel, index: Index) -> Fact:
    trouble, failure = index.cycle.trouble, index.cycle.failures.get(model.name)
    if trouble is not None:
        stalled: Fact = ("False", "Stalled", "waits for a person")
        return stalled if index.cycle.stalled else ("True", trouble.reason, trouble.message)
    if failure is not None and failure.next_at is not None:
        when = f"{failure.next_at:%H:%M:%S} UTC"
        return "True", failure.reason, f"{failure.message} (try {failure.attempts + 1} at {when})"
    actions = index.actions.get(model.name, [])
    if actions and failure is None:
        return "True", actions[0].reason, actions[0].message
    waiting = index.waiting.get(model.name)
    if waiting is not None:
        return "True", waiting.reason, waiting.message
    if index.cycle.observed is None:
        return "True", "NotObserved", "not looked at yet"
    return "False", "Idle", "nothing to do"


def _blobs_present(name: Name, view: View | None, manifest: Manifest | None) -> Fact:
    if view is None:
        return NOT_OBSERVED
    if manifest is None:
        return "False", "ManifestMissing", "no manifest yet"
    missing = sorted(digest for digest in manifest.digests if not view.has(digest))
    if missing:
        return "False", "BlobsMissing", f"{len(missing)} missing or broken: {missing[0]}"
    if replaced := _replaced(name, view, manifest):
        what = f"{short(replaced[0])} is a real file where paddock had made a link; it is kept"
        return "True", "BlobReplaced", f"{len(manifest.digests)} blobs: {what}"
    return "True", "AllPresent", f"{len(manifest.digests)} blobs"


def _replaced(name: Name, view: View, manifest: Manifest) -> list[Digest]:
    """Files that we had linked and that somebody, by a pull for one, has put into the store."""
    owned = view.ledger.owned.get(name)
    if owned is None or owned.rebuilt:
        return []
    ours = sorted(manifest.files & view.ledger.blobs.keys())
    return [digest for digest in ours if isinstance(view.blobs.get(digest), RegularBlob)]


def _manifest_current(model: DesiredModel, index: Index, manifest: Manifest | None) -> Fact:
    if index.view is None:
        return NOT_OBSERVED
    if manifest is None:
        return "False", "ManifestMissing", "no manifest yet"
    if model.name in index.suspended:
        return _SUSPENDED
    undecided = index.blocked.get(model.name) or index.waiting.get(model.name)
    if undecided is not None:
        return "Unknown", undecided.reason, undecided.message
    store = [a for a in index.actions.get(model.name, []) if not isinstance(a, _BESIDE)]
    if store:
        truth: Truth = "Unknown" if isinstance(store[-1], _ASKING) else "False"
        return truth, store[-1].reason, store[-1].message
    return "True", "Current", "as composed from the file"


def _absent(manifest: Manifest | None) -> Fact:
    return ("True", "Absent", "not there") if manifest is None else ("False", "Present", "there")


def _loaded(model: DesiredModel, index: Index, running: Running | None) -> Fact:
    if index.view is None:
        return NOT_OBSERVED
    unknown = index.view.observed.running
    if isinstance(unknown, Unknown):
        return "Unknown", unknown.reason, unknown.message
    name, zone = model.name, index.cycle.desired.timezone
    actions, policy = index.actions.get(name, []), index.policy(model)
    if running is not None:
        return loaded(policy, running, actions, zone)
    held_back = index.blocked.get(name) or index.waiting.get(name)
    return not_loaded(policy, held_back, actions, zone, rests=index.rests(name))


def _size(manifest: Manifest | None) -> int:
    return 0 if manifest is None else sum(layer.size_bytes for layer in manifest.layers)


def _copied(view: View | None, manifest: Manifest | None) -> int:
    if view is None or manifest is None:
        return 0
    blobs = (view.blobs.get(digest) for digest in manifest.digests)
    own = sum(blob.size_bytes for blob in blobs if isinstance(blob, RegularBlob))
    layers = ((view.blobs.get(layer.digest), layer.size_bytes) for layer in manifest.layers)
    return own + sum(s for b, s in layers if isinstance(b, LinkBlob) and is_download(b.target))
