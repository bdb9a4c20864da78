"""The status of one model: its conditions, from what is wanted, seen, planned and failed.

Pure. One function a condition; `Ready` is computed from the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import assert_never

from paddock.core.conditions import Fact, ModelStatus, Truth, conditions_of
from paddock.core.desired import (
    Desired,
    DesiredModel,
    FromFile,
    FromModel,
    FromRegistry,
    Source,
    State,
)
from paddock.core.digest import Digest
from paddock.core.manifest import Manifest
from paddock.core.names import Name
from paddock.core.observed import (
    Observed,
    RegularBlob,
    Running,
    SourceFile,
    SourceMissing,
    Unknown,
)
from paddock.core.outcome import Failure
from paddock.core.plan import (
    Action,
    Blocked,
    HashSource,
    LoadModel,
    Plan,
    ProbeModel,
    PullModel,
    SetKeepAlive,
    UnlinkBlob,
    Waiting,
)
from paddock.core.view import View

# Actions that find something out, and those that leave the manifest as it is.
_ASKING = (PullModel, HashSource, ProbeModel)
_BESIDE = (LoadModel, SetKeepAlive, UnlinkBlob)

_NOT_OBSERVED: Fact = ("Unknown", "NotObserved", "not looked at yet")


@dataclass(frozen=True, slots=True)
class Cycle:
    """Everything that one reconcile knows at its end. `trouble` is what kept it from observing or
    from acting at all, `stalled` that this needs a person; `spec_trouble` says that a newer file is
    invalid."""

    desired: Desired
    at: datetime
    observed: Observed | None = None
    plan: Plan | None = None
    failures: Mapping[Name, Failure] = field(default_factory=dict)
    trouble: Unknown | None = None
    stalled: bool = False
    spec_trouble: Unknown | None = None


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

    @classmethod
    def of(cls, cycle: Cycle, view: View | None) -> Index:
        """Sort a cycle's plan and runners by what they belong to."""
        actions: defaultdict[Name, list[Action]] = defaultdict(list)
        plan = cycle.plan or Plan(cycle.desired.generation, cycle.desired.file, 0)
        for action in plan.actions:
            actions[action.name].append(action)
        blocked = {found.name: found for found in plan.blocked}
        waiting = {found.name: found for found in plan.waiting}
        loads = {action.name for action in plan.actions if isinstance(action, LoadModel)}
        loading = frozenset(plan.made_of[name] for name in loads if name in plan.made_of)
        return cls(cycle, view, actions, blocked, waiting, _runners(view), loading)

    def rests(self, name: Name) -> bool:
        """Whether the plan knows the model's GGUF, and does not want it loaded by any name."""
        made_of = {} if self.cycle.plan is None else self.cycle.plan.made_of
        return name in made_of and made_of[name] not in self.loading


def _runners(view: View | None) -> Mapping[Digest, Running]:
    if view is None or isinstance(view.observed.running, Unknown):
        return {}
    found = ((view.runner_digest(running), running) for running in view.observed.running)
    return {digest: running for digest, running in found if digest is not None}


def model_status(model: DesiredModel, index: Index) -> ModelStatus:
    """The status of one declared model."""
    manifest = None if index.view is None else index.view.manifest(model.name)
    digest = None if manifest is None else manifest.model_digest
    running = None if digest is None else index.runners.get(digest)
    facts = _facts(model, index, manifest, running)
    generation, at = index.cycle.desired.generation, index.cycle.at
    keep_alive = model.residency.keep_alive
    return ModelStatus(
        name=model.name.display,
        source=describe(model.source),
        digest=digest,
        size_bytes=_size(manifest),
        copied_bytes=_copied(index.view, manifest),
        loaded=running is not None,
        keep_alive=None if keep_alive is None else keep_alive.display,
        expires_at=None if running is None else running.expires_at,
        conditions=conditions_of(facts, generation, at),
    )


def describe(source: Source | None) -> str:
    """A source as people write it: `gguf: /path`, `registry: name`, `model: name`."""
    match source:
        case FromFile(path):
            return f"gguf: {path}"
        case FromRegistry(reference):
            return f"registry: {reference}"
        case FromModel(base):
            return f"model: {base}"
        case None:
            return "absent"
        case _:
            assert_never(source)


def _facts(
    model: DesiredModel, index: Index, manifest: Manifest | None, running: Running | None
) -> Mapping[str, Fact]:
    stalled, reconciling = _stalled(model, index), _reconciling(model, index)
    if model.state is State.ABSENT:
        facts = {"ManifestCurrent": _absent(manifest)}
    else:
        facts = {
            "SourceAvailable": _source_available(model, index),
            "BlobsPresent": _blobs_present(index.view, manifest),
            "ManifestCurrent": _manifest_current(model, index, manifest),
            "Loaded": _loaded(model, index, running),
        }
    ready = _ready(model, stalled, reconciling, facts)
    return {"Ready": ready, "Reconciling": reconciling, "Stalled": stalled, **facts}


def _ready(
    model: DesiredModel, stalled: Fact, reconciling: Fact, facts: Mapping[str, Fact]
) -> Fact:
    for fact in (stalled, reconciling):
        if fact[0] == "True":
            return "False", fact[1], fact[2]
    for kind, fact in facts.items():
        may_be_unloaded = not model.residency.preload or fact[1] == "Expired"
        if fact[0] != "True" and not (kind == "Loaded" and may_be_unloaded):
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


def _source_available(model: DesiredModel, index: Index) -> Fact:
    if index.view is None:
        return _NOT_OBSERVED
    match model.source:
        case FromFile(path):
            return _file_available(index.view, path)
        case FromRegistry(reference):
            pulled = reference in index.view.manifests
            return ("True", "Pulled", "pulled") if pulled else ("Unknown", "NotPulled", "to pull")
        case FromModel(base):
            there = base in index.view.manifests
            return (
                ("True", "BaseInstalled", f"{base} is installed")
                if there
                else ("False", "BaseMissing", f"{base} is not installed")
            )
        case None:
            return "False", "NoSource", "no source"
        case _:
            assert_never(model.source)


def _file_available(view: View, path: str) -> Fact:
    match view.observed.sources.get(path):
        case SourceFile(real_path=real_path):
            return "True", "FileFound", real_path
        case SourceMissing(message):
            return "False", "SourceMissing", message
        case Unknown(reason, message):
            return "Unknown", reason, message
        case None:
            return _NOT_OBSERVED


def _blobs_present(view: View | None, manifest: Manifest | None) -> Fact:
    if view is None:
        return _NOT_OBSERVED
    if manifest is None:
        return "False", "ManifestMissing", "no manifest yet"
    missing = sorted(digest for digest in manifest.digests if not view.has(digest))
    if missing:
        return "False", "BlobsMissing", f"{len(missing)} missing or broken: {missing[0]}"
    return "True", "AllPresent", f"{len(manifest.digests)} blobs"


def _manifest_current(model: DesiredModel, index: Index, manifest: Manifest | None) -> Fact:
    if index.view is None:
        return _NOT_OBSERVED
    if manifest is None:
        return "False", "ManifestMissing", "no manifest yet"
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
        return _NOT_OBSERVED
    unknown = index.view.observed.running
    if isinstance(unknown, Unknown):
        return "Unknown", unknown.reason, unknown.message
    if running is None:
        if not model.residency.preload:
            return "False", "NotWanted", "not in memory"
        if index.rests(model.name):
            return "False", "Expired", "not in memory: its keep_alive has run out"
        return "False", "NotLoaded", "not in memory"
    expiry = running.expires_at
    return "True", "Running", "for ever" if expiry is None else f"until {expiry:%H:%M:%S} UTC"


def _size(manifest: Manifest | None) -> int:
    return 0 if manifest is None else sum(layer.size_bytes for layer in manifest.layers)


def _copied(view: View | None, manifest: Manifest | None) -> int:
    if view is None or manifest is None:
        return 0
    blobs = (view.blobs.get(digest) for digest in manifest.digests)
    return sum(blob.size_bytes for blob in blobs if isinstance(blob, RegularBlob))
