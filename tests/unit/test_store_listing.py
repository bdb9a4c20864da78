"""A listing says what lies below a folder now, and looks into no folder that stands."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from paddock.edges.store import listing
from paddock.edges.store.listing import SETTLED_NS, Listing
from paddock.errors import StoreError

Looked = list[str]


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> Looked:
    """The folders whose names were asked for."""
    asked: Looked = []
    real = os.listdir

    def listdir(folder: str) -> list[str]:
        asked.append(folder)
        return real(folder)

    monkeypatch.setattr(listing.os, "listdir", listdir)
    return asked


@pytest.fixture
def top(tmp_path: Path) -> Path:
    for model in ("a", "b"):
        (tmp_path / "top" / model).mkdir(parents=True)
        (tmp_path / "top" / model / "latest").touch()
        _settle(tmp_path / "top" / model)
    return tmp_path / "top"


def _settle(folder: Path) -> None:
    then_ns = time.time_ns() - 10 * SETTLED_NS
    os.utime(folder, ns=(then_ns, then_ns))


def _below(listing: Listing, top: Path) -> set[str]:
    return {str(Path(path).relative_to(top)) for path in listing.paths()}


def test_folders_that_stand_are_not_looked_into_again(top: Path, looked: Looked) -> None:
    listing = Listing(top, 2)
    assert _below(listing, top) == _below(listing, top) == {"a/latest", "b/latest"}
    assert sorted(looked) == [str(top / "a"), str(top / "b")]


@pytest.mark.parametrize(
    ("change", "then"),
    [
        (lambda a: (a / "new").touch(), {"a/latest", "a/new", "b/latest"}),
        (lambda a: (a / "latest").unlink(), {"b/latest"}),
        (lambda a: (a / "latest").rename(a / "v1"), {"a/v1", "b/latest"}),
        (lambda a: (a / "latest").rename(a.parent / "b" / "v1"), {"b/latest", "b/v1"}),
        (lambda a: a.rename(a.parent / "c"), {"c/latest", "b/latest"}),
    ],
)
def test_what_changes_in_a_folder_is_seen_at_once(
    top: Path, change: Callable[[Path], object], then: set[str]
) -> None:
    listing = Listing(top, 2)
    listing.paths()
    change(top / "a")
    assert _below(listing, top) == then


def test_a_change_that_leaves_the_modification_time_as_it_was_is_seen(top: Path) -> None:
    listing = Listing(top, 2)
    listing.paths()
    before = (top / "a").stat()
    (top / "a" / "new").touch()
    os.utime(top / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "a/new" in _below(listing, top)


def test_a_folder_that_changed_a_moment_ago_is_looked_into_again(top: Path, looked: Looked) -> None:
    """Another change within the same tick of the file system's clock would not show."""
    listing = Listing(top, 2)
    os.utime(top / "a")
    for _ in range(3):
        listing.paths()
    assert looked.count(str(top / "a")) == 3
    assert looked.count(str(top / "b")) == 1


def test_folders_that_are_gone_are_forgotten(top: Path) -> None:
    listing = Listing(top, 2)
    listing.paths()
    (top / "a" / "latest").unlink()
    (top / "a").rmdir()
    listing.paths()
    assert list(listing._known) == [str(top / "b")]


def test_without_the_top_there_is_nothing_and_a_file_in_its_place_is_told(tmp_path: Path) -> None:
    assert Listing(tmp_path / "none", 4).paths() == []
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="is not a folder"):
        Listing(tmp_path / "file", 1).paths()
