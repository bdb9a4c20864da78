"""From a desired model to its composition, or to what must be found out first.

Pure. Facts that cost (a digest, a probe's answer, a pull) are not known to a plan: they are asked
for by actions, and the next observation has them (`Pending`). What nobody can decide without a
person is `Blocked`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias, assert_never

from paddock.core.composition import Composition, derive, from_file, from_manifest, probe_key
from paddock.core.desired import Desired, DesiredModel, FromFile, FromModel, FromRegistry, State
from paddock.core.digest import Digest
from paddock.core.gguf import Facts
from paddock.core.manifest import Manifest
from paddock.core.names import Name
from paddock.core.observed import ProbeAnswer, SourceFact, SourceFile, SourceMissing, Unknown
from paddock.core.ownership import DIFFERS, is_foreign, is_marked, not_owned
from paddock.core.plan import Blocked, HashSource, ProbeModel, PullModel
from paddock.core.view import View


@dataclass(frozen=True, slots=True)
class Pending:
    """Not known yet. `action` finds out; without one, another model's action does."""

    reason: str
    message: str = ""
    action: PullModel | HashSource | ProbeModel | None = None
    size_bytes: int = 0


# What a model that is not ours would have to be changed for.
_FOREIGN = {
    "NotPulled": "shall be pulled anew",
    "DigestChanged": "has another digest than the file pins",
    "BlobsMissing": "lacks some of its blobs",
}

Composed: TypeAlias = Composition | Pending | Blocked


@dataclass(slots=True)
class Composer:
    """Composes each model once: a derived model asks for its base's composition."""

    desired: Desired
    view: View
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
            case FromFile(path):
                return self._from_file(model, path)
            case FromRegistry():
                return self._from_registry(model, model.source)
            case FromModel(base):
                composed = self._base(model, base)
                return self._derive(model, composed)
            case None:
                return Blocked(model.name, "NoSource", f"{model.name} has no source")
            case _:
                assert_never(model.source)

    def _from_file(self, model: DesiredModel, path: str) -> Composed:
        usable = usable_source(model.name, path, self.view.observed.sources.get(path))
        if isinstance(usable, Blocked):
            return usable
        source, facts = usable
        size = source.stat.size_bytes
        if source.digest is None:
            if self._differs_in_size(model.name, size):
                return not_owned(model.name, model.name, DIFFERS)
            hashing = _hash(model.name, path, source, is_new=not is_marked(model.name, self.view))
            return Pending(hashing.reason, "", hashing, size)
        key = probe_key(facts.stub_digest, None, model.overrides)
        answer = self.view.observed.probes.get(key)
        if answer is None:
            return Pending("NotProbed", "", _probe(model, key, facts.stub, None), size)
        return from_file(source, facts, source.digest, answer)

    def _differs_in_size(self, name: Name, size: int) -> bool:
        """Whether a model of others cannot be equal: known without reading a file."""
        manifest = self.view.manifest(name)
        if manifest is None or not is_foreign(name, self.view):
            return False
        sizes = {d.size_bytes for d in manifest.layers if d.digest == manifest.model_digest}
        return size not in sizes

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
        if is_foreign(source.reference, self.view):
            return not_owned(model.name, source.reference, _FOREIGN[reason])
        return Pending(reason, "", _pull(model.name, source, reason))

    def _base(self, model: DesiredModel, base: Name) -> Composed:
        declared = self.desired.models.get(base)
        if declared is not None and declared.state is State.PRESENT:
            return self.compose(base)
        if declared is not None:
            what = f"its base {base} is declared absent; name another"
            return Blocked(model.name, "BaseAbsent", what)
        found = manifest_of(self.view, base)
        if found is None:
            what = f"its base {base} is not installed and not declared"
            return Blocked(model.name, "BaseMissing", f"{what}; declare it, or pull it")
        if from_manifest(found[0]).lost(self.view.has):
            what = f"its base {base} lacks blobs; pull or create it again"
            return Blocked(model.name, "BaseBroken", what)
        return from_manifest(found[0])

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
        if facts is None:
            return self._without_facts(model)
        key = probe_key(facts.stub_digest, base, model.overrides)
        answer: ProbeAnswer | None = self.view.observed.probes.get(key)
        if answer is None:
            return Pending("NotProbed", "", _probe(model, key, facts.stub, base))
        return derive(base, answer)

    def _without_facts(self, model: DesiredModel) -> Pending | Blocked:
        """A header is read from the store: not before the base is in it."""
        if isinstance(model.source, FromModel) and model.source.base not in self.view.manifests:
            return _base_not_ready(model)
        return Blocked(model.name, "BaseUnreadable", "the header of its base's GGUF cannot be read")

    def _facts(self, base: Composition) -> Facts | None:
        linked = [p.link for p in base.files if p.link is not None]
        if linked:
            return linked[-1].facts
        digest = base.model_digest
        return None if digest is None else self.view.observed.facts.get(digest)


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
    return Blocked(name, "BaseBlocked", why)


def manifest_of(view: View, name: Name) -> tuple[Manifest, frozenset[Digest]] | None:
    """The manifest of a name and the digests that Ollama may report for it, where it parses."""
    found = view.manifests.get(name)
    if found is None or found.manifest is None:
        return None
    return found.manifest, found.digests


def usable_source(
    name: Name, path: str, fact: SourceFact | None
) -> tuple[SourceFile, Facts] | Blocked:
    """A source file with its header's facts, or the reason why it cannot be a model."""
    match fact:
        case SourceFile(problem=None, facts=Facts() as facts):
            refused = _refusal(path, facts)
            return Blocked(name, *refused) if refused else (fact, facts)
        case SourceFile(problem=problem):
            what = problem or Unknown("SourceUnreadable", f"cannot read the header of {path}")
            return Blocked(name, what.reason, what.message)
        case SourceMissing():
            hint = "create it or set state: absent"
            return Blocked(name, "SourceMissing", f'source "{path}" does not exist; {hint}')
        case Unknown():
            return Blocked(name, fact.reason, fact.message)
        case None:
            return Blocked(name, "SourceUnknown", f'source "{path}" was not looked at')
        case _:
            assert_never(fact)


def _refusal(path: str, facts: Facts) -> tuple[str, str] | None:
    if facts.split_count is not None and facts.split_count > 1:
        what = f'"{path}" is part of a split GGUF of {facts.split_count} files'
        return "SplitUnsupported", f"{what}; merge them with llama-gguf-split --merge"
    if facts.byte_order == "big":
        return "BigEndian", f'"{path}" is a big-endian GGUF, which Ollama cannot read'
    if facts.kind != "model":
        what = f'"{path}" is a GGUF of the kind "{facts.kind}", not a model'
        return "NotAModel", f"{what}; name the model's own file"
    return None


def _hash(name: Name, path: str, source: SourceFile, *, is_new: bool) -> HashSource:
    return HashSource(
        name=name,
        reason="SourceNew" if is_new else "SourceChanged",
        message=f"hash and link {path}" if is_new else f"hash {path}",
        symbol="+",
        path=path,
        stat=source.stat,
    )


def _probe(model: DesiredModel, key: Digest, stub: bytes, base: Composition | None) -> ProbeModel:
    return ProbeModel(
        name=model.name,
        reason="NotProbed",
        message="ask Ollama for the template and parameters of this header",
        symbol="+",
        key=key,
        stub=stub,
        base=base,
        overrides=model.overrides,
    )


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
