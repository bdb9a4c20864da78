"""From a model's composition to the actions that put it into the store.

Pure. Blobs first, then the manifest. A mended link raises the manifest's generation. A model that
is there and not ours is compared, and never changed.
"""

from __future__ import annotations

from collections.abc import Iterator

from paddock.core.composition import Composition, Part
from paddock.core.digest import Digest, digest_of, short
from paddock.core.manifest import GENERATION_MARK, NAME_MARK, STORE_MARK, Manifest
from paddock.core.names import Name
from paddock.core.observed import LinkBlob as Link
from paddock.core.observed import ManifestFile, Owned, RegularBlob
from paddock.core.ownership import DIFFERS, is_foreign, is_marked, not_owned
from paddock.core.plan import Action, Blocked, LinkBlob, WriteBlob, WriteManifest
from paddock.core.view import View
from paddock.errors import shown


def publish(name: Name, composition: Composition, view: View) -> list[Action] | Blocked:
    """The actions that make the store hold this model; none when it does."""
    found = view.manifests.get(name)
    if composition.stands:
        return []
    if found is not None and is_foreign(name, view):
        return _compare(name, composition, found, view)
    symbol = "+" if found is None else "~"
    if lost := composition.lost(view.has):
        what = f"{name} needs {short(lost[0].descriptor.digest)}, which the store lacks"
        return Blocked(name, "BlobsMissing", f"{what}; pull or create its base again")
    links = [p for p in composition.parts if p.link and _needs_link(p.descriptor.digest, view)]
    generation = view.ledger.owned.get(name, Owned()).generation
    if links and name in view.ledger.owned:
        generation += 1
    content = composition.manifest(_marks(name, view, generation)).encode()
    actions: list[Action] = [*_write_blobs(name, composition, content, view)]
    actions += (_link_blob(name, p, view, symbol, generation) for p in links)
    if found is None or digest_of(content) != found.digest:
        reason = _manifest_reason(name, composition.manifest({}), generation, view)
        actions.append(_write_manifest(name, composition, content, found, reason, generation))
    return actions


def _compare(
    name: Name, composition: Composition, found: ManifestFile, view: View
) -> list[Action] | Blocked:
    if found.manifest is None or not composition.manifest({}).same_model(found.manifest):
        return not_owned(name, name, DIFFERS)
    if not all(map(view.has, found.manifest.digests)):
        return not_owned(name, name, "lacks some of its blobs")
    return []


def _marks(name: Name, view: View, generation: int) -> dict[str, str]:
    store_id = view.ledger.store_id or "(known after apply)"
    return {NAME_MARK: name.full, STORE_MARK: store_id, GENERATION_MARK: str(generation)}


def _needs_link(digest: Digest, view: View) -> bool:
    """A real file with that digest is as good, and so is a link to any declared file that has it; a
    link to elsewhere stays where a model of others needs it."""
    match view.blobs.get(digest):
        case None:
            return True
        case RegularBlob():
            return False
        case Link(target, ok):
            if not ok or target in view.files:
                return not ok or view.files[target] != digest
            return not _is_named_by_others(digest, view)


def _is_named_by_others(digest: Digest, view: View) -> bool:
    return any(
        found.manifest is not None and digest in found.manifest.digests
        for name, found in view.manifests.items()
        if name not in view.ledger.owned
    )


def _is_there(part: Part, view: View) -> bool:
    blob = view.blobs.get(part.descriptor.digest)
    if isinstance(blob, RegularBlob):
        return blob.size_bytes == part.descriptor.size_bytes
    return view.has(part.descriptor.digest)


def _link_reason(part: Part, view: View, *, is_new: bool) -> str:
    blob = view.blobs.get(part.descriptor.digest)
    if blob is None:
        return "SourceNew" if is_new else "LinkMissing"
    return "LinkForeign" if isinstance(blob, Link) and blob.ok else "LinkBroken"


def _write_blobs(
    name: Name, composition: Composition, content: bytes, view: View
) -> Iterator[WriteBlob]:
    """The small blobs that are not there. A manifest that is as it shall be, and yet not one that
    Ollama could list, has a config that is not what its name says."""
    found = view.manifests.get(name)
    symbol = "+" if found is None else "~"
    is_as_wanted = found is not None and found.digest == digest_of(content)
    is_broken = is_as_wanted and view.manifest(name) is None
    for part in composition.all_parts:
        if part.content is None or (_is_there(part, view) and not is_broken):
            continue
        kind = part.descriptor.media_type.rpartition(".")[2].removesuffix("v1+json") or "config"
        yield WriteBlob(
            name=name,
            reason="BlobMissing",
            message=f"write {kind} {short(part.descriptor.digest)}",
            symbol=symbol,
            digest=part.descriptor.digest,
            content=part.content,
        )


def _link_blob(name: Name, part: Part, view: View, symbol: str, generation: int) -> LinkBlob:
    assert part.link is not None
    return LinkBlob(
        name=name,
        reason=_link_reason(part, view, is_new=symbol == "+"),
        message=f"link {short(part.descriptor.digest)} to {shown(part.link.real_path)}",
        symbol=symbol,
        linked_bytes=part.descriptor.size_bytes,
        digest=part.descriptor.digest,
        target=part.link.real_path,
        stat=part.link.stat,
        generation=generation,
    )


def _write_manifest(
    name: Name,
    composition: Composition,
    content: bytes,
    found: ManifestFile | None,
    reason: str,
    generation: int,
) -> WriteManifest:
    return WriteManifest(
        name=name,
        reason=reason,
        message="write its manifest",
        symbol="+" if found is None else "~",
        content=content,
        digest=digest_of(content),
        model_digest=composition.model_digest,
        needs=composition.manifest({}).digests,
        files=frozenset(part.descriptor.digest for part in composition.files),
        replaces=None if found is None else found.digest,
        generation=generation,
    )


def _manifest_reason(name: Name, wanted: Manifest, generation: int, view: View) -> str:
    if name not in view.manifests:
        # A name of ours without one: removed by somebody, or an apply was cut off before it.
        return "ManifestMissing" if name in view.ledger.owned else "New"
    found = view.manifest(name)
    if found is None:
        return "ManifestCorrupt"
    if not is_marked(name, view):
        return "ManifestForeign"
    if found.files != wanted.files:
        return "SourceChanged"
    if wanted.same_model(found) and found.generation != generation:
        return "LinkMended"
    return "Edited"
