"""The publish entries of models.yaml: read from every file, and bad ones told of at their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock.core.resolve import resolve
from paddock.core.tree_facts import Layout, Tree
from paddock.edges.specfile import load_spec
from spec_texts import complaints, load, write

NONE = "version: 1\nmodels: {}\n"


def trees(folder: Path, text: str) -> tuple[Tree, ...]:
    return resolve(load(folder, NONE + text).spec, "models.yaml").publish


def test_an_entry_needs_a_path_alone(tmp_path: Path) -> None:
    assert trees(tmp_path, "publish: [{path: /t}]\n") == (Tree("/t", Layout.DIRECTORY, ("*",)),)


def test_an_entry_says_all_that_it_can(tmp_path: Path) -> None:
    entry = "{path: ~/t, layout: lmstudio, include: [a, 'b*'], exclude: c}"
    expected = Tree("/home/alice/t", Layout.LMSTUDIO, ("a", "b*"), ("c",))
    assert trees(tmp_path, f"publish:\n  - {entry}\n") == (expected,)


def test_no_entry_is_no_tree(tmp_path: Path) -> None:
    assert trees(tmp_path, "") == trees(tmp_path, "publish: []\n") == ()


def test_a_relative_path_is_relative_to_its_file(tmp_path: Path) -> None:
    assert trees(tmp_path, "publish: [{path: ./t/}]\n")[0].path == f"{tmp_path}/t"


def test_the_entries_of_the_files_of_a_folder_add_up(tmp_path: Path) -> None:
    folder = tmp_path / "models.d"
    folder.mkdir()
    write(folder, NONE + "publish: [{path: ./t}]\n", "a.yaml")
    write(folder, NONE + "publish: [{path: /u}, {path: /v}]\n", "b.yaml")
    found = resolve(load_spec(folder, {}).spec, "models.d").publish
    assert [tree.path for tree in found] == [f"{folder}/t", "/u", "/v"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("publish:\n", "3:9: publish: must be a list of folders, not empty"),
        ("publish: {path: x}\n", "3:10: publish: must be a list of folders, not a mapping"),
        (
            "publish: [x]\n",
            (
                "3:11: publish[0]: must be a mapping, not text; "
                "write {path: FOLDER, layout: directory}"
            ),
        ),
        ("publish: [{layout: lmstudio}]\n", "3:11: publish[0].path: is missing; write path: TEXT"),
        (
            "publish: [{path: x, layout: lmstudoi}]\n",
            (
                "3:29: publish[0].layout: must be one of directory, lmstudio, transformerlab; "
                'did you mean "lmstudio"?'
            ),
        ),
        (
            "publish: [{path: x, inclde: [a]}]\n",
            '3:21: publish[0].inclde: unknown key; did you mean "include"?',
        ),
        (
            "publish: [{path: x, include: ['']}]\n",
            "3:31: publish[0].include[0]: must not be empty; write a value, or remove it",
        ),
        (
            "publish: [{path: 'http://x/y'}]\n",
            (
                "3:18: publish[0].path: must be a path on this host, not an address; "
                "download the file first"
            ),
        ),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, text: str, expected: str) -> None:
    assert complaints(write(tmp_path, NONE + text)) == [f"models.yaml:{expected}"]
