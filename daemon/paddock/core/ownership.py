"""Ownership: what of the store is ours to change.

Pure. Declaring a name does not claim it: the ledger alone says what is ours. Our marks in a
manifest count only where its name and the store's id both match, for `/api/copy` keeps them
(ollama:server/images.go CopyModel).
"""

from __future__ import annotations

from paddock.core.manifest import NAME_MARK, STORE_MARK
from paddock.core.names import Name
from paddock.core.plan import Blocked
from paddock.core.view import View

DIFFERS = "differs from what the file declares"


def is_foreign(name: Name, view: View) -> bool:
    """Whether a model is there that the ledger does not hold."""
    return name in view.manifests and name not in view.ledger.owned


def is_marked(name: Name, view: View) -> bool:
    """Whether the manifest of a name is one that Paddock wrote for this name in this store."""
    manifest, store_id = view.manifest(name), view.ledger.store_id
    if manifest is None or store_id is None:
        return False
    marks = manifest.annotations
    return (marks.get(NAME_MARK), marks.get(STORE_MARK)) == (name.full, store_id)


def not_owned(name: Name, present: Name, why: str) -> Blocked:
    """A model cannot be made, because what is `present` is not ours to change."""
    what = f"{present} was not made by paddock and {why}"
    return Blocked(name, "NotOwned", f"{what}; claim it with: paddock adopt {present}")
