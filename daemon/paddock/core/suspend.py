"""Suspended: the models that are left alone, because the file says so or a person paused them.

Pure. Nothing is planned for such a model, and nothing on its name: it stays as the store has it.
What a person paused is in the ledger, so that it outlives every restart.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from paddock.core.conditions import FORMAT_VERSION
from paddock.core.desired import Desired, DesiredModel
from paddock.core.names import Name
from paddock.core.observed import Known, Ledger, Unknown
from paddock.errors import PaddockError

IN_FILE = "SuspendedInFile"
PAUSED = "Paused"


def suspended(desired: Desired, ledger: Known[Ledger]) -> Mapping[Name, str]:
    """The declared models that are left alone, each with the reason."""
    paused = frozenset[Name]() if isinstance(ledger, Unknown) else _folded(ledger.paused)
    found = {name: _reason(model, paused) for name, model in desired.models.items()}
    return {name: reason for name, reason in found.items() if reason is not None}


def left_alone(desired: Desired, ledger: Ledger) -> frozenset[Name]:
    """Every name that no action may touch; paused ones need not be declared."""
    return ledger.paused.union(suspended(desired, ledger))


def why(name: Name, reason: str, file: str) -> str:
    """Why a model is left alone, and what ends it."""
    if reason == IN_FILE:
        return f"left alone, as {file} says suspend: true"
    return f"left alone since it was paused; paddock resume {name}"


def find(texts: Sequence[str], desired: Desired, ledger: Ledger) -> tuple[Name, ...]:
    """The models that people name, in any case: declared, ours, or paused. Raises InvalidName, and
    PaddockError for one that is nothing of that."""
    known = [*ledger.paused, *ledger.owned, *desired.models]  # the last spelling counts
    by_folded = {name.folded: name for name in known}
    names = [by_folded.get(Name.parse(text).folded, text) for text in texts]
    unknown = [name for name in names if not isinstance(name, Name)]
    if unknown:
        what = f"{', '.join(unknown)}: not declared in {desired.file}, and not made by paddock"
        raise PaddockError(f"{what}; paddock status shows what is", reason="NotDeclared")
    return tuple(dict.fromkeys(name for name in names if isinstance(name, Name)))


def stored(name: Name, ledger: Ledger) -> list[Name]:
    """The names under which the ledger has a model as paused, in whatever case."""
    return [paused for paused in sorted(ledger.paused) if paused.folded == name.folded]


def report(
    names: Sequence[Name], desired: Desired, before: Ledger, after: Ledger
) -> dict[str, Any]:
    """The JSON of what a pause or a resume did."""
    paused, was = _folded(after.paused), _folded(before.paused)
    return {
        "format_version": FORMAT_VERSION,
        "file": desired.file,
        "models": [
            {
                "name": name.display,
                "paused": name.folded in paused,
                "changed": (name.folded in paused) != (name.folded in was),
                "suspended_in_file": name in desired.models and desired.models[name].suspended,
            }
            for name in names
        ],
    }


def _reason(model: DesiredModel, paused: Collection[Name]) -> str | None:
    if model.suspended:
        return IN_FILE
    return PAUSED if paused and model.name.folded in paused else None


def _folded(names: Collection[Name]) -> frozenset[Name]:
    return frozenset(name.folded for name in names)
