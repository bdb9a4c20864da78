"""Withdraw: a model whose file went away is taken out of the store, until the file is back.

Pure. A client then gets a plain "not found", and no pull fills the disk with what is on another one
(ollama:server/images.go PullModel writes over a broken link). A file counts as gone once two looks
at least GONE apart say so; what cannot be looked at is not gone.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from paddock.core.digest import Digest
from paddock.core.names import Name
from paddock.core.observed import LinkBlob
from paddock.core.plan import Blocked, RemoveManifest
from paddock.core.view import View

GONE = timedelta(seconds=2)


def withdraw(blocked: Blocked, view: View) -> tuple[Blocked, RemoveManifest | None]:
    """What becomes of a model of which a file is gone: nothing, unless it is ours and broken."""
    name, observed = blocked.name, view.observed
    found = view.manifests.get(name)
    if found is None or not blocked.gone:
        return blocked, None
    if name not in view.ledger.owned:
        return name_taken(blocked, view), None
    if not _is_broken(name, view) or not observed.complete:
        return blocked, None
    gone_at = observed.memory.gone.get(name, observed.at)
    if observed.at - gone_at < GONE:
        return replace(blocked, withdraw_at=gone_at + GONE), None
    return blocked, RemoveManifest(
        name=name,
        reason=blocked.reason,
        message=f"withdraw {name} until its source is back",
        symbol="!",
        digest=found.digest,
        until_back=True,
    )


def name_taken(blocked: Blocked, view: View) -> Blocked:
    """A name that was ours, and that somebody has given to another model since."""
    name = blocked.name
    if name not in view.ledger.withdrawn or name not in view.manifests:
        return blocked
    what = f"{name} was withdrawn and is another model now, not made by paddock"
    hint = f"claim it with: paddock adopt {name}, or remove it"
    return Blocked(name, "NameTaken", f"{what}; {hint}", blocked.gone)


def _is_broken(name: Name, view: View) -> bool:
    manifest = view.manifest(name)
    return manifest is not None and any(_lies(d, view) for d in manifest.digests)


def _lies(digest: Digest, view: View) -> bool:
    """Whether a blob is not there, or leads to a declared file that holds something else."""
    blob = view.blobs.get(digest)
    if not view.has(digest):
        return True
    return isinstance(blob, LinkBlob) and view.files.get(blob.target, digest) != digest
