"""The folders of publish trees on disk: only what is ours is changed, and nothing outside."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from paddock.core.digest import digest_of
from paddock.core.tree_facts import FOLDER, Root, Thing
from paddock.core.unknown import Unknown
from paddock.edges import trees
from paddock.errors import StoreError

TARGET = Thing("link", "/models/blobs/sha256-1")
OTHER = Thing("link", "/models/blobs/sha256-2")


@pytest.fixture
def tree(tmp_path: Path) -> str:
    folder = tmp_path / "tree"
    folder.mkdir()
    return str(folder)


def file(content: bytes) -> Thing:
    return Thing("file", digest_of(content))


def names(folder: str | Path) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def reason(found: object) -> str:
    assert isinstance(found, Unknown), found
    return found.reason


def test_a_link_is_made_where_nothing_is(tree: str) -> None:
    path = f"{tree}/a.gguf"
    assert trees.look(tree, path) is None
    trees.make(tree, path, TARGET)
    assert str(Path(path).readlink()) == TARGET.content
    assert trees.look(tree, path) == TARGET


def test_what_is_there_as_it_shall_be_is_made(tree: str) -> None:
    for _ in range(2):
        trees.make(tree, f"{tree}/a.gguf", TARGET)
        trees.make(tree, f"{tree}/b", FOLDER)
        trees.make(tree, f"{tree}/c.json", file(b"{}"), b"{}")
    assert names(tree) == ["a.gguf", "b", "c.json"]


@pytest.mark.parametrize("thing", [TARGET, FOLDER, file(b"{}")], ids=lambda thing: thing.kind)
def test_nothing_is_made_where_a_file_of_others_is(tree: str, thing: Thing) -> None:
    path = Path(tree, "a")
    path.write_text("mine")
    before = path.stat()
    with pytest.raises(StoreError, match="not ours"):
        trees.make(tree, str(path), thing, b"{}" if thing.kind == "file" else None)
    assert (path.read_text(), path.stat()) == ("mine", before)
    assert names(tree) == ["a"]


def test_no_link_below_the_tree_is_followed(tree: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Path(tree, "sub").symlink_to(elsewhere)
    with pytest.raises(StoreError):
        trees.make(tree, f"{tree}/sub/a.gguf", TARGET)
    (elsewhere / "a.gguf").symlink_to(TARGET.content)
    assert trees.look(tree, f"{tree}/sub/a.gguf") is None
    trees.remove(tree, f"{tree}/sub/a.gguf", TARGET)
    assert names(elsewhere) == ["a.gguf"]


def test_no_path_leads_out_of_the_tree(tree: str, tmp_path: Path) -> None:
    for path in (f"{tree}/../a", f"{tree}", "/etc/a"):
        with pytest.raises(StoreError, match="does not lie in"):
            trees.make(tree, path, TARGET)
    assert names(tmp_path) == ["tree"]


def test_the_tree_itself_may_be_a_link(tree: str, tmp_path: Path) -> None:
    alias = tmp_path / "alias"
    alias.symlink_to(tree)
    trees.make(str(alias), f"{alias}/a.gguf", TARGET)
    assert names(tree) == ["a.gguf"]


def test_our_link_is_replaced_in_one_step(tree: str) -> None:
    path = f"{tree}/a.gguf"
    trees.make(tree, path, TARGET)
    trees.make(tree, trees.temp_path(path), OTHER)
    trees.put_in_place(tree, path, TARGET, OTHER)
    assert trees.look(tree, path) == OTHER
    assert names(tree) == ["a.gguf"]


def test_what_somebody_has_put_in_the_place_of_our_link_is_not_replaced(tree: str) -> None:
    path = Path(tree, "a.gguf")
    path.write_text("mine")
    trees.make(tree, trees.temp_path(str(path)), OTHER)
    with pytest.raises(StoreError, match="changed by somebody else"):
        trees.put_in_place(tree, str(path), TARGET, OTHER)
    assert path.read_text() == "mine"


def test_only_what_is_still_ours_is_removed(tree: str) -> None:
    link, text = Path(tree, "a.gguf"), Path(tree, "index.json")
    link.symlink_to(OTHER.content)
    text.write_bytes(b"{ }")
    trees.remove(tree, str(link), TARGET)
    trees.remove(tree, str(text), file(b"{}"))
    assert names(tree) == ["a.gguf", "index.json"]
    trees.remove(tree, str(link), OTHER)
    trees.remove(tree, str(text), file(b"{ }"))
    assert names(tree) == []


def test_removing_a_link_leaves_what_it_leads_to(tree: str, tmp_path: Path) -> None:
    source = tmp_path / "source.gguf"
    source.write_text("weights")
    thing = Thing("link", str(source))
    trees.make(tree, f"{tree}/a.gguf", thing)
    trees.remove(tree, f"{tree}/a.gguf", thing)
    assert source.read_text() == "weights"


def test_a_folder_is_removed_only_when_it_is_empty(tree: str) -> None:
    folder = Path(tree, "sub")
    trees.make(tree, str(folder), FOLDER)
    (folder / "notes.txt").write_text("mine")
    trees.remove(tree, str(folder), FOLDER)
    assert names(folder) == ["notes.txt"]
    (folder / "notes.txt").unlink()
    trees.remove(tree, str(folder), FOLDER)
    assert not folder.exists()


def test_removing_what_is_gone_is_fine(tree: str) -> None:
    trees.remove(tree, f"{tree}/a.gguf", TARGET)
    trees.remove(tree, f"{tree}/sub/a.gguf", TARGET)
    trees.remove(tree, f"{tree}/sub", FOLDER)


def test_a_text_that_was_edited_is_another_thing(tree: str) -> None:
    path = f"{tree}/index.json"
    trees.make(tree, path, file(b"{}"), b"{}")
    assert trees.look(tree, path) == file(b"{}")
    Path(path).write_bytes(b'{"mine": 1}')
    assert trees.look(tree, path) not in (None, file(b"{}"))


def test_a_large_file_or_a_pipe_is_never_read(tree: str) -> None:
    Path(tree, "big").write_bytes(bytes(70_000))
    os.mkfifo(f"{tree}/pipe")
    assert trees.look(tree, f"{tree}/big") == Thing("file")
    assert trees.look(tree, f"{tree}/pipe") == Thing("file")


def test_what_is_made_can_be_read_by_others_whatever_the_umask(tree: str) -> None:
    before = os.umask(0o077)
    try:
        trees.make(tree, f"{tree}/sub", FOLDER)
        trees.make(tree, f"{tree}/sub/index.json", file(b"{}"), b"{}")
    finally:
        os.umask(before)
    assert Path(tree, "sub").stat().st_mode & 0o777 == 0o755
    assert Path(tree, "sub", "index.json").stat().st_mode & 0o777 == 0o644


def test_a_tree_that_is_there_is_known_by_its_real_path(tree: str, tmp_path: Path) -> None:
    alias = tmp_path / "alias"
    alias.symlink_to(tree)
    device = Path(tree).stat().st_dev
    assert trees.look_at_root(str(alias), tmp_path / "models") == Root(tree, device)


def test_a_tree_in_the_models_folder_is_known_as_such(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "blobs"
    folder.mkdir(parents=True)
    found = trees.look_at_root(str(folder), tmp_path / "models")
    assert isinstance(found, Root)
    assert found.in_store


def test_a_tree_is_made_in_a_folder_that_is_there_and_nowhere_else(tmp_path: Path) -> None:
    store = tmp_path / "models"
    path = str(tmp_path / "tree")
    assert trees.look_at_root(path, store) is None
    assert reason(trees.look_at_root(f"{path}/deeper", store)) == "TreeMissing"
    trees.make_root(path)
    assert isinstance(trees.look_at_root(path, store), Root)
    trees.remove(path, path, Thing.root(1, made=True))
    assert names(tmp_path) == []


def test_a_tree_that_cannot_be_one_is_unknown(tmp_path: Path) -> None:
    store, path = tmp_path / "models", tmp_path / "tree"
    path.write_text("a file")
    assert reason(trees.look_at_root(str(path), store)) == "TreeBroken"
    path.unlink()
    path.symlink_to(tmp_path / "nowhere")
    assert reason(trees.look_at_root(str(path), store)) == "TreeBroken"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_tree_that_may_not_be_written_to_is_unknown(tree: str, tmp_path: Path) -> None:
    Path(tree).chmod(0o555)
    try:
        assert reason(trees.look_at_root(tree, tmp_path / "models")) == "TreeNotPermitted"
    finally:
        Path(tree).chmod(0o755)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_root_makes_in_somebodys_folder_is_theirs(tree: str) -> None:
    os.chown(tree, 12345, 12346)
    trees.make(tree, f"{tree}/sub", FOLDER)
    trees.make(tree, f"{tree}/sub/a.gguf", TARGET)
    trees.make(tree, f"{tree}/sub/index.json", file(b"{}"), b"{}")
    for name in ("sub", "sub/a.gguf", "sub/index.json"):
        found = os.lstat(f"{tree}/{name}")
        assert (found.st_uid, found.st_gid) == (12345, 12346)


def test_what_is_remembered_is_read_as_it_was_written() -> None:
    for thing in (TARGET, FOLDER, file(b""), Thing.root(66306, made=True), Thing("link", "a b")):
        assert Thing.parse(str(thing)) == thing
    assert Thing.root(66306, made=False).device == "66306"
    assert not Thing.root(66306, made=False).is_made
    with pytest.raises(ValueError, match="nothing that lies in a tree"):
        Thing.parse("/some/path")
