"""What a repository, a revision and a file may be called, and which file a glob means."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from paddock.core.hub import (
    Chosen,
    HubFile,
    NotOne,
    check_pattern,
    check_repo,
    check_revision,
    choose,
    is_commit,
    not_one,
    repo_folder,
)

COMMIT = "0123456789abcdef" * 2 + "01234567"
QWEN = "Qwen/Qwen2.5-0.5B-Instruct-GGUF"
FILES = (
    "README.md",
    "model-q4_k_m.gguf",
    "model-q8_0.gguf",
    "Q6/model-Q6_K.gguf",
    "mmproj-F16.gguf",
    "imatrix-q4_k_m.dat",
    "big-q2_k-00001-of-00003.gguf",
    "big-q2_k-00002-of-00003.gguf",
    "big-q2_k-00003-of-00003.gguf",
    "cut-q3-00002-of-00002.gguf",
)
BIG = FILES[6:9]


@pytest.mark.parametrize("repo", [QWEN, "a/b", "_org/model_1.0", "0x/" + "m" * 96])
def test_a_repository_is_an_owner_and_a_name(repo: str) -> None:
    assert check_repo(repo) == repo


@pytest.mark.parametrize(
    "repo",
    [
        "",
        "gpt2",
        "a/b/c",
        "/b",
        "a/",
        "../b",
        "a/..",
        "a/.b",
        "a/b.",
        "-a/b",
        "a--b/c",
        "a/b--c",
        "a/b..c",
        "a/b.git",
        "a/b c",
        "a/b\n",
        "a/b\0",
        "a\\b/c",
        "a/é",
        "a/" + "m" * 97,
    ],
)
def test_what_could_leave_the_cache_is_no_repository(repo: str) -> None:
    with pytest.raises(ValueError, match="is not the name of a repository on the Hub; write"):
        check_repo(repo)


@pytest.mark.parametrize(
    "address",
    [
        f"https://huggingface.co/{QWEN}",
        f"https://huggingface.co/{QWEN}/tree/main",
        f"hf.co/{QWEN}",
        f"hf://{QWEN}",
        f"hf://models/{QWEN}",
    ],
)
def test_an_address_is_answered_with_the_name_to_write(address: str) -> None:
    with pytest.raises(ValueError, match=f"; write {QWEN}$"):
        check_repo(address)


@pytest.mark.parametrize("revision", ["main", "v1.0", "refs/pr/12", "feature/x_y-z", COMMIT])
def test_a_revision_is_a_branch_a_tag_or_a_commit(revision: str) -> None:
    assert check_revision(revision) == revision


@pytest.mark.parametrize(
    "revision",
    [
        "",
        "/",
        "/main",
        "main/",
        "a//b",
        "..",
        "../../etc",
        "a/../b",
        "a..b",
        ".main",
        "a/.b",
        "-f",
        "main.lock",
        "main.",
        "a b",
        "a\nb",
        "a\0b",
        "a\\b",
        "a:b",
        "a*",
        "a?",
        "a[b]",
        "a~1",
        "a^",
        "a@{1}",
        "m" * 256,
    ],
)
def test_what_is_no_name_to_git_is_no_revision(revision: str) -> None:
    with pytest.raises(ValueError, match="is no revision; write a branch, a tag or a commit"):
        check_revision(revision)


@pytest.mark.parametrize("pattern", ["a.gguf", "*q4_k_m.gguf", "Q6/model-[Qq]6_K.gguf", "**/a*"])
def test_a_file_is_a_path_or_a_glob(pattern: str) -> None:
    assert check_pattern(pattern) == pattern


@pytest.mark.parametrize(
    "pattern", ["", "/a.gguf", "a/", "a//b", "../a", "a/../b", "./a", "a\\b", "a\nb", "a\0"]
)
def test_what_could_leave_the_repository_is_no_file(pattern: str) -> None:
    with pytest.raises(ValueError, match="is not the path of a file in a repository; write it as"):
        check_pattern(pattern)


def test_only_a_whole_commit_never_moves() -> None:
    assert is_commit(COMMIT)
    assert not any(map(is_commit, [COMMIT[:-1], COMMIT + "0", COMMIT.upper(), "main", ""]))


def test_a_repository_has_the_hubs_own_folder() -> None:
    assert repo_folder(QWEN) == "models--Qwen--Qwen2.5-0.5B-Instruct-GGUF"


@pytest.mark.parametrize(
    ("pattern", "parts"),
    [
        ("model-q8_0.gguf", ("model-q8_0.gguf",)),
        ("*q8_0.gguf", ("model-q8_0.gguf",)),
        ("*Q6_K.gguf", ("Q6/model-Q6_K.gguf",)),
        ("Q6/*", ("Q6/model-Q6_K.gguf",)),
        ("model-q4_k_m*", ("model-q4_k_m.gguf",)),
        ("*q4_k_m*", ("model-q4_k_m.gguf",)),
        ("imatrix-q4_k_m.dat", ("imatrix-q4_k_m.dat",)),
        ("*q2_k*.gguf", BIG),
        ("*q2_k-00001-of-00003.gguf", BIG),
        ("big-q2_k-00002-of-00003.gguf", BIG),
    ],
)
def test_one_file_or_one_split_set_is_chosen(pattern: str, parts: tuple[str, ...]) -> None:
    choice = choose(pattern, FILES)
    assert choice == Chosen(parts)
    assert isinstance(choice, Chosen)
    assert choice.first == parts[0]


@pytest.mark.parametrize(
    ("pattern", "several"),
    [
        ("model-*.gguf", ("model-q4_k_m.gguf", "model-q8_0.gguf")),
        ("*-q[28]_*", ("big-q2_k-00001-of-00003.gguf", *BIG[1:], "model-q8_0.gguf")),
    ],
)
def test_several_files_are_none(pattern: str, several: tuple[str, ...]) -> None:
    assert choose(pattern, FILES) == NotOne(several=True, near=several)


def test_a_case_that_is_not_the_files_matches_nothing_and_the_files_own_is_told() -> None:
    assert choose("*Q4_K_M.gguf", FILES) == NotOne(several=False, near=("model-q4_k_m.gguf",))


def test_what_no_file_is_like_is_answered_with_all_ggufs() -> None:
    choice = choose("*q5*", FILES)
    assert choice == NotOne(several=False, near=tuple(sorted(f for f in FILES if "gguf" in f)))


def test_a_split_set_that_lacks_a_part_is_not_there() -> None:
    assert choose("cut*", FILES) == NotOne(several=False, near=())


def test_a_count_of_parts_that_no_model_has_is_only_a_name() -> None:
    names = ["x-00001-of-99999.gguf", "x-00002-of-99999.gguf"]
    assert choose("x*", names) == NotOne(several=True, near=tuple(names))


def test_a_name_with_a_bracket_is_itself_before_it_is_a_glob() -> None:
    assert choose("a[1].gguf", ["a[1].gguf", "a1.gguf"]) == Chosen(("a[1].gguf",))


def told(pattern: str, files: Iterable[str]) -> str:
    """The line about a glob that means no file."""
    choice = choose(pattern, files)
    assert isinstance(choice, NotOne)
    return not_one(HubFile(QWEN, "main", pattern), choice, "in the local cache")


def test_several_files_are_told_with_a_way_to_narrow() -> None:
    assert told("model-*", FILES) == (
        f'"model-*" matches several files of {QWEN} in the local cache: model-q4_k_m.gguf, '
        "model-q8_0.gguf; narrow it to one, such as file: model-q4_k_m.gguf"
    )


def test_no_file_is_told_with_what_there_is() -> None:
    where = f"no file of {QWEN} (main) in the local cache matches"
    assert told("*Q4_K_M*", FILES) == f'{where} "*Q4_K_M*"; there are: model-q4_k_m.gguf'
    assert told("a.gguf", []) == f'{where} "a.gguf"'


def test_of_many_files_a_few_are_told() -> None:
    line = told("*", [f"model-{number}.gguf" for number in range(20)])
    assert line.count(".gguf") == 9
    assert " and 12 more; narrow it" in line
