"""Outdated: which pulled models their registries have newer ones of.

Pure. Decides what is asked about, and what the answers mean; `cli/outdated.py` asks. A model that
was made here and never pulled is asked about only by name: its name is nobody else's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from paddock.core.desired import DesiredModel, FromRegistry
from paddock.core.digest import Digest
from paddock.core.manifest import NAME_MARK
from paddock.core.names import Name, is_scratch
from paddock.core.observed import Ledger, ManifestFile
from paddock.errors import PaddockError

FORMAT_VERSION = 1

State = Literal["current", "outdated", "gone", "needs credentials", "unreachable"]
_NOT_ASKED = frozenset({"needs credentials", "unreachable"})


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model to ask about: `installed` are the digests that its manifest may be known by, `sure`
    says that it was pulled or that somebody named it."""

    name: Name
    reference: Name
    installed: tuple[Digest, ...]
    insecure: bool = False
    pinned: bool = False
    sure: bool = True


@dataclass(frozen=True, slots=True)
class Row:
    """What became of a candidate; `registry` is None where there is no answer."""

    name: str
    reference: str
    installed: Digest
    registry: Digest | None
    state: State
    message: str

    def to_json(self) -> dict[str, Any]:
        """The JSON of one model."""
        return {
            "name": self.name,
            "reference": self.reference,
            "installed": self.installed,
            "registry": self.registry,
            "state": self.state,
            "message": self.message,
        }


@dataclass(frozen=True, slots=True)
class Installed:
    """What is in the store. `made_here` are the names whose manifest the server wrote itself: those
    end in a newline (ollama:manifest/manifest.go WriteManifest), what is pulled is kept as it came.
    """

    manifests: Mapping[Name, ManifestFile]
    ledger: Ledger
    made_here: frozenset[Name]

    def digests(self, reference: Name) -> tuple[Digest, ...]:
        """What the registry gave for a reference: as the ledger has it where our own manifest has
        taken its place. Empty where nothing is installed."""
        found = self.manifests.get(reference)
        if found is None:
            return ()
        if found.manifest is not None and NAME_MARK in found.manifest.annotations:
            pulled = self.ledger.pulled.get(reference)
            return () if pulled is None else (pulled.digest,)
        return (found.digest, *sorted(found.digests - {found.digest}))


def candidates(
    declared: Mapping[Name, DesiredModel], installed: Installed, named: Sequence[Name]
) -> tuple[Candidate, ...]:
    """The models to ask about, in the order of their names. Raises PaddockError for a name that is
    not installed."""
    wanted = frozenset(name.folded for name in named)
    of_the_file = tuple(_declared(declared, installed))
    told = {candidate.reference for candidate in of_the_file}
    others = (c for c in _of_the_store(installed, wanted) if c.reference not in told)
    found = (*of_the_file, *others)
    chosen = [c for c in found if not wanted or _is_among(c, wanted)]
    for name in named:
        if not any(_is_among(c, {name.folded}) for c in chosen):
            what = f"{name} is not installed"
            raise PaddockError(f"{what}; see ollama list", reason="NotInstalled")
    return tuple(sorted(chosen, key=lambda c: c.name))


def _declared(declared: Mapping[Name, DesiredModel], installed: Installed) -> Iterator[Candidate]:
    for model in declared.values():
        if isinstance(model.source, FromRegistry):
            source = model.source
            digests = installed.digests(source.reference)
            if digests:
                pinned = source.digest is not None
                yield Candidate(model.name, source.reference, digests, source.insecure, pinned)


def _of_the_store(installed: Installed, wanted: frozenset[Name]) -> Iterator[Candidate]:
    for name in installed.manifests:
        digests = installed.digests(name)
        pulled = name in installed.ledger.pulled
        made_here = name in installed.made_here
        asked = name.folded in wanted
        if digests and not is_scratch(name) and (pulled or asked or not made_here):
            yield Candidate(name, name, digests, sure=pulled or asked)


def _is_among(candidate: Candidate, wanted: Iterable[Name]) -> bool:
    return bool({candidate.name.folded, candidate.reference.folded} & set(wanted))


def judge(candidate: Candidate, answer: Digest | PaddockError) -> Row | None:
    """What an answer means; None: nobody knows it there, and it was never said to be pulled."""
    registry = None if isinstance(answer, PaddockError) else answer
    state, message = _state(candidate, answer)
    if state == "gone" and not candidate.sure:
        return None
    name, reference = candidate.name.display, candidate.reference.display
    return Row(name, reference, candidate.installed[0], registry, state, message)


def _state(candidate: Candidate, answer: Digest | PaddockError) -> tuple[State, str]:
    if isinstance(answer, PaddockError):
        match answer.reason:
            case "NotInRegistry":
                return "gone", answer.message
            case "NeedsCredentials":
                return "needs credentials", answer.message
            case _:
                return "unreachable", answer.message
    if answer in candidate.installed:
        return "current", "as in its registry"
    if candidate.pinned:
        return "outdated", "pinned: write the new digest into the file to move it"
    return "outdated", f"its registry has another; move it with: ollama pull {candidate.reference}"


def summary(rows: Sequence[Row]) -> Mapping[str, int]:
    """How many models are in each state."""
    states: tuple[State, ...] = ("current", "outdated", "gone", "needs credentials", "unreachable")
    return {state.replace(" ", "_"): sum(row.state == state for row in rows) for state in states}


def none_was_asked(rows: Sequence[Row]) -> bool:
    """Whether there was something to ask, and no registry said anything of it."""
    return bool(rows) and all(row.state in _NOT_ASKED for row in rows)


def to_json(rows: Sequence[Row]) -> dict[str, Any]:
    """The JSON of `paddock outdated -o json`."""
    return {
        "format_version": FORMAT_VERSION,
        "models": [row.to_json() for row in rows],
        "summary": dict(summary(rows)),
    }
