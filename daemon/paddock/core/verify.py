"""Verify: what the bytes of a store's files say of their names.

Pure. Judges what was read, and says what may be done about it: only what is ours is ever mended,
and a file of the user's never is.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, assert_never

from paddock.core.digest import Digest, short
from paddock.core.manifest import FILE_TYPES, Manifest
from paddock.core.names import Name, is_scratch
from paddock.core.observed import Blob, FileStat, Ledger, LinkBlob, ManifestFile, RegularBlob

# No text layer of ours is larger.
_TEXT_BYTES = 16 << 20
FORMAT_VERSION = 1


class Verdict(enum.Enum):
    """How a file stands."""

    OK = "ok"
    CORRUPT = "corrupt"
    CHANGED = "changed"
    MISSING = "missing"
    UNREADABLE = "unreadable"


class Repair(enum.Enum):
    """What mends it: the next cycle, once the blob is gone or the digest of the file is known."""

    PULL = "pull it again"
    WRITE = "write it again"
    FOLLOW = "take the file as it is now"


@dataclass(frozen=True, slots=True)
class Subject:
    """A file to be hashed: a blob by its digest, with the models that need it. `target` is where
    its link leads, if it is one; `path` the blob's own."""

    digest: Digest
    path: str
    target: str | None
    size_bytes: int
    models: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class Hashed:
    """What a file holds, and the state it was in; `known` is the digest that was remembered of this
    very state."""

    digest: Digest
    stat: FileStat
    known: Digest | None = None


@dataclass(frozen=True, slots=True)
class Unread:
    """Why a file could not be hashed; `gone` says that it is not there."""

    message: str
    gone: bool


Reading: TypeAlias = Hashed | Unread


@dataclass(frozen=True, slots=True)
class Finding:
    """How one file stands. `repair` None: nothing that we may do."""

    kind: str
    digest: Digest | None
    actual: Digest | None
    path: str
    size_bytes: int
    models: tuple[Name, ...]
    verdict: Verdict
    message: str = ""
    repair: Repair | None = None
    stat: FileStat | None = None

    def to_json(self) -> dict[str, Any]:
        """The JSON of it."""
        return {
            "kind": self.kind,
            "digest": self.digest,
            "actual": self.actual,
            "path": self.path,
            "size_bytes": self.size_bytes,
            "models": [name.display for name in self.models],
            "verdict": self.verdict.value,
            "message": self.message,
            "repair": None if self.repair is None else self.repair.value,
        }


def subjects(
    manifests: Mapping[Name, ManifestFile],
    blobs: Mapping[Digest, Blob],
    paths: Mapping[Digest, str],
    names: frozenset[Name] | None,
) -> list[Subject]:
    """The blobs to be hashed: those that the named models need, or all; large ones first. A blob
    that a model needs and nobody has is one too."""
    needed: dict[Digest, list[Name]] = {}
    sizes: dict[Digest, int] = {}
    for name, found in sorted(manifests.items()):
        if found.manifest is None or is_scratch(name):
            continue
        for digest, size_bytes in _needs(found.manifest).items():
            needed.setdefault(digest, []).append(name)
            sizes.setdefault(digest, size_bytes)
    chosen = {
        digest
        for digest in blobs.keys() | needed.keys()
        if names is None or names & set(needed.get(digest, ()))
    }
    made = [
        _subject(digest, blobs.get(digest), paths[digest], sizes, tuple(needed.get(digest, ())))
        for digest in chosen
    ]
    return sorted(made, key=lambda subject: (-subject.size_bytes, subject.digest))


def broken_manifests(
    manifests: Mapping[Name, ManifestFile], paths: Mapping[Name, str], names: frozenset[Name] | None
) -> list[Finding]:
    """The manifests that do not parse, as findings."""
    return [
        Finding(
            "manifest",
            None,
            found.digest,
            paths[name],
            0,
            (name,),
            Verdict.CORRUPT,
            "the manifest does not parse; pull or create the model again",
        )
        for name, found in sorted(manifests.items())
        if found.manifest is None and (names is None or name in names)
    ]


def judge(
    subject: Subject, reading: Reading, ledger: Ledger, manifests: Mapping[Name, ManifestFile]
) -> Finding:
    """How a file stands, and whether we may mend it."""
    actual = reading.digest if isinstance(reading, Hashed) else None
    verdict, message = _verdict(subject, reading)
    repair = _repair(subject, verdict, reading, ledger, manifests)
    return Finding(
        "blob" if subject.target is None else "link",
        subject.digest,
        actual,
        subject.target or subject.path,
        reading.stat.size_bytes if isinstance(reading, Hashed) else subject.size_bytes,
        subject.models,
        verdict,
        message,
        repair,
        reading.stat if isinstance(reading, Hashed) else None,
    )


def report(findings: Sequence[Finding]) -> dict[str, Any]:
    """The JSON of all findings, with a count of each verdict."""
    counts = Counter(finding.verdict for finding in findings)
    return {
        "format_version": FORMAT_VERSION,
        "files": [finding.to_json() for finding in findings],
        "summary": {verdict.value: counts[verdict] for verdict in Verdict},
    }


def _needs(manifest: Manifest) -> dict[Digest, int]:
    config = () if manifest.config is None else (manifest.config,)
    return {found.digest: found.size_bytes for found in (*config, *manifest.layers)}


def _subject(
    digest: Digest,
    blob: Blob | None,
    path: str,
    sizes: Mapping[Digest, int],
    models: tuple[Name, ...],
) -> Subject:
    match blob:
        case LinkBlob(target):
            return Subject(digest, path, target, sizes.get(digest, 0), models)
        case RegularBlob(size_bytes):
            return Subject(digest, path, None, size_bytes, models)
        case None:
            return Subject(digest, path, None, sizes.get(digest, 0), models)
        case _:
            assert_never(blob)


def _verdict(subject: Subject, reading: Reading) -> tuple[Verdict, str]:
    match reading:
        case Unread(message, gone):
            return Verdict.MISSING if gone else Verdict.UNREADABLE, message
        case Hashed(digest) if digest == subject.digest:
            return Verdict.OK, ""
        case Hashed(digest, _, known):
            what = f"its name says {short(subject.digest)}, its content is {short(digest)}"
            if subject.target is None:
                return Verdict.CORRUPT, what
            if known == subject.digest:
                return Verdict.CORRUPT, f"{what}, and its times are those of before"
            return (
                Verdict.CHANGED,
                f"the file is {short(digest)} now, and was {short(subject.digest)}",
            )
        case _:
            assert_never(reading)


def _repair(
    subject: Subject,
    verdict: Verdict,
    reading: Reading,
    ledger: Ledger,
    manifests: Mapping[Name, ManifestFile],
) -> Repair | None:
    """What may be done: only where every model that needs the blob is ours, and none is paused."""
    is_ours = bool(subject.models) and set(subject.models) <= ledger.owned.keys() - ledger.paused
    if verdict is Verdict.OK or verdict is Verdict.UNREADABLE or not is_ours:
        return None
    if subject.target is not None:
        return Repair.FOLLOW if isinstance(reading, Hashed) else None
    if any(subject.digest in pulled.manifest.digests for pulled in ledger.pulled.values()):
        return Repair.PULL
    is_text = subject.size_bytes <= _TEXT_BYTES and not _is_file(subject, manifests)
    return Repair.WRITE if is_text and subject.digest in ledger.blobs else None


def _is_file(subject: Subject, manifests: Mapping[Name, ManifestFile]) -> bool:
    """Whether a model has it as a file of its own, and not as a text."""
    layers = (
        layer
        for name in subject.models
        if (found := manifests.get(name)) is not None and found.manifest is not None
        for layer in found.manifest.layers
    )
    return any(la.digest == subject.digest and la.media_type in FILE_TYPES for la in layers)
