"""The status of one model: its conditions, from what is wanted, seen, planned and failed.

Pure. One function a condition; `Ready` is computed from the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import assert_never

from paddock.core.conditions import Condition, Fact, ModelStatus
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
from paddock.core.plan import Action, Blocked, LoadModel, Plan, SetKeepAlive, Waiting
from paddock.core.view import View

_RESIDENCY = (LoadModel, SetKeepAlive)


@dataclass(frozen=True, slots=True)
class Cycle:
    """Everything that one reconcile knows at its end. `trouble` is what kept it from observing or
    from acting at all; `spec_trouble` says that a newer file is invalid."""

    desired: Desired
    at: datetime
    observed: Observed | None = None
    plan: Plan | None = None
    failures: Mapping[Name, Failure] = field(default_factory=dict)
    trouble: Unknown | None = None
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

    @classmethod
    def of(cls, cycle: Cycle, view: View | None) -> Index:
        """Sort a cycle's plan and runners by what they belong to."""
        actions: defaultdict[Name, list[Action]] = defaultdict(list)
        plan = cycle.plan
        for action in () if plan is None else plan.actions:
            actions[action.name].append(action)
        blocked = {} if plan is None else {found.name: found for found in plan.blocked}
        waiting = {} if plan is None else {found.name: found for found in plan.waiting}
        return cls(cycle, view, actions, blocked, waiting, _runners(view))


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
        conditions=tuple(Condition(kind, *fact, generation, at) for kind, fact in facts.items()),
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
            "Loaded": _loaded(model, running),
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
        if fact[0] != "True" and not (kind == "Loaded" and not model.residency.preload):
            return fact[0], fact[1], fact[2]
    return "True", "AsDeclared", "as the file says"


def _stalled(model: DesiredModel, index: Index) -> Fact:
    blocked, failure = index.blocked.get(model.name), index.cycle.failures.get(model.name)
    if blocked is not None:
        return "True", blocked.reason, blocked.message
    if failure is not None and failure.stalled:
        return "True", failure.reason, failure.message
    return "False", "Idle", "nothing needs a person"


def _reconciling(model: DesiredModel, index: Index) -> Fact:
    trouble, failure = index.cycle.trouble, index.cycle.failures.get(model.name)
    if trouble is not None:
        return "True", trouble.reason, trouble.message
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
        return "Unknown", "NotObserved", "not looked at yet"
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
            return "Unknown", "NotObserved", "not looked at yet"


def _blobs_present(view: View | None, manifest: Manifest | None) -> Fact:
    if view is None:
        return "Unknown", "NotObserved", "not looked at yet"
    if manifest is None:
        return "False", "ManifestMissing", "no manifest yet"
    missing = sorted(digest for digest in manifest.digests if not view.has(digest))
    if missing:
        return "False", "BlobsMissing", f"{len(missing)} missing or broken: {missing[0]}"
    return "True", "AllPresent", f"{len(manifest.digests)} blobs"


def _manifest_current(model: DesiredModel, index: Index, manifest: Manifest | None) -> Fact:
    if index.view is None:
        return "Unknown", "NotObserved", "not looked at yet"
    if manifest is None:
        return "False", "ManifestMissing", "no manifest yet"
    store = [a for a in index.actions.get(model.name, []) if not isinstance(a, _RESIDENCY)]
    if store:
        return "False", store[-1].reason, store[-1].message
    if model.name in index.blocked:
        return "Unknown", index.blocked[model.name].reason, index.blocked[model.name].message
    return "True", "Current", "as composed from the file"


def _absent(manifest: Manifest | None) -> Fact:
    return ("True", "Absent", "not there") if manifest is None else ("False", "Present", "there")


def _loaded(model: DesiredModel, running: Running | None) -> Fact:
    if running is None:
        preload = model.residency.preload
        return "False", "NotLoaded" if preload else "NotWanted", "not in memory"
    expiry = running.expires_at
    return "True", "Running", "for ever" if expiry is None else f"until {expiry:%H:%M:%S} UTC"


def _size(manifest: Manifest | None) -> int:
    return 0 if manifest is None else sum(layer.size_bytes for layer in manifest.layers)


def _copied(view: View | None, manifest: Manifest | None) -> int:
    if view is None or manifest is None:
        return 0
    blobs = (view.blobs.get(digest) for digest in manifest.digests)
    return sum(blob.size_bytes for blob in blobs if isinstance(blob, RegularBlob))
