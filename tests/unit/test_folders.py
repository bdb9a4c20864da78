"""Walking folders of models: what is seen, what is left out, and what cannot be told."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from paddock.core.discover_scan import Scan
from paddock.core.layouts import Layout
from paddock.core.observed import Unknown
from paddock.edges import folders


def make(root: Path, *files: str) -> None:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"GGUF")


def scan(root: Path, layout: Layout = "directory") -> Scan:
    found = folders.look(str(root), layout)
    assert isinstance(found, Scan), found
    return found


def paths(root: Path, layout: Layout = "directory") -> list[str]:
    return [entry.path for entry in scan(root, layout).entries]


def unknown(root: Path) -> Unknown:
    found = folders.look(str(root), "directory")
    assert isinstance(found, Unknown), found
    return found


def test_ggufs_are_found_at_any_depth_and_nothing_else(tmp_path: Path) -> None:
    make(tmp_path, "x.gguf", "a/b/c/y.GGUF", "a/readme.md", "a/z.gguf.part", ".cache/hidden.gguf")
    make(tmp_path, ".hidden.gguf", "lost+found/x.gguf")
    (tmp_path / "folder.gguf").mkdir()
    assert paths(tmp_path) == ["a/b/c/y.GGUF", "a/z.gguf.part", "x.gguf"]


def test_a_file_is_told_with_its_size_time_and_real_path(tmp_path: Path) -> None:
    make(tmp_path, "real/a/x.gguf")
    (tmp_path / "alias").symlink_to("real")
    os.utime(tmp_path / "real/a/x.gguf", ns=(5, 7))
    (entry,) = scan(tmp_path / "alias").entries
    assert (entry.path, entry.size_bytes, entry.mtime_ns) == ("a/x.gguf", 4, 7)
    assert (entry.real_path, entry.hop) == (str(tmp_path.resolve() / "real/a/x.gguf"), "")


def test_a_link_to_a_file_is_told_with_its_first_and_its_last_target(tmp_path: Path) -> None:
    make(tmp_path, "elsewhere/x.gguf")
    (tmp_path / "elsewhere/hop").symlink_to("x.gguf")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/y.gguf").symlink_to("../elsewhere/hop")
    (entry,) = scan(tmp_path / "in").entries
    assert entry.hop == str(tmp_path / "elsewhere/hop")
    assert entry.real_path == str(tmp_path.resolve() / "elsewhere/x.gguf")
    assert (entry.size_bytes, entry.linked_ns > 0) == (4, True)


def test_links_to_folders_are_told_and_not_followed(tmp_path: Path) -> None:
    make(tmp_path, "outside/x.gguf", "in/y.gguf")
    (tmp_path / "in/out").symlink_to(tmp_path / "outside")
    (tmp_path / "in/loop").symlink_to(".")
    (tmp_path / "in/folder.gguf").symlink_to(tmp_path / "outside")
    found = scan(tmp_path / "in")
    assert [entry.path for entry in found.entries] == ["y.gguf"]
    assert found.folder_links == ("folder.gguf", "loop", "out")


def test_a_broken_link_and_one_to_itself_are_not_there(tmp_path: Path) -> None:
    make(tmp_path, "x.gguf")
    (tmp_path / "broken.gguf").symlink_to("nowhere.gguf")
    (tmp_path / "self.gguf").symlink_to("self.gguf")
    found = scan(tmp_path)
    assert [entry.path for entry in found.entries] == ["x.gguf"]
    assert set(found.unread) <= {"self.gguf"}


def test_a_fifo_is_no_model(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.gguf")
    assert paths(tmp_path) == []


def test_no_file_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a/x.gguf")
    (tmp_path / "y.gguf").symlink_to("a/x.gguf")

    def refuse(path: object, *_: object, **__: object) -> int:
        raise AssertionError(f"{path} was opened")

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr("builtins.open", refuse)
    assert paths(tmp_path) == ["a/x.gguf", "y.gguf"]


def test_the_device_of_a_folder_is_told(tmp_path: Path) -> None:
    make(tmp_path, "a/x.gguf")
    assert scan(tmp_path).devices == {"": tmp_path.stat().st_dev}


def test_a_folder_that_is_not_there_is_unknown(tmp_path: Path) -> None:
    make(tmp_path, "file")
    assert unknown(tmp_path / "none").reason == "FolderMissing"
    assert unknown(tmp_path / "file").reason == "FolderMissing"
    assert str(tmp_path / "none") in unknown(tmp_path / "none").message


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EACCES, "FolderUnreadable"),
        (errno.EIO, "FolderUnreadable"),
        (errno.ESTALE, "FolderUnreadable"),
    ],
)
def test_a_folder_that_cannot_be_read_is_unknown(
    tmp_path: Path, failing: Callable[[str, int], None], number: int, reason: str
) -> None:
    failing(str(tmp_path), number)
    assert unknown(tmp_path).reason == reason


def test_a_part_that_cannot_be_read_is_told_and_the_rest_is_seen(
    tmp_path: Path, failing: Callable[[str, int], None]
) -> None:
    make(tmp_path, "a/x.gguf", "b/y.gguf", "c/z.gguf")
    failing(str(tmp_path / "a"), errno.EACCES)
    failing(str(tmp_path / "c"), errno.ENOENT)
    found = scan(tmp_path)
    assert [entry.path for entry in found.entries] == ["b/y.gguf"]
    assert {path: why.reason for path, why in found.unread.items()} == {"a": "FolderUnreadable"}


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Lets the listing of a folder fail with an error's number."""
    numbers: dict[str, int] = {}
    scandir = os.scandir

    def listed(path: str) -> object:
        number = numbers.get(os.path.normpath(path))
        if number is not None:
            raise OSError(number, os.strerror(number), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", listed)
    return lambda path, number: numbers.update({os.path.realpath(path): number})


def test_a_name_that_is_no_text_is_told(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.gguf")).write_bytes(b"GGUF")
    found = scan(tmp_path)
    assert found.entries == ()
    assert {path: why.reason for path, why in found.unread.items()} == {"\\xff.gguf": "NameNotText"}


def test_a_walk_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a/b/c/x.gguf", "y.gguf")
    monkeypatch.setattr(folders, "MAX_DEPTH", 2)
    assert {path: why.reason for path, why in scan(tmp_path).unread.items()} == {
        "a/b/c": "FolderTooDeep"
    }
    monkeypatch.setattr(folders, "MAX_ENTRIES", 2)
    assert unknown(tmp_path).reason == "FolderTooLarge"


def test_a_cache_is_read_by_its_snapshots_and_references(tmp_path: Path) -> None:
    repo = tmp_path / "models--p--r"
    make(tmp_path, "datasets--p--d/snapshots/c0/x.gguf", "version.gguf")
    make(repo, "blobs/abc", "blobs/stray.gguf")
    for commit in ("c0", "c1"):
        (repo / f"snapshots/{commit}").mkdir(parents=True)
        (repo / f"snapshots/{commit}/x.gguf").symlink_to("../../blobs/abc")
    (repo / "refs").mkdir()
    (repo / "refs/main").write_text("c0\n")
    (repo / "refs/v2").write_text("c1")
    found = scan(tmp_path, "huggingface")
    assert [e.path for e in found.entries if e.path != "version.gguf"] == [
        "models--p--r/snapshots/c0/x.gguf",
        "models--p--r/snapshots/c1/x.gguf",
    ]
    assert {e.real_path for e in found.entries if e.hop} == {str(repo.resolve() / "blobs/abc")}
    assert found.refs == {"models--p--r": "c0"}


def test_a_cache_without_references_is_read_all_the_same(tmp_path: Path) -> None:
    make(tmp_path, "models--p--r/snapshots/c0/x.gguf")
    assert scan(tmp_path, "huggingface").refs == {}


@pytest.mark.parametrize(
    ("layout", "environ", "expected"),
    [
        ("directory", {}, ()),
        ("lmstudio", {}, ("/home/ann/.lmstudio/models", "/home/ann/.cache/lm-studio/models")),
        ("huggingface", {}, ("/home/ann/.cache/huggingface/hub",)),
        ("huggingface", {"XDG_CACHE_HOME": "/c"}, ("/c/huggingface/hub",)),
        ("huggingface", {"HF_HOME": "/hf", "XDG_CACHE_HOME": "/c"}, ("/hf/hub",)),
        ("huggingface", {"HF_HUB_CACHE": "/hub/", "HF_HOME": "/hf"}, ("/hub",)),
        ("llamacpp", {}, ("/home/ann/.cache/llama.cpp",)),
        ("llamacpp", {"LLAMA_CACHE": "/l"}, ("/l",)),
        ("transformerlab", {}, ("/home/ann/.transformerlab/workspace/models",)),
    ],
)
def test_each_program_keeps_its_models_somewhere(
    layout: Layout, environ: dict[str, str], expected: tuple[str, ...]
) -> None:
    assert folders.default_folders(layout, environ, Path("/home/ann")) == expected
