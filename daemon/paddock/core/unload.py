"""Unload: the runners that must leave memory before the store changes under them.

Pure. Ollama keys a runner by the path of its GGUF's blob, and reaches it only through a name whose
manifest names that blob (ollama:server/sched.go schedulerModelKey): once the last such manifest is
gone or names another GGUF, nobody can unload it. While one name stays, its runner is let be. One
that nobody reaches any more all the same, since somebody else changed the store, is stale.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from paddock.core.digest import Digest
from paddock.core.names import Name
from paddock.core.observed import Running, Unknown
from paddock.core.plan import Action, RemoveManifest, UnloadModel, WriteManifest
from paddock.core.view import View

Change: TypeAlias = RemoveManifest | WriteManifest


def plan_unloads(actions: Iterable[Action], view: View) -> list[UnloadModel]:
    """One action for each name that leaves the GGUF of a runner which no name will reach."""
    running = view.observed.running
    if isinstance(running, Unknown):
        return []
    changes = {a.name: a for a in actions if isinstance(a, RemoveManifest | WriteManifest)}
    runners = running if changes else ()
    return [unload for runner in runners for unload in _unload(runner, changes, view)]


def plan_stale(ours: Container[Name], actions: Sequence[Action], view: View) -> list[UnloadModel]:
    """One action for each runner of `ours` that lives and no name reaches, now or after these
    actions: it holds memory, for ever where it was pinned, and answers nobody."""
    running = view.observed.running
    if isinstance(running, Unknown) or not view.observed.complete:
        return []
    found = [(r, view.runner_digest(r)) for r in running if r.alive and r.name in ours]
    if not found:
        return []
    manifests = [file.manifest for file in view.manifests.values()]
    reached = {manifest.model_digest for manifest in manifests if manifest is not None}
    reached |= {a.model_digest for a in actions if isinstance(a, WriteManifest)}
    unknown = any(manifest is None for manifest in manifests)
    return [
        UnloadModel(
            name=runner.name,
            reason="Stale",
            message=f"unload {runner.name} of before, which no model reaches any more",
            symbol="~",
            running=runner.name,
            manifest_digest=runner.manifest_digest,
            model_digest=digest,
        )
        for runner, digest in found
        if digest is not None and digest not in reached and not unknown
    ]


def _unload(runner: Running, changes: Mapping[Name, Change], view: View) -> Iterator[UnloadModel]:
    digest = view.runner_digest(runner)
    users = [name for name in sorted(view.manifests) if _runs(name, digest, view)]
    if digest is None:
        return
    refiled = [name for name in users if _is_refiled(name, changes.get(name), view)]
    if not refiled and not changes.keys() >= set(users):
        return
    if not refiled and any(_writes(change, digest) for change in changes.values()):
        return
    for name in refiled or users:
        yield UnloadModel(
            name=name,
            reason=changes[name].reason,
            message=f"unload {name}",
            symbol=changes[name].symbol,
            running=name,
            manifest_digest=runner.manifest_digest,
            model_digest=digest,
        )


def _is_refiled(name: Name, change: Change | None, view: View) -> bool:
    """Whether a model keeps its GGUF and changes another file: Ollama does not notice a new draft,
    and reaches the runner of a split GGUF by all of its parts (ollama:server/sched.go)."""
    manifest = view.manifest(name)
    if manifest is None or not isinstance(change, WriteManifest):
        return False
    same = manifest.model_digest == change.model_digest
    return same and manifest.files != change.files


def _writes(change: Change, digest: Digest) -> bool:
    return isinstance(change, WriteManifest) and change.model_digest == digest


def _runs(name: Name, digest: Digest | None, view: View) -> bool:
    manifest = view.manifest(name)
    return manifest is not None and manifest.model_digest == digest
