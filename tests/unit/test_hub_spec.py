"""`source: {huggingface: ...}` as models.yaml has it: what it means, and what is wrong with it."""

from __future__ import annotations

from typing import Any

import pytest

from paddock.core.desired import Desired, File, FromFile, FromHub, Trust
from paddock.core.digest import Digest
from paddock.core.hub import HubFile, HubFound, is_download
from paddock.core.locate import hub_files, locate, to_download
from paddock.core.names import Name
from paddock.core.observed import HubFact, SourceMissing, Unknown
from paddock.core.resolve import resolve
from paddock.core.source_status import describe
from paddock.core.spec_check import read_spec
from paddock.settings import load_settings

REPO = "Qwen/Qwen2.5-0.5B-Instruct-GGUF"
GLOB, MMPROJ = "*q4_k_m.gguf", "mmproj*"
HEX = "0123456789abcdef" * 4
DIGEST = Digest(f"sha256:{HEX}")
A = Name.parse("a")
MODEL, PROJECTOR = HubFile(REPO, "main", GLOB), HubFile(REPO, "main", MMPROJ)
GONE, BROKEN = SourceMissing("not there"), Unknown("SourceUnreadable", "input/output error")


def desire(source: dict[str, Any]) -> Desired:
    checked = read_spec({"version": 1, "models": {"a": {"source": source}}})
    assert checked.problems == ()
    return resolve(checked.spec, "models.yaml")


def source_of(desired: Desired) -> object:
    return desired.models[A].source


def hub(**more: Any) -> Desired:
    return desire({"huggingface": REPO, "file": GLOB, **more})


def from_hub(**more: Any) -> FromHub:
    source = source_of(hub(**more))
    assert isinstance(source, FromHub)
    return source


def problems(source: dict[str, Any]) -> list[str]:
    checked = read_spec({"version": 1, "models": {"a": {"source": source}}})
    return [f"{'.'.join(map(str, p.loc[2:]))}: {p.what}; {p.hint}" for p in checked.problems]


def test_a_repository_and_a_file_are_enough() -> None:
    assert source_of(hub()) == FromHub(MODEL)


def test_every_key_counts() -> None:
    found = hub(revision="v1", projector=MMPROJ, sha256=HEX, trust="name")
    assert source_of(found) == FromHub(
        HubFile(REPO, "v1", GLOB),
        HubFile(REPO, "v1", MMPROJ),
        sha256=DIGEST,
        trust=Trust.NAME,
    )


def test_another_revision_is_another_generation() -> None:
    assert hub().generation == hub(revision="main").generation
    assert hub().generation != hub(revision="v1").generation


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ({"huggingface": REPO}, "source.file: is missing; write file: TEXT"),
        (
            {"huggingface": f"https://huggingface.co/{REPO}", "file": GLOB},
            f"source.huggingface: is not the name of a repository on the Hub; write {REPO}",
        ),
        (
            {"huggingface": REPO, "file": "../a.gguf"},
            (
                "source.file: is not the path of a file in a repository; "
                'write it as its page shows it, or a glob such as "*q4_k_m.gguf"'
            ),
        ),
        (
            {"huggingface": REPO, "file": GLOB, "revision": "a..b"},
            "source.revision: is no revision; write a branch, a tag or a commit, such as main",
        ),
        (
            {"huggingface": REPO, "file": GLOB, "revison": "v1"},
            'source.revison: unknown key; did you mean "revision"?',
        ),
        (
            {"huggingface": REPO, "file": GLOB, "gguf": "a.gguf"},
            "source: huggingface and gguf are given, but a model has one source; keep one",
        ),
        (
            {"hugingface": REPO, "file": GLOB},
            'source.hugingface: unknown key; did you mean "huggingface"?',
        ),
        (
            {"huggingface": REPO, "file": GLOB, "trust": "nme"},
            'source.trust: must be one of verify, name; did you mean "name"?',
        ),
    ],
)
def test_what_is_wrong_is_told_at_its_key(source: dict[str, Any], problem: str) -> None:
    assert problems(source) == [problem]


def test_a_source_whose_files_are_found_is_files() -> None:
    wish = hub(projector=MMPROJ, sha256=HEX, trust="name")
    assert hub_files(wish) == {MODEL, PROJECTOR}
    found = locate(wish, {MODEL: HubFound("/c/m.gguf"), PROJECTOR: HubFound("/c/p.gguf")})
    source = source_of(found)
    assert source == FromFile(
        File("/c/m.gguf", DIGEST, Trust.NAME),
        File("/c/p.gguf", None, Trust.NAME),
        hub=from_hub(projector=MMPROJ, sha256=HEX, trust="name"),
    )
    assert found.generation == wish.generation
    assert isinstance(source, FromFile)
    assert describe(source) == describe(source.hub) == f"huggingface: {REPO} {GLOB}"


def test_a_source_of_which_a_file_is_missing_stays_and_that_file_is_wanted() -> None:
    wish, source = hub(projector=MMPROJ), from_hub(projector=MMPROJ)
    facts: dict[HubFile, HubFact] = {MODEL: HubFound("/c/m.gguf"), PROJECTOR: GONE}
    assert locate(wish, facts) == wish
    assert to_download(source, facts) == (PROJECTOR,)
    assert to_download(source, {MODEL: GONE, PROJECTOR: GONE}) == (MODEL, PROJECTOR)


def test_nothing_is_downloaded_while_a_cache_cannot_be_read() -> None:
    source = from_hub(projector=MMPROJ)
    assert to_download(source, {MODEL: GONE, PROJECTOR: BROKEN}) == BROKEN
    assert isinstance(to_download(source, {MODEL: GONE}), Unknown)


def test_only_what_lies_in_our_own_cache_is_a_download() -> None:
    assert is_download("/models/.paddock/hf/models--a--b/blobs/x")
    assert not is_download("/home/me/.cache/huggingface/hub/models--a--b/blobs/x")


def test_the_token_is_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PADDOCK_HF_TOKEN", "hf_secret")
    settings = load_settings({})
    assert settings.token == "hf_secret"
    assert "hf_secret" not in repr(settings)
    monkeypatch.delenv("PADDOCK_HF_TOKEN")
    assert load_settings({}).token is None
