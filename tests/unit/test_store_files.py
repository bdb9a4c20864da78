"""The store's reader and writer meet things that are no blobs, no manifests and no folders."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from paddock.core.digest import digest_of
from paddock.core.manifest import MAX_MANIFEST_BYTES, parse_manifest
from paddock.core.names import Name
from paddock.core.observed import LinkBlob, RegularBlob
from paddock.edges.lock import Holder, StoreLock
from paddock.edges.store import Store
from paddock.edges.store.files import explained
from paddock.errors import InvalidManifest, StoreError

NAME = Name.parse("m")
DIGEST = digest_of(b"x")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    for folder in ("blobs", "manifests"):
        (tmp_path / folder).mkdir()
    store = Store(tmp_path)
    store.make_state_dir()
    return store


def _manifest(store: Store, make: Callable[[Path], object]) -> Path:
    path = store.manifest_path(NAME)
    path.parent.mkdir(parents=True)
    make(path)
    return path


def test_a_fifo_among_the_manifests_is_not_waited_for(store: Store) -> None:
    _manifest(store, os.mkfifo)
    found = store.manifests()[NAME]
    assert (found.manifest, found.digest) == (None, digest_of(b""))
    assert store.manifest_bytes(NAME) == b"", "as it was found"


def test_of_a_huge_manifest_only_the_beginning_is_read(store: Store) -> None:
    path = _manifest(store, lambda path: path.write_bytes(b"{"))
    os.truncate(path, 1 << 40)
    assert store.manifests()[NAME].manifest is None
    content = store.manifest_bytes(NAME)
    assert content is not None
    assert len(content) == MAX_MANIFEST_BYTES + 1
    with pytest.raises(InvalidManifest, match="more than"):
        parse_manifest(content)


@pytest.mark.parametrize("target", ["gone", "latest"])
def test_a_manifest_that_leads_nowhere_is_named_for_ollama_serves_nothing_then(
    store: Store, target: str
) -> None:
    path = _manifest(store, lambda path: path.symlink_to(target))
    with pytest.raises(StoreError, match="remove it") as raised:
        store.manifests()
    assert str(path) in raised.value.message


def test_a_manifest_is_read_anew_when_its_config_changes(store: Store) -> None:
    content = b'{"model_format":"gguf"}'
    digest = digest_of(content)
    text = f'{{"layers":[],"config":{{"digest":"{digest}","size":1}}}}'
    _manifest(store, lambda path: path.write_text(text))
    assert store.manifests()[NAME].manifest is not None, "a config that is gone is told elsewhere"
    for config, is_read in [(content, True), (b"[]", False), (content + b"\n", True)]:
        store.blob_path(digest).write_bytes(config)
        assert (store.manifests()[NAME].manifest is not None) is is_read


def test_a_blob_has_one_name_and_is_a_file_or_a_link(store: Store) -> None:
    digests = [digest_of(bytes([n])) for n in range(5)]
    file, folder, fifo, link, dangling = map(store.blob_path, digests)
    file.write_bytes(b"12345")
    folder.mkdir()
    os.mkfifo(fifo)
    link.symlink_to(file)
    dangling.symlink_to("/dev/zero")
    upper = store.blobs_dir / f"sha256-{'A' * 64}"
    for path in (upper, store.blobs_dir / "sha256-x", store.blobs_dir / f"{file.name}-partial"):
        path.write_bytes(b"")
    assert store.blobs() == {
        digests[0]: RegularBlob(5),
        digests[3]: LinkBlob(str(file), ok=True),
        digests[4]: LinkBlob("/dev/zero", ok=False),
    }
    assert [store.has_blob(digest) for digest in digests] == [True, False, False, True, False]


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_stands_where_a_blob_must_be_is_not_replaced(
    store: Store, make: Callable[[Path], None]
) -> None:
    path = store.blob_path(DIGEST)
    make(path)
    with pytest.raises(StoreError, match="move it away"):
        store.write_blob(DIGEST, b"x")
    with pytest.raises(StoreError, match="move it away"):
        store.link_blob(DIGEST, "/dev/null")
    assert not path.is_file()
    assert list((store.state_dir / "tmp").iterdir()) == []


def test_a_gguf_that_is_a_file_is_never_removed(store: Store) -> None:
    path = store.blob_path(DIGEST)
    path.write_bytes(b"GGUF and more")
    store.remove_blob(DIGEST)
    assert path.exists()
    path.unlink()
    path.symlink_to(store.root / "x.gguf")
    (store.root / "x.gguf").write_bytes(b"GGUF")
    store.remove_blob(DIGEST)
    assert not path.is_symlink()
    assert (store.root / "x.gguf").exists()


def test_a_blob_is_never_linked_to_a_blob(store: Store) -> None:
    other = store.blob_path(digest_of(b"y"))
    other.write_bytes(b"GGUF")
    with pytest.raises(StoreError) as raised:
        store.link_blob(DIGEST, str(other))
    assert raised.value.reason == "BlobCorrupt"
    assert not store.blob_path(DIGEST).is_symlink()


@pytest.mark.parametrize("content", [b"", b"{", b"null", b'{"layers":[5]}'])
def test_a_broken_manifest_is_removed_with_its_empty_folders(store: Store, content: bytes) -> None:
    _manifest(store, lambda path: path.write_bytes(content))
    assert store.remove_broken_manifest(NAME)
    assert list(store.manifests_dir.iterdir()) == []
    assert not store.remove_broken_manifest(NAME), "it is gone"


def test_a_manifest_that_parses_is_for_ollama_to_remove(store: Store) -> None:
    path = _manifest(store, lambda path: path.write_bytes(b'{"layers":[]}'))
    assert not store.remove_broken_manifest(NAME)
    assert path.exists()


@pytest.mark.parametrize("part", [".paddock", ".paddock/tmp"])
def test_a_state_folder_that_is_a_link_is_refused(tmp_path: Path, part: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    root = tmp_path / "models"
    (root / part).parent.mkdir(parents=True)
    (root / part).symlink_to(elsewhere)
    with pytest.raises(StoreError, match="is a link"):
        Store(root).make_state_dir()


def test_the_lock_is_neither_a_link_nor_a_fifo(store: Store) -> None:
    holder = Holder(1, "now", "models.yaml", None)
    lock = store.state_dir / "lock"
    lock.symlink_to("precious")
    with pytest.raises(StoreError, match="remove it"):
        StoreLock(store.state_dir, holder)
    assert not (store.state_dir / "precious").exists()


def test_leftovers_of_a_crash_are_removed_and_nothing_else(store: Store) -> None:
    kept = [store.blob_path(DIGEST), store.blobs_dir / ".other", store.state_dir / "state.db"]
    left = [store.state_dir / "tmp" / "a", store.blobs_dir / ".paddock-1"]
    for path in (*kept, *left):
        path.write_bytes(b"")
    store.clear_leftovers()
    assert [path.exists() for path in (*kept, *left)] == [True] * 3 + [False] * 2


def test_a_models_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "models"
    path.write_text("")
    with pytest.raises(StoreError, match="is a file; set --models-dir"):
        Store(path).check_exists()


@pytest.mark.parametrize(
    ("number", "reason", "hint"),
    [
        (errno.ENOSPC, "NoSpace", "free some space"),
        (errno.EDQUOT, "NoSpace", "free some space, or raise the quota"),
        (errno.EROFS, "ReadOnly", "the file system is read-only; mount it writable"),
        (errno.ENOTDIR, "StoreBroken", "a file stands where a folder must be; move it away"),
        (errno.EIO, "StoreFailed", "see the file system"),
    ],
)
def test_a_failed_write_says_what_where_and_what_to_do(
    tmp_path: Path, number: int, reason: str, hint: str
) -> None:
    with pytest.raises(StoreError) as raised, explained(tmp_path):
        raise OSError(number, os.strerror(number))
    text = os.strerror(number)
    what = f"cannot write {tmp_path}: {text[:1].lower()}{text[1:]}; {hint}"
    assert (raised.value.message, raised.value.reason) == (what, reason)
