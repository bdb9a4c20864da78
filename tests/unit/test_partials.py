"""What is left of broken-off pulls is removed only where Ollama cannot read it any more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from paddock.edges.store.partials import clear_broken

ONE, TWO = f"sha256-{'1' * 64}", f"sha256-{'2' * 64}"
NOTE = '{"N":0,"Offset":0,"Size":9,"Completed":3}\n'


def _put(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name
        path.write_text(text)
        os.utime(path, (0, 0))


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("note", ["", '{"N":0,"Off', "[]"])
def test_a_blob_with_a_broken_note_loses_all_its_parts_and_no_other_does(
    tmp_path: Path, note: str
) -> None:
    """Ollama takes the parts that it finds for the whole: one alone must not stay."""
    mine = {f"{ONE}-partial": "x", f"{ONE}-partial-0": NOTE, f"{ONE}-partial-10": note}
    others = {f"{TWO}-partial": "x", f"{TWO}-partial-0": NOTE, TWO: "blob", ONE: ""}
    _put(tmp_path, **mine, **others)
    assert clear_broken(tmp_path) == sorted(mine)
    assert _names(tmp_path) == set(others)


def test_a_note_that_is_being_written_stays(tmp_path: Path) -> None:
    (tmp_path / f"{ONE}-partial-0").write_text("")
    assert clear_broken(tmp_path) == []


def test_a_broken_note_from_before_the_clock_was_put_back_goes(tmp_path: Path) -> None:
    note = tmp_path / f"{ONE}-partial-0"
    note.write_text("")
    os.utime(note, (4e9, 4e9))
    assert clear_broken(tmp_path) == [note.name]


def test_what_only_looks_like_a_note_stays(tmp_path: Path) -> None:
    names = [f"{ONE}-partial-x", f"{ONE[:-1]}-partial-0", "x-partial-0", f"{ONE}-partial"]
    _put(tmp_path, **dict.fromkeys(names, ""))
    _put(tmp_path, **{f"{TWO}-partial-0": "x" * 5000})
    assert clear_broken(tmp_path) == []


def test_a_store_without_blobs_has_nothing_to_clear(tmp_path: Path) -> None:
    assert clear_broken(tmp_path / "blobs") == []
