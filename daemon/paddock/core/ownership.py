"""Ownership: what of the store is ours to change.

Pure. Declaring a name does not claim it: the ledger alone says what is ours. Our marks in a
manifest count only where its name and the store's id both match, for `/api/copy` keeps them
(ollama:server/images.go CopyModel).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from paddock.core.manifest import NAME_MARK, STORE_MARK, Manifest
from paddock.core.names import Name, is_scratch
from paddock.core.observed import ManifestFile, Owned
from paddock.core.plan import Blocked, Note
from paddock.core.view import View
from paddock.errors import listed

DIFFERS = "differs from what the file declares"


def is_foreign(name: Name, view: View) -> bool:
    """Whether a model is there that the ledger does not hold."""
    return name in view.manifests and name not in view.ledger.owned


def is_marked(name: Name, view: View) -> bool:
    """Whether the manifest of a name is one that Paddock wrote for this name in this store."""
    manifest, store_id = view.manifest(name), view.ledger.store_id
    return manifest is not None and store_id is not None and _bears(manifest, name, store_id)


def marked(manifests: Mapping[Name, ManifestFile], store_id: str | None) -> dict[Name, Manifest]:
    """The manifests that bear our marks, by name: all that is left to tell where the ledger was
    lost. Without the store's id nothing counts as ours."""
    found = {name: file.manifest for name, file in sorted(manifests.items())}
    return {
        name: manifest
        for name, manifest in found.items()
        if manifest is not None and store_id is not None and _bears(manifest, name, store_id)
    }


def _bears(manifest: Manifest, name: Name, store_id: str) -> bool:
    marks = manifest.annotations
    return (marks.get(NAME_MARK), marks.get(STORE_MARK)) == (name.full, store_id)


def is_rebuilt(name: Name, view: View) -> bool:
    """Whether the marks in its manifest alone say that a name is ours."""
    return view.ledger.owned.get(name, Owned()).rebuilt


def not_adopted(name: Name) -> Blocked:
    """A model of ours is not removed, because the ledger that would say so was lost."""
    what = f"{name} was made by paddock, by its marks; the ledger that says so was lost"
    hint = f"it is removed once it is claimed with: paddock adopt {name}"
    return Blocked(name, "NotAdopted", f"{what}; {hint}")


def kept(name: Name, view: View) -> Blocked | None:
    """Why a model that shall be absent is not removed, where it is not ours to remove."""
    if is_foreign(name, view):
        return not_owned(name, name, "shall be absent")
    return not_adopted(name) if is_rebuilt(name, view) else None


def ledger_note(view: View) -> Note | None:
    """What is to be told of a ledger that was damaged or lost; None where it is whole."""
    ledger = view.ledger
    names = [name.display for name, owned in sorted(ledger.owned.items()) if owned.rebuilt]
    known = ledger.scratch | ledger.scratch_in_use
    scratch = sorted(filter(is_scratch, view.manifests.keys() - known))
    told = {} if ledger.damage is None else {ledger.damage.reason: ledger.damage.message}
    if names:
        told["LedgerRebuilt"] = _rebuilt(names)
    if scratch:
        told["ScratchLeft"] = _scratch_left([name.display for name in scratch])
    reason = "LedgerRebuilt" if names else next(iter(told), "")
    return Note(".paddock/state.db", reason, "; ".join(told.values())) if told else None


def _rebuilt(names: Sequence[str]) -> str:
    what = "the ledger was lost, and manifests alone say that these are paddock's"
    what = f"{what}: {listed(names)}"
    return f"{what}; they are repaired, and not removed until paddock adopt NAME"


def _scratch_left(names: Sequence[str]) -> str:
    """What a killed probe left is removed by the ledger that recorded it, and by no other one."""
    count = "a scratch model" if len(names) == 1 else f"{len(names)} scratch models"
    return f"{count} of an earlier ledger stayed; remove with: ollama rm {' '.join(names)}"


def not_owned(name: Name, present: Name, why: str) -> Blocked:
    """A model cannot be made, because what is `present` is not ours to change."""
    what = f"{present} was not made by paddock and {why}"
    return Blocked(name, "NotOwned", f"{what}; claim it with: paddock adopt {present}")
