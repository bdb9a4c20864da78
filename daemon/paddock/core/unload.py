"""Unload: the runners that must leave memory before the store changes under them.

Pure. Ollama keys a runner by the path of its GGUF's blob, and reaches it only through a name whose
manifest names that blob (ollama:server/sched.go schedulerModelKey): once the last such manifest is
gone or names another GGUF, nobody can unload it. While one name stays, its runner is let be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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
    return [unload for runner in running for unload in _unload(runner, changes, view)]


def _unload(runner: Running, changes: Mapping[Name, Change], view: View) -> Iterator[UnloadModel]:
    digest = view.runner_digest(runner)
    if any(isinstance(c, WriteManifest) and c.model_digest == digest for c in changes.values()):
        return
    users = [name for name in sorted(view.manifests) if _runs(name, digest, view)]
    if digest is None or not changes.keys() >= set(users):
        return
    for name in users:
        yield UnloadModel(
            name=name,
            reason=changes[name].reason,
            message=f"unload {name}",
            symbol=changes[name].symbol,
            running=name,
            manifest_digest=runner.manifest_digest,
        )


def _runs(name: Name, digest: Digest | None, view: View) -> bool:
    manifest = view.manifest(name)
    return manifest is not None and manifest.model_digest == digest
