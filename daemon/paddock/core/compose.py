"""From a desired model to its composition, or to what must be found out first.

Pure. Facts that cost (a digest, a probe's answer, a pull) are not known to a plan: they are asked
for by actions, and the next observation has them (`Pending`). What nobody can decide without a
person is `Blocked`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import assert_never

from paddock.core.compose_files import (
    Composed,
    Pending,
    compose_files,
    compose_hub,
    probe_action,
)
from paddock.core.composition import Composition, derive, from_manifest, probe_key
from paddock.core.desired import (
    Desired,
    DesiredModel,
    FromFile,
    FromHub,
    FromModel,
    FromRegistry,
    State,
)
from paddock.core.digest import Digest, digest_of
from paddock.core.gguf import Facts
from paddock.core.manifest import MODEL_TYPE, Manifest
from paddock.core.names import Name
from paddock.core.observed import ProbeAnswer
from paddock.core.ownership import is_foreign, is_marked, not_owned
from paddock.core.plan import Blocked, PullModel
from paddock.core.stubs import part_stubs
from paddock.core.view import View

# What a model that is not ours would have to be changed for.
_FOREIGN = {
    "NotPulled": "shall be pulled anew",
    "DigestChanged": "has another digest than the file pins",
    "BlobsMissing": "lacks some of its blobs",
}


@dataclass(slots=True)
class Composer:
    """Composes each model once: a derived model asks for its base's composition. What is
    `left_alone` is a base as the store has it."""

    desired: Desired
    view: View
    left_alone: Collection[Name] = ()
    _done: dict[Name, Composed] = field(default_factory=dict)

    def compose(self, name: Name) -> Composed:
        """The composition of a declared model, or what it waits for."""
        if name not in self._done:
            model = self.desired.models[name]
            # A cycle of bases is refused when the file is read; this ends it all the same.
            self._done[name] = Blocked(name, "BaseCycle", f"{name} is derived from itself")
            self._done[name] = self._compose(model)
        return self._done[name]

    def _compose(self, model: DesiredModel) -> Composed:
        match model.source:
            case FromFile():
                return compose_files(model, model.source, self.view)
            case FromHub():
                return compose_hub(model, model.source, self.view)
            case FromRegistry():
                return self._from_registry(model, model.source)
            case FromModel(base):
                composed = self._base(model, base)
                return self._derive(model, composed)
            case None:
                return Blocked(model.name, "NoSource", f"{model.name} has no source")
            case _:
                assert_never(model.source)

    def _from_registry(self, model: DesiredModel, source: FromRegistry) -> Composed:
        if self._is_taken(source.reference):
            what = f"its source {source.reference} is declared as something else"
            return Blocked(model.name, "SourceTaken", f"{what}; rename that model")
        found = self._pulled(model, source)
        if found is None:
            return self._pull(model, source, "NotPulled")
        manifest, digests = found
        if source.digest is not None and source.digest not in digests:
            return self._pull(model, source, "DigestChanged")
        base = from_manifest(manifest, stands=_stands(model, source))
        composed = base if base.stands else self._derive(model, base)
        needed = composed if isinstance(composed, Composition) else base
        if needed.lost(self.view.has):
            return self._pull(model, source, "BlobsMissing")
        return composed

    def _is_taken(self, reference: Name) -> bool:
        """Whether the file wants another model where the pulled one has to be."""
        declared = self.desired.models.get(reference)
        if declared is None:
            return False
        source = declared.source
        return not isinstance(source, FromRegistry) or source.reference != reference

    def _pulled(
        self, model: DesiredModel, source: FromRegistry
    ) -> tuple[Manifest, frozenset[Digest]] | None:
        """The registry's manifest: as the ledger keeps it where ours has taken its place."""
        ours = source.reference == model.name and bool(model.overrides)
        if not ours and not is_marked(source.reference, self.view):
            return manifest_of(self.view, source.reference)
        record = self.view.ledger.pulled.get(source.reference)
        if record is None or _stands(model, source):
            return None
        return record.manifest, frozenset({record.digest})

    def _pull(self, model: DesiredModel, source: FromRegistry, reason: str) -> Pending | Blocked:
        """A pull overwrites without asking (ollama:server/images.go PullModel)."""
        if source.reference in self.left_alone:
            what = f"its source {source.reference} {_FOREIGN[reason]}, and is left alone"
            hint = f"paddock explain {source.reference} says why"
            return Blocked(model.name, "SourceSuspended", f"{what}; {hint}")
        if is_foreign(source.reference, self.view):
            return not_owned(model.name, source.reference, _FOREIGN[reason])
        return Pending(reason, "", (_pull(model.name, source, reason),))

    def _base(self, model: DesiredModel, base: Name) -> Composed:
        declared = None if base in self.left_alone else self.desired.models.get(base)
        if declared is not None and declared.state is State.PRESENT:
            return self.compose(base)
        if declared is not None:
            what = f"its base {base} is declared absent; name another"
            return Blocked(model.name, "BaseAbsent", what)
        found = manifest_of(self.view, base)
        if found is None:
            return Blocked(model.name, "BaseMissing", self._missing_base(base))
        if from_manifest(found[0]).lost(self.view.has):
            what = f"its base {base} lacks blobs; pull or create it again"
            return Blocked(model.name, "BaseBroken", what)
        return from_manifest(found[0])

    def _missing_base(self, base: Name) -> str:
        if base in self.left_alone:
            return f"its base {base} is not installed and left alone; paddock explain {base}"
        return f"its base {base} is not installed and not declared; declare it, or pull it"

    def _derive(self, model: DesiredModel, base: Composed) -> Composed:
        match base:
            case Pending():
                return _base_not_ready(model)
            case Blocked():
                return base if base.name == model.name else blocked_by(base, model.name)
            case Composition():
                pass
            case _:
                assert_never(base)
        if not model.overrides:
            return Composition(base.config, base.parts)
        facts = self._facts(base)
        if not facts:
            return self._without_facts(model)
        stubs = part_stubs(facts)
        key = probe_key([digest_of(stub.content) for stub in stubs], base, model.overrides)
        answer: ProbeAnswer | None = self.view.observed.probes.get(key)
        if answer is None:
            return Pending("NotProbed", "", (probe_action(model, key, stubs, base),))
        return derive(base, answer)

    def _without_facts(self, model: DesiredModel) -> Pending | Blocked:
        """A header is read from the store: not before the base is in it."""
        if isinstance(model.source, FromModel) and model.source.base not in self.view.manifests:
            return _base_not_ready(model)
        return Blocked(model.name, "BaseUnreadable", "the header of its base's GGUF cannot be read")

    def _facts(self, base: Composition) -> list[Facts]:
        """The facts of each part of the base's GGUF; none where one cannot be read."""
        found: list[Facts] = []
        for part in base.files:
            if part.descriptor.media_type != MODEL_TYPE:
                continue
            linked = None if part.link is None else part.link.facts
            facts = linked or self.view.observed.facts.get(part.descriptor.digest)
            if facts is None:
                return []
            found.append(facts)
        return found


def _stands(model: DesiredModel, source: FromRegistry) -> bool:
    """Whether the manifest shall be the registry's own."""
    return source.reference == model.name and not model.overrides


def _base_not_ready(model: DesiredModel) -> Pending:
    base = model.source.base if isinstance(model.source, FromModel) else model.name
    return Pending("BaseNotReady", f"derive from {base}")


def blocked_by(base: Blocked, name: Name) -> Blocked:
    """A model whose base is blocked; of several, the first one tells why."""
    is_first = base.reason != "BaseBlocked"
    why = f"its base {base.name}: {base.message}" if is_first else base.message
    return Blocked(name, "BaseBlocked", why, base.gone)


def manifest_of(view: View, name: Name) -> tuple[Manifest, frozenset[Digest]] | None:
    """The manifest of a name and the digests that Ollama may report for it, where it parses."""
    found = view.manifests.get(name)
    if found is None or found.manifest is None:
        return None
    return found.manifest, found.digests


def _pull(name: Name, source: FromRegistry, reason: str) -> PullModel:
    return PullModel(
        name=name,
        reason=reason,
        message=f"pull {source.reference}",
        symbol="+",
        copied_bytes=None,
        reference=source.reference,
        digest=source.digest,
        insecure=source.insecure,
    )
