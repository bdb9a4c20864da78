"""What is left of a ledger that was lost: what manifests say by their marks, learnt once."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from paddock.core.conditions import condition
from paddock.core.digest import digest_of
from paddock.core.drift import is_repair
from paddock.core.manifest import GENERATION_MARK, NAME_MARK, STORE_MARK, Descriptor, Manifest
from paddock.core.model_status import Cycle
from paddock.core.names import Name
from paddock.core.observed import ManifestFile, Owned, RegularBlob
from paddock.core.summarize import summarize
from paddock.edges.state import State, read_state, set_aside
from worlds import World, desire, gguf

A, B = Name.parse("a"), Name.parse("b")
BLOB = digest_of(b"text")
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MODELS = {"a": {"source": {"gguf": "/m/a.gguf"}}}


def marked(name: Name, store_id: str | None) -> ManifestFile:
    marks = {NAME_MARK: name.full, STORE_MARK: store_id or "", GENERATION_MARK: "3"}
    manifest = Manifest(Descriptor("config", BLOB, 4), (), marks)
    digest = digest_of(manifest.encode())
    return ManifestFile(digest, frozenset({digest}), manifest)


def test_a_new_ledger_learns_once(tmp_path: Path) -> None:
    state = State(tmp_path, writable=True)
    store_id = state.ledger().store_id
    assert state.rebuild({A: marked(A, store_id), B: marked(A, store_id)}) == [A]
    assert state.rebuild({B: marked(B, store_id)}) == []
    found = state.ledger()
    assert found.owned == {A: Owned(3, rebuilt=True)}
    assert found.blobs == {BLOB: A}
    state.close()
    again = State(tmp_path, writable=True)
    assert again.ledger() == found
    again.adopt([A])
    assert again.ledger().owned == {A: Owned(3)}
    again.close()


def test_a_new_ledger_that_has_not_learnt_yet_does_so_at_the_next_start(tmp_path: Path) -> None:
    state = State(tmp_path, writable=True)
    store_id = state.ledger().store_id
    state.adopt([A])
    state.close()
    again = State(tmp_path, writable=True)
    again.rebuild({A: marked(A, store_id), B: marked(B, store_id)})
    assert again.ledger().owned == {A: Owned(0), B: Owned(3, rebuilt=True)}
    again.close()


def test_a_ledger_of_an_older_paddock_has_nothing_to_learn(tmp_path: Path) -> None:
    State(tmp_path, writable=True).close()
    with closing(sqlite3.connect(tmp_path / "state.db")) as db, db:
        db.execute("ALTER TABLE owned DROP COLUMN rebuilt")
        for table in ("rebuild", "sizes", "load_times", "held"):
            db.execute(f"DROP TABLE {table}")
        db.execute("INSERT INTO owned VALUES (?, 7)", (A.full,))
        db.execute("PRAGMA user_version = 2")
    state = State(tmp_path, writable=True)
    assert state.ledger().owned == {A: Owned(7)}
    assert state.rebuild({B: marked(B, state.ledger().store_id)}) == []
    state.close()


def test_what_is_read_only_learns_in_memory(tmp_path: Path) -> None:
    State(tmp_path, writable=True).close()
    (tmp_path / "state.db").unlink()
    state = read_state(tmp_path)
    state.rebuild({A: marked(A, state.ledger().store_id)})
    assert state.ledger().owned == {A: Owned(3, rebuilt=True)}
    assert not (tmp_path / "state.db").exists()
    state.close()


def test_a_new_file_that_has_not_learnt_yet_is_read_without_a_write(tmp_path: Path) -> None:
    State(tmp_path, writable=True).close()
    before = (tmp_path / "state.db").read_bytes()
    state = read_state(tmp_path)
    assert state.rebuild({A: marked(A, state.ledger().store_id)}) == [A]
    assert state.rebuild({A: marked(A, state.ledger().store_id)}) == []
    assert state.ledger().owned == {A: Owned(3, rebuilt=True)}
    state.close()
    assert (tmp_path / "state.db").read_bytes() == before


def test_without_an_id_no_mark_counts(tmp_path: Path) -> None:
    state = read_state(tmp_path)
    assert state.rebuild({A: marked(A, None)}) == []
    state.close()


def test_what_is_set_aside_never_takes_the_place_of_another(tmp_path: Path) -> None:
    for number, name in enumerate(["", "-2", "-3"]):
        (tmp_path / "state.db").write_text(str(number))
        (tmp_path / "state.db-journal").write_text(f"journal {number}")
        kept = set_aside(tmp_path, AT)
        assert kept == tmp_path / f"state.db.corrupt-20260102T030405Z{name}"
        assert kept.read_text() == str(number)
        assert kept.with_name(f"{kept.name}-journal").read_text() == f"journal {number}"
        assert not (tmp_path / "state.db-journal").exists()


@pytest.fixture
def world() -> World:
    world = World()
    world.put("/m/a.gguf", "A")
    world.converge(desire(MODELS))
    return world


def _told(world: World, kind: str) -> tuple[str, str]:
    desired = desire(MODELS)
    cycle = Cycle(desired, world.at, world.observe(desired), world.plan(desired))
    status = summarize(cycle)
    found = condition((*status.conditions, *status.models[0].conditions[1:]), kind)
    return found.status, found.reason


def test_a_lost_ledger_is_told_by_a_condition_of_its_own(world: World) -> None:
    world.lose_ledger()
    assert _told(world, "LedgerIntact") == ("False", "LedgerRebuilt")
    assert _told(world, "Ready") == ("True", "Converged")


def test_a_real_file_in_the_place_of_our_link_is_told(world: World) -> None:
    assert _told(world, "BlobsPresent") == ("True", "AllPresent")
    world.blobs[gguf("A")] = RegularBlob(1_000_000_000)
    assert _told(world, "BlobsPresent") == ("True", "BlobReplaced")


def test_only_what_puts_drift_right_is_counted(world: World) -> None:
    new = World()
    new.put("/m/a.gguf", "A")
    counted: list[str] = []
    for _ in range(4):
        plan = new.plan(desire(MODELS))
        counted += [action.reason for action in plan.actions if is_repair(action)]
        new.apply(plan)
    assert counted == []
    del world.blobs[gguf("A")]
    plan = world.plan(desire(MODELS))
    assert [action.reason for action in plan.actions if is_repair(action)] == ["LinkMissing"]
