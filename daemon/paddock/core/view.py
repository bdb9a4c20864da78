"""View: the parts of Observed that a plan cannot do without, known to be there.

Pure. An Unknown among them means that nothing is planned at all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from paddock.core.digest import Digest
from paddock.core.manifest import Manifest
from paddock.core.names import Name, is_scratch
from paddock.core.observed import (
    Blob,
    Ledger,
    LinkBlob,
    ManifestFile,
    Observed,
    Running,
    SourceFile,
    Unknown,
)


@dataclass(frozen=True, slots=True)
class View:
    """Observed, with its store and ledger at hand; `files` gives the digest of each declared source
    that was hashed, by its real path."""

    observed: Observed
    manifests: Mapping[Name, ManifestFile]
    blobs: Mapping[Digest, Blob]
    ledger: Ledger
    files: Mapping[str, Digest]

    def manifest(self, name: Name) -> Manifest | None:
        """The manifest of a name, where there is one that parses."""
        found = self.manifests.get(name)
        return None if found is None else found.manifest

    def has(self, digest: Digest) -> bool:
        """Whether a blob is there and can be read."""
        blob = self.blobs.get(digest)
        return blob is not None and not (isinstance(blob, LinkBlob) and not blob.ok)

    def runner_digest(self, running: Running) -> Digest | None:
        """The GGUF in memory behind a line of ps: ps gives only the digest of the manifest that it
        was loaded by (ollama:server/routes.go PsHandler), which may have been replaced since."""
        for found in self.manifests.values():
            if running.manifest_digest in found.digests and found.manifest is not None:
                return found.manifest.model_digest
        remembered = self.observed.memory.runners.get(running.manifest_digest)
        return self.ledger.runners.get(running.manifest_digest, remembered)


def view_of(observed: Observed) -> View | Unknown:
    """The view, or the first part that is Unknown."""
    manifests, blobs, ledger = observed.manifests, observed.blobs, observed.ledger
    if isinstance(manifests, Unknown):
        return manifests
    if isinstance(blobs, Unknown):
        return blobs
    if isinstance(ledger, Unknown):
        return ledger
    return View(observed, manifests, blobs, ledger, _files(observed))


def _files(observed: Observed) -> Mapping[str, Digest]:
    facts = [fact for fact in observed.sources.values() if isinstance(fact, SourceFile)]
    return {fact.real_path: fact.digest for fact in facts if fact.digest is not None}


def store_matches(view: View) -> bool | None:
    """Whether the models folder is the server's own: each manifest that it could list is in its
    tags with its digest. None where there is nothing to tell by: an empty store, or no tags."""
    tags = view.observed.tags
    if isinstance(tags, Unknown):
        return None
    listed: defaultdict[Name, set[Digest]] = defaultdict(set)
    for name, tag in tags.items():
        listed[name.folded].add(tag.digest)
    mine = [(n.folded, m) for n, m in view.manifests.items() if _is_listable(view, n, m)]
    if not mine:
        return False if listed else None
    # Of names that differ by case only, both are listed.
    return all(listed.get(name, set()) & found.digests for name, found in mine)


def _is_listable(view: View, name: Name, found: ManifestFile) -> bool:
    """Ollama lists what has a config it can read (ollama:server/model_list.go describeModel)."""
    if found.manifest is None or is_scratch(name):
        return False
    config = found.manifest.config
    return config is not None and view.has(config.digest)
