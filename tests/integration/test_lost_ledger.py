"""A ledger that is lost or damaged loses only the right to prune: the manifests tell the rest."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gguf_files import model_bytes
from paddock_cli import User
from real import StartOllama
from snapshots import Entry, store_snapshot

TINY = "  tiny:\n    source: {gguf: ./tiny.gguf}\n"
OTHER = "  other:\n    source: {gguf: ./tiny.gguf}\n    system: Other.\n"
PRUNE = "version: 1\nprune: true\nmodels:\n"
LOST = "the ledger was lost, and manifests alone say that these are paddock's: other, tiny"


def _state(user: User) -> Path:
    return user.server.models_dir / ".paddock"


def _delete(user: User) -> None:
    (_state(user) / "state.db").unlink()


def _corrupt(user: User) -> None:
    (_state(user) / "state.db").write_bytes(b"not a database, but a few words")


LOSSES: dict[str, Callable[[User], None]] = {"deleted": _delete, "corrupt": _corrupt}


@pytest.fixture
def owner(user: User) -> User:
    """A user with two small models over one file, in a store with one of somebody else."""
    tiny = user.folder / "tiny.gguf"
    tiny.write_bytes(model_bytes())
    os.utime(tiny, (1, 1))
    user.declare(TINY + OTHER)
    user.apply()
    user.server.cli("cp", "tiny", "theirs")
    return user


@pytest.fixture(params=LOSSES)
def loser(owner: User, request: pytest.FixtureRequest) -> User:
    """The same, whose ledger is lost in one of the ways."""
    LOSSES[request.param](owner)
    return owner


def _blobs(user: User) -> set[str]:
    return {path.name for path in (user.server.models_dir / "blobs").iterdir()}


def _host(user: User) -> dict[str, Any]:
    document = user.paddock("status", "-o", "json").json
    return {c["type"]: c for c in document["conditions"]}


def _store(user: User) -> dict[str, Entry]:
    """What lies in the store; a probe, whose answer was lost too, leaves new times behind."""
    return {
        path: entry if path.startswith("manifests/registry") else entry._replace(mtime_ns=0)
        for path, entry in store_snapshot(user.server.models_dir).items()
        if entry.kind != "folder" and not path.startswith("metadata/")
    }


def test_a_store_that_is_as_declared_stays_as_it_is(loser: User) -> None:
    before = _store(loser)
    plan = loser.paddock("plan", "--detailed-exitcode")
    assert LOST in plan.out
    result = loser.apply()
    assert "ledger rebuilt" in result.err
    assert _store(loser) == before
    assert {status for status, _ in loser.statuses().values()} == {"True"}
    told = _host(loser)["LedgerIntact"]
    assert (told["status"], told["reason"]) == ("False", "LedgerRebuilt")
    assert LOST in told["message"]


def test_its_models_are_repaired_and_updated(loser: User) -> None:
    [link] = [p for p in (loser.server.models_dir / "blobs").iterdir() if p.is_symlink()]
    link.unlink()
    loser.declare(f"{TINY}    system: Mine.\n{OTHER}")
    loser.apply()
    assert link.is_symlink()
    assert loser.server.show("tiny")["system"] == "Mine."
    before = _blobs(loser)
    loser.declare(f"{TINY}    system: Other words.\n{OTHER}")
    loser.apply()
    assert len(_blobs(loser)) == len(before), "the text that nothing names any more is gone"


def test_nothing_is_pruned_before_it_is_adopted(loser: User) -> None:
    loser.declare(TINY, head=PRUNE)
    result = loser.apply(code=3)
    assert "paddock adopt other (NotAdopted)" in result.out
    assert set(loser.server.tags()) == {"tiny:latest", "other:latest", "theirs:latest"}
    assert _host(loser)["Ready"]["reason"] == "NotAdopted"
    assert loser.apply("--prune", code=3).out.count("NotAdopted") == 1
    loser.declare(TINY + OTHER, head=PRUNE)
    assert loser.paddock("adopt", "other").code == 0
    loser.declare(TINY, head=PRUNE)
    loser.apply()
    assert set(loser.server.tags()) == {"tiny:latest", "theirs:latest"}


def test_absent_removes_nothing_before_it_is_adopted(loser: User) -> None:
    loser.declare("  tiny: {state: absent}\n")
    assert "paddock adopt tiny (NotAdopted)" in loser.apply(code=3).out
    assert "tiny:latest" in loser.server.tags()
    assert loser.statuses() == {"tiny": ("False", "NotAdopted")}
    assert loser.paddock("adopt", "tiny").code == 0
    loser.apply()
    assert "tiny:latest" not in loser.server.tags()


def test_adopt_before_anything_else_loses_no_other_model(owner: User) -> None:
    """The new ledger that it makes has still to learn from the manifests."""
    _delete(owner)
    assert owner.paddock("adopt", "tiny").code == 0
    owner.declare("  tiny: {state: absent}\n  other: {state: absent}\n")
    result = owner.apply(code=3)
    assert "paddock adopt other (NotAdopted)" in result.out
    assert "tiny:latest" not in owner.server.tags()


def test_a_model_that_is_made_anew_needs_no_adoption(loser: User) -> None:
    loser.apply()
    loser.server.api("DELETE", "/api/delete", {"model": "tiny"})
    loser.apply()
    loser.declare(f"  tiny: {{state: absent}}\n{OTHER}")
    loser.apply()
    assert "tiny:latest" not in loser.server.tags()


def test_a_copy_that_somebody_made_stays_theirs(loser: User) -> None:
    """`ollama cp` copies our marks, with the other name in them."""
    loser.declare("  theirs:\n    source: {gguf: ./tiny.gguf}\n    system: Mine.\n")
    assert "paddock adopt theirs (NotOwned)" in loser.apply(code=3).out
    assert "system" not in loser.server.show("theirs")


def test_with_the_id_gone_as_well_nothing_is_ours(owner: User) -> None:
    shutil.rmtree(_state(owner))
    before = _store(owner)
    owner.declare(f"{TINY}{OTHER}".replace("Other.", "Changed."))
    result = owner.apply(code=3)
    assert owner.statuses() == {"tiny": ("True", "AsDeclared"), "other": ("False", "NotOwned")}
    assert "paddock adopt other (NotOwned)" in result.out
    assert _store(owner) == before
    assert "LedgerIntact" not in _host(owner)
    owner.declare(TINY, head=PRUNE)
    owner.apply()
    assert "other:latest" in owner.server.tags()


def test_the_marks_of_another_store_count_for_nothing(
    owner: User, start_ollama: StartOllama
) -> None:
    """A copy of a store without its `.paddock` is a store of its own."""
    second = start_ollama()
    second.stop()
    shutil.rmtree(second.models_dir)
    ignored = shutil.ignore_patterns(".paddock")
    shutil.copytree(owner.server.models_dir, second.models_dir, symlinks=True, ignore=ignored)
    second.start()
    owner.server = second
    owner.declare("  other: {state: absent}\n")
    assert "paddock adopt other (NotOwned)" in owner.apply(code=3).out
    assert "other:latest" in second.tags()
    marks = _annotations(owner, "other")
    assert (_state(owner) / "id").read_text() not in marks.values()


def _annotations(user: User, model: str) -> dict[str, str]:
    path = user.server.models_dir / f"manifests/registry.ollama.ai/library/{model}/latest"
    found: dict[str, str] = json.loads(path.read_bytes())["annotations"]
    return found


def test_a_daemon_starts_with_a_damaged_ledger_and_says_so(owner: User) -> None:
    _corrupt(owner)
    with owner.daemon() as daemon:
        daemon.wait_ready()
        assert daemon.condition("LedgerIntact") == ("False", "LedgerRebuilt")
        assert "ledger set aside" in daemon.log_text()
        assert owner.paddock("adopt", "tiny", "other").code == 0
        said = "the ledger is damaged for the life of this daemon alone"
        daemon.wait(lambda: daemon.condition("LedgerIntact")[1] == "LedgerCorrupt", said)
    assert [path.name[:17] for path in _state(owner).glob("state.db.*")] == ["state.db.corrupt-"]
    assert owner.apply().out.startswith("No changes.")
    assert "LedgerIntact" not in _host(owner)
