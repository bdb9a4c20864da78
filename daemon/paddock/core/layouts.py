"""Layouts: how programs lay out their folders of GGUFs, and which models lie in one.

Owns what each layout's paths mean: publisher and repository, parts of a split model, the projector
that goes with a model, revisions of one file in a cache. Pure: a scan in, candidates out. Whether
a candidate becomes a model, and its name, is for `core/discover.py`.
"""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from paddock.core import discover_files as files
from paddock.core.discover_scan import Entry, Scan

Layout: TypeAlias = Literal["directory", "lmstudio", "huggingface", "llamacpp", "transformerlab"]

NAMES: Mapping[Layout, str] = {
    "directory": "{stem}",
    "lmstudio": "{publisher}/{stem}",
    "huggingface": "{publisher}/{stem}",
    "llamacpp": "{publisher}/{stem}",
    "transformerlab": "{stem}",
}
SETTLED_S = 3
STILL_WRITTEN = "it is still being written"

_REPO = "models--"
_SNAPSHOTS = "snapshots"
_CACHES = frozenset({"huggingface", "llamacpp"})
# One folder of these holds one repository: what lies beside a model belongs to it.
_REPOSITORIES = frozenset({"lmstudio", "huggingface", "transformerlab"})
# ~/.cache/llama.cpp before 2026: publisher_repository_file.
_FLAT = re.compile(r"(?P<publisher>[^_]+)_(?P<repo>.+?-gguf)_(?P<file>.+)", re.IGNORECASE)
_PRECISIONS = ("f16", "fp16", "bf16", "f32", "fp32", "q8_0")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file stands in its layout. `key` is the path by which it is known, whatever revision
    of a cache it is of."""

    key: str
    publisher: str
    repo: str
    folder: str
    file: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A GGUF that may be a model, of a split one its first part. `waits` says why it cannot be used
    yet; `missing` that not even its first part is there."""

    entry: Entry
    place: Place
    projector: Entry | None = None
    waits: str = ""
    missing: bool = False

    @property
    def key(self) -> str:
        """The path by which the file is known."""
        return self.place.key

    @property
    def fields(self) -> Mapping[str, str]:
        """What a name may be made of."""
        stem = files.stem_of(self.place.file)
        return {
            "publisher": self.place.publisher,
            "repo": self.place.repo,
            "stem": stem,
            "dir": self.place.folder,
            "quant": files.quant_of(stem),
        }


def is_cached(path: str) -> bool:
    """Whether a file lies as in a cache of the Hugging Face Hub."""
    repo, _, rest = path.partition("/")
    return repo.startswith(_REPO) and rest.startswith(f"{_SNAPSHOTS}/")


def is_flat(path: str) -> bool:
    """Whether a file is named as in llama.cpp's cache before 2026."""
    return "/" not in path and _FLAT.fullmatch(path) is not None


def enters(layout: Layout, path: str) -> bool:
    """Whether a folder of that relative path may hold models: caches keep much else."""
    parts = path.split("/")
    if layout not in _CACHES:
        return True
    if not parts[0].startswith(_REPO):
        return False
    return len(parts) == 1 or parts[1] == _SNAPSHOTS


def key_of(layout: Layout, path: str) -> str:
    """The path by which a file or folder is known: in a cache, without its revision."""
    parts = path.split("/")
    if layout in _CACHES and parts[0].startswith(_REPO) and parts[1:2] == [_SNAPSHOTS]:
        return "/".join([parts[0], *parts[3:]])
    return path


def candidates(layout: Layout, scan: Scan, folder: str) -> tuple[Candidate, ...]:
    """The models that may lie in a folder (`folder` is its name), by key. Raises nothing."""
    groups: defaultdict[tuple[str, str], list[tuple[Entry, Place]]] = defaultdict(list)
    for entry in scan.entries:
        if files.is_gguf(entry.path) and not files.is_imatrix(entry.path):
            place = _place(layout, entry.path, folder)
            groups[posixpath.dirname(entry.path), place.repo].append((entry, place))
    found: dict[str, Candidate] = {}
    for group in groups.values():
        for candidate in _of_group(layout, group, scan):
            other = found.get(candidate.key)
            if other is None or _rank(candidate, scan) > _rank(other, scan):
                found[candidate.key] = candidate
    return tuple(found[key] for key in sorted(found))


def half_written(layout: Layout, scan: Scan) -> tuple[str, ...]:
    """The keys of files that are named as half-written, and stand for nothing that is there."""
    there = {entry.path.lower() for entry in scan.entries}
    found = (e.path for e in scan.entries if files.is_half_written(e.path))
    return tuple(
        sorted(key_of(layout, p) for p in found if posixpath.splitext(p)[0].lower() not in there)
    )


def _of_group(
    layout: Layout, group: Sequence[tuple[Entry, Place]], scan: Scan
) -> Iterator[Candidate]:
    """The models of one repository, or of one plain folder."""
    projectors = [found for found in group if files.is_projector(found[0].path)]
    models = [found for found in group if not files.is_projector(found[0].path)]
    bases = {files.without_quant(files.stem_of(place.file)).lower() for _, place in models}
    one_model = len(bases) == 1
    one_repo = bool(group[0][1].repo) and layout in _REPOSITORIES | _CACHES
    for entry, place, waits, missing in _whole(models, scan):
        stem = files.stem_of(place.file)
        projector = _projector(projectors, stem, one_repo=one_repo, one_model=one_model)
        beside = "" if projector is None else _waits(projector, scan)
        yield Candidate(entry, place, projector, waits or beside, missing)


def _whole(
    models: Iterable[tuple[Entry, Place]], scan: Scan
) -> Iterator[tuple[Entry, Place, str, bool]]:
    """Each model once, a split one by its first part, and why it has to wait."""
    sets: defaultdict[tuple[str, int], dict[int, tuple[Entry, Place]]] = defaultdict(dict)
    for entry, place in models:
        shard = files.shard_of(entry.path)
        if shard is None:
            yield entry, place, _waits(entry, scan), False
        else:
            sets[shard.stem, shard.count][shard.number] = entry, place
    for (_, count), parts in sets.items():
        yield _of_parts(parts, count, scan)


def _of_parts(
    parts: Mapping[int, tuple[Entry, Place]], count: int, scan: Scan
) -> tuple[Entry, Place, str, bool]:
    number = min(parts)
    entry, place = parts[number]
    there = len([n for n in parts if 1 <= n <= count])
    waits = next(filter(None, (_waits(part, scan) for part, _ in parts.values())), "")
    if there < count:
        waits = f"{there} of its {count} parts are there"
    if number == 1:
        return entry, place, waits, False
    shard = files.shard_of(entry.path)
    assert shard is not None
    first = files.shard_name(shard, 1, entry.path)
    key = posixpath.join(posixpath.dirname(place.key), first)
    return entry, Place(key, place.publisher, place.repo, place.folder, first), waits, True


def _waits(entry: Entry, scan: Scan) -> str:
    """A file that was written to just now is still being written; one from the future is not."""
    if not entry.size_bytes:
        return "it is empty"
    return STILL_WRITTEN if 0 <= scan.at_ns - entry.mtime_ns < SETTLED_S * 10**9 else ""


def _projector(
    projectors: Iterable[tuple[Entry, Place]], stem: str, *, one_repo: bool, one_model: bool
) -> Entry | None:
    """The projector that goes with a model: one that names it, or one that can be of no other."""
    fits = {e: files.belongs_to(place.file, stem) for e, place in projectors}
    best = max(fits.values(), default=0)
    if best:
        chosen = [entry for entry, fit in fits.items() if fit == best]
    elif one_repo:
        chosen = list(fits)
    elif one_model:
        chosen = [entry for entry, place in projectors if not files.projected(place.file)]
    else:
        chosen = []
    return min(chosen, key=lambda entry: (_precision(entry), entry.path), default=None)


def _precision(entry: Entry) -> int:
    """Which of several precisions is taken: one that every engine has, before larger ones."""
    quant = files.quant_of(files.stem_of(entry.path)).lower()
    return _PRECISIONS.index(quant) if quant in _PRECISIONS else len(_PRECISIONS)


def _rank(candidate: Candidate, scan: Scan) -> tuple[bool, bool, int, str]:
    """Of one file in several revisions: what is whole, what the reference names, the newest."""
    repo, _, rest = candidate.entry.path.partition(f"/{_SNAPSHOTS}/")
    current = rest.partition("/")[0] == scan.refs.get(repo)
    entry = candidate.entry
    return not candidate.waits, current, entry.linked_ns or entry.mtime_ns, entry.path


def _place(layout: Layout, path: str, folder: str) -> Place:
    *above, file = path.split("/")
    if layout in _CACHES and above and above[0].startswith(_REPO):
        name = above[0].removeprefix(_REPO)
        publisher, both, repo = name.partition("--")
        publisher, repo = (publisher, repo) if both else ("", name)
        inner = above[3:]
        return Place(key_of(layout, path), publisher, repo, (inner or [repo])[-1], file)
    if layout == "llamacpp" and (found := _FLAT.fullmatch(file)):
        return Place(path, found["publisher"], found["repo"], folder, found["file"])
    nearest = (above or [folder])[-1]
    match layout:
        case "lmstudio" if len(above) > 1:
            return Place(path, above[0], above[1], nearest, file)
        case "transformerlab" if above:
            return Place(path, "", above[0], nearest, file)
        case _:
            publisher = above[-2] if len(above) > 1 else ""
            return Place(path, publisher, above[-1] if above else "", nearest, file)
