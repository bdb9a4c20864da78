"""A glance stands for a whole look at a source only where that would find the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from paddock.core.digest import digest_of
from paddock.core.observed import SourceFile, SourceMissing
from paddock.edges import sources
from paddock.edges.sources import Rules
from paddock.edges.state import FileRecord, State
from paddock.engine.glance import Glance, Glances

MOUNTED = {"/": "ext4"}
DIGEST = digest_of(b"GGUF")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "models"
    folder.mkdir()
    return folder


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    (tmp_path / "state").mkdir()
    state = State(tmp_path / "state", writable=True)
    yield state
    state.close()


@pytest.fixture
def path(folder: Path) -> str:
    (folder / "a.gguf").write_bytes(b"GGUF")
    return str(folder / "a.gguf")


class Looks:
    """Looks one after the other, and what they remember."""

    def __init__(self, state: State, rules: Rules = Rules()):  # noqa: B008  frozen
        self.state, self.rules, self.glances = state, rules, Glances()
        self.mounted = MOUNTED

    def begin(self) -> Glance:
        """Begins the next look."""
        return Glance(self.glances, self.state, self.rules, self.mounted)

    def whole(self, path: str, **more: object) -> SourceFile:
        """Looks at a source wholly, as one that was hashed, and keeps what was found."""
        found = sources.look(path)
        assert isinstance(found, tuple)
        self.state.remember_file(FileRecord(found[1], DIGEST, None, path=found[0]))
        fact = replace(SourceFile(*found, DIGEST, None), **more)  # type: ignore[arg-type]
        self.begin().remember(path, fact)
        return fact


def test_a_file_that_is_as_it_was_is_found_again_and_again(state: State, path: str) -> None:
    looks = Looks(state)
    fact = looks.whole(path)
    assert looks.begin().unchanged(path) is fact
    assert looks.begin().unchanged(path) is fact


def test_what_no_look_asks_for_is_forgotten(state: State, path: str) -> None:
    looks = Looks(state)
    looks.whole(path)
    looks.begin()
    assert looks.begin().unchanged(path) is None


def _rewritten(path: str) -> None:
    Path(path).write_bytes(b"FUGG")
    os.utime(path, ns=(1, 1))


def _replaced(path: str) -> None:
    new = Path(f"{path}.new")
    new.write_bytes(b"GGUF")
    new.rename(path)


def _linked(path: str) -> None:
    Path(path).rename(f"{path}.real")
    Path(path).symlink_to(f"{path}.real")


def _folder_linked(path: str) -> None:
    folder = Path(path).parent
    folder.rename(folder.with_name("real"))
    folder.symlink_to("real")


@pytest.mark.parametrize(
    "change",
    [os.unlink, _rewritten, _replaced, _linked, _folder_linked, os.utime],
    ids=["unlinked", "rewritten", "replaced", "linked", "folder linked", "touched"],
)
def test_a_file_that_is_any_other_is_looked_at_wholly(
    state: State, path: str, change: Callable[[str], object]
) -> None:
    looks = Looks(state)
    looks.whole(path)
    change(path)
    assert looks.begin().unchanged(path) is None


def test_what_was_found_out_since_is_looked_at_wholly(state: State, path: str) -> None:
    looks = Looks(state)
    fact = looks.whole(path)
    state.remember_file(FileRecord(fact.stat, digest_of(b"other"), None, path=path))
    assert looks.begin().unchanged(path) is None


@pytest.mark.parametrize("proof", ["sampled", "claimed"])
def test_a_digest_that_was_not_computed_is_no_base_for_a_glance(
    state: State, path: str, proof: str
) -> None:
    looks = Looks(state)
    looks.whole(path, proof=proof)
    assert looks.begin().unchanged(path) is None


def test_what_a_link_leads_to_is_looked_at_wholly(state: State, path: str) -> None:
    looks = Looks(state)
    link = f"{path}.link"
    Path(link).symlink_to(path)
    looks.whole(link)
    assert looks.begin().unchanged(link) is None


def test_what_may_hang_or_is_a_mount_of_its_own_is_not_glanced_at(state: State, path: str) -> None:
    looks = Looks(state)
    for mounted in (
        {"/": "nfs4"},
        {**MOUNTED, path: "ext4"},
        {**MOUNTED, str(Path(path).parent): "fuse"},
    ):
        looks.whole(path)
        looks.mounted = mounted
        assert looks.begin().unchanged(path) is None


def test_what_is_ollamas_own_is_not_glanced_at(state: State, tmp_path: Path) -> None:
    store = tmp_path.resolve() / "store"
    (store / "blobs").mkdir(parents=True)
    blob = store / "blobs" / "sha256-aa"
    blob.write_bytes(b"GGUF")
    looks = Looks(state, Rules(store=str(store)))
    looks.whole(str(blob))
    assert looks.begin().unchanged(str(blob)) is None


def test_where_rules_say_who_may_read_what_every_look_is_whole(state: State, path: str) -> None:
    looks = Looks(state, Rules(roots=("/",)))
    looks.whole(path)
    assert looks.begin().unchanged(path) is None


def test_what_is_missing_is_not_remembered(state: State, path: str) -> None:
    looks = Looks(state)
    looks.begin().remember(path, SourceMissing("gone"))
    assert looks.begin().unchanged(path) is None
