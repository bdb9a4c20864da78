"""How files stand, judged from what was read; and what of it is ours to mend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from paddock.core.digest import Digest, digest_of
from paddock.core.manifest import MODEL_TYPE, SYSTEM_TYPE, Descriptor, Manifest
from paddock.core.names import Name, scratch_name
from paddock.core.observed import (
    Blob,
    FileStat,
    Ledger,
    LinkBlob,
    ManifestFile,
    Owned,
    Pulled,
    RegularBlob,
)
from paddock.core.verify import (
    Hashed,
    Repair,
    Subject,
    Unread,
    Verdict,
    broken_manifests,
    judge,
    report,
    subjects,
)

A, B = Name.parse("a"), Name.parse("b")
ONE, TWO, TEXT, ORPHAN = (digest_of(text) for text in (b"1", b"2", b"text", b"orphan"))
STAT = FileStat(1, 2, 3, 4, 5)
BIG = 1 << 30


def manifest(*layers: tuple[str, Digest, int]) -> ManifestFile:
    made = Manifest(None, tuple(Descriptor(*layer) for layer in layers))
    return ManifestFile(digest_of(made.encode()), frozenset(), made)


MODELS: Mapping[Name, ManifestFile] = {
    A: manifest((MODEL_TYPE, ONE, BIG), (SYSTEM_TYPE, TEXT, 4)),
    B: manifest((MODEL_TYPE, ONE, BIG), (MODEL_TYPE, TWO, 7)),
    scratch_name("0" * 16): manifest((MODEL_TYPE, digest_of(b"scratch"), 1)),
}
OURS = Ledger(owned={A: Owned(), B: Owned()}, blobs={TEXT: A, ONE: A})


def subject(
    digest: Digest, *models: Name, target: str | None = None, size_bytes: int = BIG
) -> Subject:
    return Subject(digest, f"/blobs/{digest}", target, size_bytes, models)


def test_every_blob_is_hashed_once_large_ones_first_and_missing_ones_too() -> None:
    blobs: dict[Digest, Blob] = {
        ONE: LinkBlob("/m/one.gguf", ok=True),
        ORPHAN: RegularBlob(99),
        TEXT: RegularBlob(4),
    }
    paths = {digest: f"/blobs/{digest}" for digest in (ONE, TWO, TEXT, ORPHAN)}
    found = subjects(MODELS, blobs, paths, None)
    assert [(s.digest, s.size_bytes, s.models) for s in found] == [
        (ONE, BIG, (A, B)),
        (ORPHAN, 99, ()),
        (TWO, 7, (B,)),
        (TEXT, 4, (A,)),
    ]
    assert found[0].target == "/m/one.gguf"
    assert {s.digest for s in subjects(MODELS, blobs, paths, frozenset({B}))} == {ONE, TWO}


def test_a_manifest_that_does_not_parse_is_corrupt() -> None:
    broken = {A: ManifestFile(TEXT, frozenset(), None), B: MODELS[B]}
    paths = {A: "/manifests/a", B: "/manifests/b"}
    [found] = broken_manifests(broken, paths, None)
    assert (found.kind, found.verdict, found.path) == ("manifest", Verdict.CORRUPT, "/manifests/a")
    assert broken_manifests(broken, paths, frozenset({B})) == []


@pytest.mark.parametrize(
    ("target", "reading", "verdict"),
    [
        (None, Hashed(ONE, STAT), Verdict.OK),
        ("/m/one", Hashed(ONE, STAT), Verdict.OK),
        (None, Hashed(TWO, STAT), Verdict.CORRUPT),
        ("/m/one", Hashed(TWO, STAT), Verdict.CHANGED),
        ("/m/one", Hashed(TWO, STAT, TWO), Verdict.CHANGED),
        ("/m/one", Hashed(TWO, STAT, ONE), Verdict.CORRUPT),
        (None, Unread("gone", gone=True), Verdict.MISSING),
        ("/m/one", Unread("input/output error", gone=False), Verdict.UNREADABLE),
    ],
)
def test_a_file_is_judged_by_what_was_read(
    target: str | None, reading: Hashed | Unread, verdict: Verdict
) -> None:
    """A file whose state is the one that was hashed, and whose content is not, has rotted."""
    found = judge(subject(ONE, A, target=target), reading, OURS, MODELS)
    assert found.verdict is verdict
    assert bool(found.message) is (verdict is not Verdict.OK)


BAD = Hashed(digest_of(b"bad"), STAT)
GONE = Unread("gone", gone=True)
PULLED = Ledger(
    owned={A: Owned()}, pulled={A: Pulled(ONE, MODELS[A].manifest or Manifest(None, ()))}
)


@pytest.mark.parametrize(
    ("ledger", "of", "reading", "repair"),
    [
        (PULLED, subject(ONE, A), BAD, Repair.PULL),
        (PULLED, subject(TEXT, A, size_bytes=4), BAD, Repair.PULL),
        (PULLED, subject(ONE, A), GONE, Repair.PULL),
        (PULLED, subject(ONE, A), Hashed(ONE, STAT), None),
        (PULLED, subject(ONE, A, B), BAD, None),
        (PULLED, subject(ONE), BAD, None),
        (replace(PULLED, paused=frozenset({A})), subject(ONE, A), BAD, None),
        (Ledger(), subject(ONE, A), BAD, None),
        (OURS, subject(TEXT, A, size_bytes=4), BAD, Repair.WRITE),
        (OURS, subject(TEXT, A), BAD, None),
        (OURS, subject(ONE, A, size_bytes=4), BAD, None),
        (Ledger(owned={A: Owned()}), subject(TEXT, A, size_bytes=4), BAD, None),
        (OURS, subject(ONE, A, B, target="/m/one"), BAD, Repair.FOLLOW),
        (OURS, subject(ONE, A, target="/m/one"), GONE, None),
        (Ledger(owned={B: Owned()}), subject(ONE, A, B, target="/m/one"), BAD, None),
        (OURS, subject(ONE, A), Unread("no", gone=False), None),
    ],
)
def test_only_what_is_ours_alone_is_mended(
    ledger: Ledger, of: Subject, reading: Hashed | Unread, repair: Repair | None
) -> None:
    assert judge(of, reading, ledger, MODELS).repair is repair


def test_the_report_counts_each_verdict() -> None:
    found = [
        judge(subject(ONE, A), Hashed(ONE, STAT), OURS, MODELS),
        judge(subject(TEXT, A, size_bytes=4), BAD, OURS, MODELS),
    ]
    document = report(found)
    assert document["format_version"] == 1
    assert document["summary"] == {
        "ok": 1,
        "corrupt": 1,
        "changed": 0,
        "missing": 0,
        "unreadable": 0,
    }
    assert document["files"][1] == {
        "kind": "blob",
        "digest": TEXT,
        "actual": BAD.digest,
        "path": f"/blobs/{TEXT}",
        "size_bytes": 3,
        "models": ["a"],
        "verdict": "corrupt",
        "message": found[1].message,
        "repair": "write it again",
    }
