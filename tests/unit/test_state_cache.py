"""What is read of the ledger once, and read again whenever anybody changed it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gguf_files import model_bytes
from paddock.core.digest import digest_of
from paddock.core.names import Name
from paddock.core.observed import FileStat, ProbeAnswer
from paddock.edges.sources import read_facts
from paddock.edges.state import FileRecord, State, caches
from paddock.edges.state.database import _ROWS

A = Name.parse("a")


def test_a_ledger_that_nobody_changed_is_one_object(tmp_path: Path) -> None:
    state = State(tmp_path, writable=True)
    state.adopt([A])
    assert state.ledger() is state.ledger()
    state.close()


CHANGES: list[Callable[[State], object]] = [
    lambda state: state.claim([A]),
    lambda state: state.pause(A),
    lambda state: state.record_blob(digest_of(b"x"), A),
    lambda state: state.record_runner(digest_of(b"x"), digest_of(b"y")),
    lambda state: state.withdraw(A),
    lambda state: state.record_discovered({("/m", "a.gguf"): A}, {"/m": 1}),
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_we_change_is_in_the_next_one(
    tmp_path: Path, change: Callable[[State], object]
) -> None:
    state = State(tmp_path, writable=True)
    before = state.ledger()
    change(state)
    assert state.ledger() != before
    again = State(tmp_path, writable=False)
    assert again.ledger() == state.ledger()
    again.close()
    state.close()


def test_what_another_process_changes_is_in_the_next_one(tmp_path: Path) -> None:
    """A second connection stands for it: SQLite tells the two apart in no way that counts here."""
    ours, others = State(tmp_path, writable=True), State(tmp_path, writable=True)
    assert ours.ledger().paused == frozenset()
    others.pause(A)
    assert ours.ledger().paused == {A}
    others.close()
    ours.close()


def test_another_id_of_the_store_is_another_ledger(tmp_path: Path) -> None:
    state = State(tmp_path, writable=True)
    before = state.ledger()
    (tmp_path / "id").write_text("f" * 32)
    assert state.ledger().store_id == "f" * 32 != before.store_id
    state.close()


def test_more_rows_than_are_read_at_once_are_all_there(tmp_path: Path) -> None:
    state = State(tmp_path, writable=True)
    names = {Name.parse(f"m{number}") for number in range(2 * _ROWS + 1)}
    state.claim(names)
    assert state.ledger().owned.keys() == names
    state.close()


def test_files_with_the_same_header_share_what_is_known_of_it(tmp_path: Path) -> None:
    """Of a thousand files of one kind that is most of what a daemon would hold."""
    gguf = tmp_path / "a.gguf"
    gguf.write_bytes(model_bytes())
    facts = read_facts(str(gguf))
    stats = [FileStat(1, number, 4, 0, 0) for number in (1, 2)]
    state = State(tmp_path, writable=True)
    for stat in stats:
        state.remember_file(FileRecord(stat, digest_of(os.urandom(4)), facts))
    state.close()
    again = State(tmp_path, writable=True)
    one, other = (again.file(stat) for stat in stats)
    assert one is not None
    assert other is not None
    assert one.facts == facts
    assert one.facts is other.facts
    assert one.digest != other.digest
    again.close()


def test_of_too_many_files_and_probes_the_oldest_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon runs for months, and each edit of a file asks Ollama anew."""
    monkeypatch.setattr(caches, "MAX_FILES", 3)
    monkeypatch.setattr(caches, "MAX_PROBES", 3)
    stats = [FileStat(1, inode, 10, 10, 10) for inode in range(5)]
    keys = [digest_of(bytes([number])) for number in range(5)]
    state = State(tmp_path, writable=True)
    for number, (stat, key) in enumerate(zip(stats, keys, strict=True)):
        path = "/a" if number in {0, 4} else f"/{number}"
        state.remember_file(FileRecord(stat, key, None, path=path))
        state.remember_probe(key, ProbeAnswer(b"", ()))
    again = State(tmp_path, writable=False)
    for known in (state, again):
        assert [known.file(stat) is not None for stat in stats] == [False, False, True, True, True]
        assert sorted(known.probes()) == sorted(keys[2:])
        assert known.file_before("/a", FileStat(2, 4, 10, 10, 10)) is not None
        assert known.file_before("/1", FileStat(2, 1, 10, 10, 10)) is None
        known.close()
