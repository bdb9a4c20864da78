"""The hub's cache is read as huggingface_hub itself has made it, without that library."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.utils import _shared_blobs

from hub_server import COMMIT, HubContent, HubServer, Repo
from paddock.core.digest import Digest, digest_of
from paddock.core.files import claim_of
from paddock.core.hub import HubFile, HubFound
from paddock.core.observed import SourceMissing, Unknown
from paddock.edges.hub import cache_roots, find_token, look
from paddock.edges.sources import one_link_on
from paddock.errors import Retry, SourceError

REPO = "Org/Model-GGUF"
OLD, NEW = "1" * 40, "2" * 40
Q4, Q8, MMPROJ = b"GGUF of four bits", b"GGUF of eight bits", b"GGUF that sees"
FILES = {
    "model-q4_k_m.gguf": HubContent(Q4),
    "model-q8_0.gguf": HubContent(Q8),
    "vision/mmproj.gguf": HubContent(MMPROJ),
}


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer({REPO: Repo(dict(FILES), revisions=("main", "refs/pr/1", "v1"))}) as server:
        yield server
        huggingface_hub.close_session()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def fetch(server: HubServer, cache: Path, name: str, revision: str = "main") -> Path:
    """Lets the real client download a file."""
    path = huggingface_hub.hf_hub_download(
        REPO, name, revision=revision, cache_dir=cache, endpoint=server.url, token=False
    )
    return Path(path)


def q4(revision: str = "main") -> HubFile:
    return HubFile(REPO, revision, "*q4_k_m.gguf")


def claimed(path: Path) -> Digest | None:
    """What the name of a file's blob claims, as `engine/look.py` takes it."""
    return claim_of(str(path)) or claim_of(one_link_on(str(path))) or claim_of(str(path.resolve()))


def test_a_file_is_found_under_its_own_name_with_the_claim_of_its_blob(
    server: HubServer, cache: Path
) -> None:
    path = fetch(server, cache, "model-q4_k_m.gguf")
    assert look(q4(), (cache,)) == HubFound(str(path))
    assert claimed(path) == digest_of(Q4)
    assert path.resolve().parent == cache / "models--Org--Model-GGUF" / "blobs"


def test_a_file_in_a_folder_is_found_too(server: HubServer, cache: Path) -> None:
    path = fetch(server, cache, "vision/mmproj.gguf")
    assert look(HubFile(REPO, "main", "*mmproj*"), (cache,)) == HubFound(str(path))
    assert claimed(path) == digest_of(MMPROJ)


@pytest.mark.parametrize("revision", ["v1", "refs/pr/1", COMMIT])
def test_a_tag_a_pull_request_and_a_commit_are_revisions(
    revision: str, server: HubServer, cache: Path
) -> None:
    path = fetch(server, cache, "model-q4_k_m.gguf", revision)
    assert look(q4(revision), (cache,)) == HubFound(str(path))
    assert isinstance(look(q4("main"), (cache,)), SourceMissing)


def test_the_revision_is_the_commit_that_it_was_at_the_last_download(
    server: HubServer, cache: Path
) -> None:
    server.repos[REPO] = Repo(dict(FILES), commit=OLD)
    old = fetch(server, cache, "model-q4_k_m.gguf")
    server.repos[REPO] = Repo({"model-q4_k_m.gguf": HubContent(Q8)}, commit=NEW)
    assert look(q4(), (cache,)) == HubFound(str(old))
    new = fetch(server, cache, "model-q4_k_m.gguf")
    assert look(q4(), (cache,)) == HubFound(str(new))
    assert look(q4(OLD), (cache,)) == HubFound(str(old))


def test_a_blob_that_is_a_link_into_the_shared_store_keeps_the_claim_of_its_own_name(
    server: HubServer, cache: Path
) -> None:
    """The name in the shared store is 64 digits as well, and no SHA-256."""
    path = fetch(server, cache, "model-q4_k_m.gguf")
    blob, xet_hash = path.resolve(), "e" * 64
    assert _shared_blobs.publish_blob_to_shared_store(
        blob_path=str(blob), xet_hash=xet_hash, cache_dir=cache, expected_size=len(Q4)
    )
    assert path.resolve().name == xet_hash
    assert look(q4(), (cache,)) == HubFound(str(path))
    assert claimed(path) == digest_of(Q4)


def test_a_cache_without_links_makes_no_claim(
    server: HubServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_SYMLINKS", True)
    path = fetch(server, cache, "model-q4_k_m.gguf")
    assert not path.is_symlink()
    assert look(q4(), (cache,)) == HubFound(str(path))
    assert claimed(path) is None


def test_a_link_that_leads_out_of_the_repository_makes_no_claim(
    server: HubServer, cache: Path, tmp_path: Path
) -> None:
    path = fetch(server, cache, "model-q4_k_m.gguf")
    other = tmp_path / "blobs" / ("a" * 64)
    other.parent.mkdir()
    other.write_bytes(b"something else")
    path.unlink()
    path.symlink_to(other)
    assert look(q4(), (cache,)) == HubFound(str(path))
    assert claimed(path) is None


def test_a_file_of_gits_own_has_no_sha256(server: HubServer, cache: Path) -> None:
    path = fetch(server, cache, "model-q4_k_m.gguf")
    small = path.resolve().with_name("b" * 40)
    path.resolve().rename(small)
    path.unlink()
    path.symlink_to(os.path.relpath(small, path.parent))
    assert look(q4(), (cache,)) == HubFound(str(path))
    assert claimed(path) is None


def test_what_was_never_downloaded_is_missing(server: HubServer, cache: Path) -> None:
    missing = SourceMissing(f'no file of {REPO} (main) in the local cache matches "*q4_k_m.gguf"')
    assert look(q4(), (cache,)) == missing
    fetch(server, cache, "model-q8_0.gguf")
    assert look(q4(), (cache,)) == missing


def test_a_blob_that_was_pruned_is_missing(server: HubServer, cache: Path) -> None:
    path = fetch(server, cache, "model-q4_k_m.gguf")
    path.resolve().unlink()
    assert path.is_symlink()
    assert isinstance(look(q4(), (cache,)), SourceMissing)


def test_several_files_are_told_and_none_is_taken(server: HubServer, cache: Path) -> None:
    for name in ("model-q4_k_m.gguf", "model-q8_0.gguf"):
        fetch(server, cache, name)
    found = look(HubFile(REPO, "main", "model*"), (cache,))
    assert isinstance(found, Unknown)
    assert found.reason == "SourceAmbiguous"
    assert "model-q4_k_m.gguf, model-q8_0.gguf; narrow it to one" in found.message


def test_a_split_model_is_there_when_all_of_its_parts_are(server: HubServer, cache: Path) -> None:
    parts = [f"big-{number:05d}-of-00002.gguf" for number in (1, 2)]
    server.repos[REPO] = Repo({part: HubContent(part.encode()) for part in parts})
    wanted = HubFile(REPO, "main", "big*")
    first = fetch(server, cache, parts[0])
    assert isinstance(look(wanted, (cache,)), SourceMissing)
    fetch(server, cache, parts[1])
    assert look(wanted, (cache,)) == HubFound(str(first))


def test_the_first_cache_that_has_the_file_gives_it(
    server: HubServer, cache: Path, tmp_path: Path
) -> None:
    second = fetch(server, tmp_path / "second", "model-q4_k_m.gguf")
    roots = (cache, tmp_path / "second")
    assert look(q4(), roots) == HubFound(str(second))
    first = fetch(server, cache, "model-q4_k_m.gguf")
    assert look(q4(), roots) == HubFound(str(first))


@pytest.mark.parametrize("text", ["", "main", "../../../elsewhere", "F" * 40, "0" * 41, "\x00"])
def test_a_ref_that_names_no_commit_leads_nowhere(
    text: str, server: HubServer, cache: Path
) -> None:
    """llama.cpp may leave an empty one; anybody who may write there could name any folder."""
    path = fetch(server, cache, "model-q4_k_m.gguf")
    base = path.parents[2]
    shutil.copytree(path.parent, cache.parent / "elsewhere", symlinks=False)
    (base / "refs" / "main").write_text(text)
    assert isinstance(look(q4(), (cache,)), SourceMissing)


def test_a_ref_may_end_in_a_newline(server: HubServer, cache: Path) -> None:
    path = fetch(server, cache, "model-q4_k_m.gguf")
    (path.parents[2] / "refs" / "main").write_text(f"{COMMIT}\n")
    assert look(q4(), (cache,)) == HubFound(str(path))


def test_a_folder_of_refs_is_no_revision(server: HubServer, cache: Path) -> None:
    fetch(server, cache, "model-q4_k_m.gguf", "refs/pr/1")
    assert isinstance(look(q4("refs/pr"), (cache,)), SourceMissing)


@pytest.mark.parametrize("part", ["refs/main", "snapshots", f"snapshots/{COMMIT}"])
def test_what_cannot_be_read_is_unknown_and_not_missing(
    part: str, server: HubServer, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later cache does not count then: a hiccup shall not move the model to another file."""
    path = fetch(server, cache, "model-q4_k_m.gguf")
    second = tmp_path / "second"
    fetch(server, second, "model-q4_k_m.gguf")
    _refuse(path.parents[2] / part, monkeypatch)
    found = look(q4(), (cache, second))
    assert isinstance(found, Unknown)
    assert found.reason == "SourceUnreadable"
    assert found.message.startswith(f"cannot look for *q4_k_m.gguf of {REPO} (main) in {cache}/")
    assert found.message.endswith("make the cache readable for the user that runs paddock")


def _refuse(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may read this; root may read everything, so for root the disk is broken instead."""
    if os.geteuid() != 0:
        path.chmod(0)
        return
    real_scan, real_open = os.scandir, Path.open

    def fail(given: object) -> None:
        if str(given).startswith(str(path)):
            raise PermissionError(13, "Permission denied", str(given))

    def scandir(given: str) -> object:
        fail(given)
        return real_scan(given)

    def opened(self: Path, mode: str) -> object:
        fail(self)
        return real_open(self, mode)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(Path, "open", opened)


def test_looking_writes_nothing(server: HubServer, cache: Path) -> None:
    fetch(server, cache, "model-q4_k_m.gguf")
    before = {path: path.lstat() for path in cache.rglob("*")}
    look(q4(), (cache,))
    look(HubFile(REPO, "v1", "*"), (cache,))
    after = {path: path.lstat() for path in cache.rglob("*")}
    assert {p: (s.st_mtime_ns, s.st_ctime_ns) for p, s in before.items()} == {
        p: (s.st_mtime_ns, s.st_ctime_ns) for p, s in after.items()
    }


@pytest.mark.parametrize(
    ("environ", "roots"),
    [
        ({}, ["/home/me/.cache/huggingface/hub"]),
        ({"XDG_CACHE_HOME": "/c"}, ["/c/huggingface/hub"]),
        ({"XDG_CACHE_HOME": "/c", "HF_HOME": "/h"}, ["/h/hub"]),
        ({"HF_HOME": "~/h"}, ["/home/me/h/hub"]),
        ({"HF_HOME": "$DISK/h", "DISK": "/d"}, ["/d/h/hub"]),
        ({"HF_HOME": "/h", "HUGGINGFACE_HUB_CACHE": "/old"}, ["/old"]),
        ({"HF_HUB_CACHE": "/new", "HUGGINGFACE_HUB_CACHE": "/old", "HF_HOME": "/h"}, ["/new"]),
        ({"HF_HUB_CACHE": ""}, ["/home/me/.cache/huggingface/hub"]),
        ({"LLAMA_CACHE": "/l", "HF_HOME": "/h"}, ["/l", "/h/hub"]),
        ({"LLAMA_CACHE": "/h/hub", "HF_HOME": "/h"}, ["/h/hub"]),
    ],
)
def test_the_caches_are_where_the_hub_and_llama_cpp_have_them(
    environ: dict[str, str], roots: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert [str(root) for root in cache_roots({"HOME": "/home/me", **environ})] == roots


def test_a_token_is_the_setting_else_the_credential_else_the_librarys_affair(
    tmp_path: Path,
) -> None:
    with_credential = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert find_token(None, {}) is None
    assert find_token(None, with_credential) is None
    (tmp_path / "hf-token").write_text("hf_credential\n")
    assert find_token(None, with_credential) == "hf_credential"
    assert find_token("hf_setting", with_credential) == "hf_setting"
    assert find_token("", {}) is None


def test_a_credential_that_cannot_be_read_is_told_and_not_left_out(tmp_path: Path) -> None:
    (tmp_path / "hf-token").mkdir()
    with pytest.raises(SourceError, match=r"cannot read the credential .*/hf-token: ") as caught:
        find_token(None, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert (caught.value.reason, caught.value.retry) == ("TokenUnreadable", Retry.STALLED)
