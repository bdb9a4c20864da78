"""Drift: what became other than Paddock had made it, told apart by cause.

Pure. Owns which reasons of actions are drift and which actions count as its repair: one for each
cause, whatever else goes with it. docs/drift.md says what each reason means.
"""

from __future__ import annotations

from paddock.core.plan import (
    Action,
    LinkBlob,
    LoadModel,
    PublishLink,
    RemoveManifest,
    SetKeepAlive,
    WriteBlob,
    WriteManifest,
)

DRIFT = frozenset(
    {
        "BlobMissing",
        "Edited",
        "Evicted",
        "KeepAliveChanged",
        "LinkBroken",
        "LinkForeign",
        "LinkMissing",
        "ManifestCorrupt",
        "ManifestForeign",
        "ManifestMissing",
        "RunnerDied",
        "SourceChanged",
        "SourceMissing",
        "Stale",
        "TargetMoved",
        "Unpinned",
    }
)
_REPAIRS = (
    LinkBlob,
    LoadModel,
    PublishLink,
    RemoveManifest,
    SetKeepAlive,
    WriteBlob,
    WriteManifest,
)


def is_repair(action: Action) -> bool:
    """Whether an action repairs drift: not one that finds out, and not one of a new model, of which
    nothing was there."""
    if not isinstance(action, _REPAIRS) or action.reason not in DRIFT:
        return False
    return not isinstance(action, WriteBlob) or action.symbol != "+"
