"""From a model's composition to the actions that put it into the store.

Pure. Blobs first, then the manifest; a runner of another GGUF under the same name goes before the
manifest changes, because afterwards no name reaches it (ollama:server/sched.go keys runners by blob
path). A mended link raises the manifest's generation.
"""

from __future__ import annotations

from collections.abc import Iterator

from paddock.core.composition import Composition, Part
from paddock.core.digest import digest_of, short
from paddock.core.manifest import GENERATION_MARK, NAME_MARK, STORE_MARK, Manifest
from paddock.core.names import Name
from paddock.core.observed import LinkBlob as Link
from paddock.core.observed import ManifestFile, Owned, RegularBlob, SourceFile, Unknown
from paddock.core.plan import Action, Blocked, LinkBlob, UnloadModel, WriteBlob, WriteManifest
from paddock.core.view import View


def publish(name: Name, composition: Composition, view: View) -> list[Action] | Blocked:
    """The actions that make the store hold this model; none when it does."""
    found = view.manifests.get(name)
    if composition.stands:
        return []
    if found is not None and name not in view.ledger.owned:
        return _compare(name, composition, found, view)
    symbol = "+" if found is None else "~"
    lost = [p for p in composition.all_parts if _is_lost(p, view)]
    if lost:
        what = f"{name} needs {short(lost[0].descriptor.digest)}, which the store lacks"
        return Blocked(name, "BlobsMissing", f"{what}; pull or create its base again")
    links = [p for p in composition.parts if p.link and _needs_link(p, p.link, view)]
    generation = view.ledger.owned.get(name, Owned()).generation
    if links and found is not None:
        generation += 1
    actions: list[Action] = [*_write_blobs(name, composition, view, symbol)]
    actions += (_link_blob(name, p, view, symbol, generation) for p in links)
    content = composition.manifest(_marks(name, view, generation)).encode()
    if found is None or digest_of(content) != found.digest:
        actions += _unload_old(name, composition, found, view, symbol)
        actions.append(_write_manifest(name, composition, content, found, symbol, generation))
    return actions


def not_owned(present: Name, why: str, name: Name) -> Blocked:
    """A model that is there, was not made by Paddock, and is not as declared."""
    what = f"{present} exists and was not made by paddock, and {why}"
    return Blocked(name, "NotOwned", f"{what}; claim it with: paddock adopt {present}")


def _compare(
    name: Name, composition: Composition, found: ManifestFile, view: View
) -> list[Action] | Blocked:
    if found.manifest is None or not composition.manifest({}).same_model(found.manifest):
        return not_owned(name, "it differs from what the file declares", name)
    if not all(map(view.has, found.manifest.digests)):
        return not_owned(name, "some of its blobs are missing", name)
    return []


def _marks(name: Name, view: View, generation: int) -> dict[str, str]:
    store_id = view.ledger.store_id or "(known after apply)"
    return {NAME_MARK: name.full, STORE_MARK: store_id, GENERATION_MARK: str(generation)}


def _is_lost(part: Part, view: View) -> bool:
    ours_to_give = part.content is not None or part.link is not None
    return not ours_to_give and not view.has(part.descriptor.digest)


def _needs_link(part: Part, source: SourceFile, view: View) -> bool:
    """A real file with that digest is as good; a link to elsewhere stays where a model of others
    needs it and it can be read."""
    match view.blobs.get(part.descriptor.digest):
        case None:
            return True
        case RegularBlob():
            return False
        case Link(target, ok):
            if not ok or target == source.real_path:
                return not ok
            return not _is_named_by_others(part, view)


def _is_named_by_others(part: Part, view: View) -> bool:
    return any(
        found.manifest is not None and part.descriptor.digest in found.manifest.digests
        for name, found in view.manifests.items()
        if name not in view.ledger.owned
    )


def _link_reason(part: Part, view: View, *, is_new: bool) -> str:
    blob = view.blobs.get(part.descriptor.digest)
    if blob is None:
        return "SourceNew" if is_new else "LinkMissing"
    return "LinkForeign" if isinstance(blob, Link) and blob.ok else "LinkBroken"


def _write_blobs(
    name: Name, composition: Composition, view: View, symbol: str
) -> Iterator[WriteBlob]:
    for part in composition.all_parts:
        if part.content is None or view.has(part.descriptor.digest):
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
        message=f"link {short(part.descriptor.digest)} to {part.link.real_path}",
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
    symbol: str,
    generation: int,
) -> WriteManifest:
    wanted = composition.manifest({})
    return WriteManifest(
        name=name,
        reason=_manifest_reason(wanted, found, generation),
        message="write its manifest",
        symbol=symbol,
        content=content,
        digest=digest_of(content),
        model_digest=wanted.model_digest,
        needs=wanted.digests,
        replaces=None if found is None else found.digest,
        generation=generation,
    )


def _manifest_reason(wanted: Manifest, found: ManifestFile | None, generation: int) -> str:
    if found is None:
        return "ManifestMissing"
    if found.manifest is None:
        return "ManifestCorrupt"
    if found.manifest.model_digest != wanted.model_digest:
        return "SourceChanged"
    if not wanted.same_model(found.manifest):
        return "Edited" if STORE_MARK in found.manifest.annotations else "ManifestForeign"
    if found.manifest.generation != generation:
        return "LinkMended"
    return "ManifestForeign" if STORE_MARK not in found.manifest.annotations else "Edited"


def _unload_old(
    name: Name, composition: Composition, found: ManifestFile | None, view: View, symbol: str
) -> Iterator[UnloadModel]:
    old = None if found is None or found.manifest is None else found.manifest.model_digest
    running = view.observed.running
    if old is None or old == composition.model_digest or isinstance(running, Unknown):
        return
    for runner in running:
        if view.runner_digest(runner) == old:
            yield UnloadModel(
                name=name,
                reason="SourceChanged",
                message=f"unload {name}, whose file has changed",
                symbol=symbol,
                running=name,
                manifest_digest=runner.manifest_digest,
            )
