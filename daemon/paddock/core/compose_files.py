"""From files to the composition of a model: hashed, asked about, linked.

Pure. What is not known yet is asked for, a file's digest before what Ollama makes of its header.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from paddock.core.composition import Composition, from_files, probe_key
from paddock.core.desired import DesiredModel, FromFile, FromHub
from paddock.core.digest import Digest, digest_of
from paddock.core.files import PARTS, Refused, UsableFile, usable_files
from paddock.core.hub import HubFile
from paddock.core.locate import to_download
from paddock.core.manifest import FILE_TYPES
from paddock.core.names import Name
from paddock.core.observed import Unknown
from paddock.core.ownership import DIFFERS, is_foreign, is_marked, not_owned
from paddock.core.plan import Blocked, DownloadFile, HashSource, ProbeModel, PullModel, Stub
from paddock.core.stubs import stubs_of
from paddock.core.view import View
from paddock.errors import shown

_NOT_HERE = "cannot be compared with what the file says before that is downloaded"


@dataclass(frozen=True, slots=True)
class Pending:
    """Not known yet. `actions` find out; without one, another model's action does."""

    reason: str
    message: str = ""
    actions: tuple[PullModel | DownloadFile | HashSource | ProbeModel, ...] = ()


Composed: TypeAlias = Composition | Pending | Blocked


def compose_files(model: DesiredModel, source: FromFile, view: View) -> Composed:
    """The composition of linked files."""
    files = usable_files(source, view.observed.sources)
    if isinstance(files, Refused):
        return Blocked(model.name, files.reason, files.message, files.gone)
    unhashed = [file for file in files if file.digest is None]
    if unhashed:
        return _hash_all(model.name, unhashed, view)
    stubs = stubs_of(files)
    key = probe_key([digest_of(s.content) for s in stubs], None, model.overrides)
    answer = view.observed.probes.get(key)
    if answer is None:
        return Pending("NotProbed", "", (probe_action(model, key, stubs, None),))
    parts = sum(file.role in PARTS for file in files)
    if answer.models != parts:
        what = f"this Ollama makes one file of the {parts} parts of a split GGUF"
        hint = "use Ollama 0.34 or newer, or merge them with llama-gguf-split --merge"
        return Blocked(model.name, "SplitUnsupported", f"{what}; {hint}")
    return from_files(files, answer)


def _hash_all(name: Name, files: Sequence[UsableFile], view: View) -> Pending | Blocked:
    if any(_differs_in_size(name, file, view) for file in files):
        return not_owned(name, name, DIFFERS)
    is_new = not is_marked(name, view)
    actions = tuple(_hash(name, file, is_new=is_new) for file in files)
    return Pending(actions[0].reason, "", actions)


def _differs_in_size(name: Name, file: UsableFile, view: View) -> bool:
    """Whether a model of others cannot be equal: known without reading a file."""
    manifest = view.manifest(name)
    if manifest is None or not is_foreign(name, view):
        return False
    sizes = {d.size_bytes for d in manifest.layers if d.media_type in FILE_TYPES}
    return file.source.stat.size_bytes not in sizes


def compose_hub(model: DesiredModel, source: FromHub, view: View) -> Pending | Blocked:
    """Of what was found, the source is files already."""
    missing = to_download(source, view.observed.hub)
    if isinstance(missing, Unknown):
        return Blocked(model.name, missing.reason, missing.message)
    if is_foreign(model.name, view):
        return not_owned(model.name, model.name, _NOT_HERE)
    if _is_bereft(model.name, view):
        what = f"{missing[0]} has gone from the local cache"
        return Blocked(model.name, "SourceMissing", f"{what}; it is downloaded anew", gone=True)
    return Pending("NotDownloaded", "", (_download(model.name, missing),))


def _is_bereft(name: Name, view: View) -> bool:
    """Whether a model is there whose files are not: it is withdrawn before they are fetched."""
    manifest = view.manifest(name)
    return manifest is not None and any(not view.has(d) for d in manifest.digests)


def _hash(name: Name, file: UsableFile, *, is_new: bool) -> HashSource:
    path = shown(file.path)
    return HashSource(
        name=name,
        reason="SourceNew" if is_new else "SourceChanged",
        message=f"hash and link {path}" if is_new else f"hash {path}",
        symbol="+",
        linked_bytes=file.source.stat.size_bytes,
        path=file.path,
        stat=file.source.stat,
    )


def probe_action(
    model: DesiredModel, key: Digest, stubs: tuple[Stub, ...], base: Composition | None
) -> ProbeModel:
    """The question what Ollama makes of these stubs, or of one over a base."""
    return ProbeModel(
        name=model.name,
        reason="NotProbed",
        message="ask Ollama for the template and parameters of this header",
        symbol="+",
        key=key,
        stubs=stubs,
        base=base,
        overrides=model.overrides,
    )


def _download(name: Name, files: tuple[HubFile, ...]) -> DownloadFile:
    what = " and ".join(file.pattern for file in files)
    return DownloadFile(
        name=name,
        reason="NotDownloaded",
        message=f"download {what} of {files[0].repo}",
        symbol="+",
        copied_bytes=None,
        files=files,
    )
