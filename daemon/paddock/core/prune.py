"""Prune: models of ours that the file no longer names.

Pure. Off unless the file or a person asks for it. What the declared models need is kept, whoever
named it; and a file that suddenly names next to nothing removes nothing: that may be a mistake.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from paddock.core.desired import Desired, FromModel, FromRegistry
from paddock.core.names import Name
from paddock.core.ownership import is_rebuilt, not_adopted
from paddock.core.plan import Blocked, RemoveManifest
from paddock.core.view import View

# So many may go at once without a word: `apply` of a small file is no mass removal.
_FEW = 2


@dataclass(frozen=True, slots=True)
class Pruned:
    """The models to remove, or why none is."""

    actions: tuple[RemoveManifest, ...] = ()
    blocked: tuple[Blocked, ...] = ()


def plan_prune(desired: Desired, view: View) -> Pruned:
    """What of ours is to go, where prune is on. Destructive: for a whole look only."""
    if not desired.prune.on or not view.observed.complete:
        return Pruned()
    going = sorted(_unnamed(desired, view))
    lost = tuple(not_adopted(name) for name in going if is_rebuilt(name, view))
    going = [name for name in going if not is_rebuilt(name, view)]
    most = desired.prune.most
    allowed = len(going) <= (most or 0) or len(going) <= max(_FEW, _owned(view) // 2)
    if allowed or desired.prune.forced:
        return Pruned(tuple(_remove(name, view) for name in going), lost)
    what = f"{len(going)} of {_owned(view)} models of paddock's are no longer in the file"
    hint = f"if so be it: paddock apply --prune, or prune: {{max: {len(going)}}}"
    mass = tuple(Blocked(name, "MassRemoval", f"{what}; {hint}") for name in going)
    return Pruned((), (*mass, *lost))


def _owned(view: View) -> int:
    return sum(name in view.manifests for name in view.ledger.owned)


def _unnamed(desired: Desired, view: View) -> Iterator[Name]:
    """Of ours and there: not named, not left alone, and nothing that is named is pulled as it or
    derived of it."""
    paused = {name.folded for name in view.ledger.paused}
    needed = {*desired.models, *(name for name in view.ledger.owned if name.folded in paused)}
    for model in desired.models.values():
        match model.source:
            case FromRegistry(reference=name) | FromModel(base=name):
                needed.add(name)
            case _:
                pass
    return (name for name in view.ledger.owned if name in view.manifests and name not in needed)


def _remove(name: Name, view: View) -> RemoveManifest:
    return RemoveManifest(
        name=name,
        reason="Pruned",
        message=f"remove {name}, which the file no longer names",
        symbol="-",
        digest=view.manifests[name].digest,
    )
