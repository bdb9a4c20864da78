"""What lies in `.paddock` may be broken, planted or newer: one line, and nothing is changed."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gguf_files import model_bytes
from guests import prefix_of_nobody, serving_as_nobody
from paddock_cli import Result, User, run
from provider import RealPaths
from snapshots import store_snapshot

TINY = "  tiny:\n    source: {gguf: ./tiny.gguf}\n"


@pytest.fixture
def owner(user: User) -> User:
    """A user with a small model, linked."""
    tiny = user.folder / "tiny.gguf"
    tiny.write_bytes(model_bytes())
    os.utime(tiny, (1, 1))
    user.declare(TINY)
    user.apply()
    return user


def _state(user: User) -> Path:
    return user.server.models_dir / ".paddock"


def _line(result: Result) -> str:
    """The one line on stderr of a command that could do nothing."""
    assert (result.code, result.out) == (1, ""), result
    [line] = result.err.splitlines()
    assert line.startswith("paddock: ")
    return line


def _everything(user: User) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in _state(user).rglob("*") if p.is_file()}


def _facts(folder: Path) -> dict[Path, tuple[int, ...]]:
    found = {path: path.lstat() for path in folder.rglob("*")}
    return {p: (f.st_mode, f.st_uid, f.st_gid, f.st_mtime_ns) for p, f in found.items()}


@pytest.mark.parametrize("command", ["apply", "run"])
def test_a_file_in_the_place_of_the_folder_is_told_and_kept(owner: User, command: str) -> None:
    shutil.rmtree(_state(owner))
    _state(owner).write_text("mine")
    before = store_snapshot(owner.server.models_dir)
    line = _line(owner.paddock(command))
    assert f"cannot write {_state(owner)}/tmp: not a directory; " in line
    assert line.endswith("a file stands where a folder must be; move it away")
    assert _state(owner).read_text() == "mine"
    assert store_snapshot(owner.server.models_dir) == before
    assert owner.paddock("plan").code == 0, "a plan needs no folder"


@pytest.mark.parametrize("part", [".", "tmp"])
@pytest.mark.parametrize("command", [["apply"], ["adopt", "tiny"]])
def test_a_link_in_the_place_of_a_folder_is_not_followed(
    owner: User, part: str, command: list[str]
) -> None:
    """As root we would remove what lies there, and give it to the owner of the store."""
    elsewhere = owner.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "tmp").mkdir()
    for path in (elsewhere / "precious", elsewhere / "tmp" / "precious"):
        path.write_text("mine")
        if os.geteuid() == 0:
            os.chown(path, 1, 1)
    before = _facts(elsewhere)
    link = _state(owner) / part if part != "." else _state(owner)
    shutil.rmtree(link)
    link.symlink_to(elsewhere)
    assert _line(owner.paddock(*command)).endswith(
        f"{link} is a link; move it away, and a folder is made there"
    )
    assert _facts(elsewhere) == before


def test_the_lock_is_not_written_through_a_link(owner: User) -> None:
    precious = owner.folder / "precious"
    precious.write_text("mine")
    lock = _state(owner) / "lock"
    lock.unlink()
    lock.symlink_to(precious)
    line = _line(owner.paddock("apply"))
    assert f"cannot write {lock}: too many levels of symbolic links; " in line
    assert line.endswith("a link stands where none may be; remove it")
    assert precious.read_text() == "mine"


def _garbage(state: Path) -> None:
    (state / "state.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 4096)


def _cut(state: Path) -> None:
    os.truncate(state / "state.db", 5000)


def _another_database(state: Path) -> None:
    (state / "state.db").unlink()
    with sqlite3.connect(state / "state.db") as db:
        db.execute("CREATE TABLE owned (something TEXT)")
        db.execute("PRAGMA user_version = 1")
    db.close()


def _execute(statement: str) -> Callable[[Path], None]:
    def change(state: Path) -> None:
        with sqlite3.connect(state / "state.db") as db:
            db.execute(statement)
        db.close()

    return change


def _folder(state: Path) -> None:
    (state / "state.db").unlink()
    (state / "state.db").mkdir()


DAMAGES: dict[str, Callable[[Path], None]] = {
    "garbage": _garbage,
    "cut short": _cut,
    "another database": _another_database,
    "a name that climbs": _execute("INSERT INTO owned VALUES ('../../../etc/passwd', 0, 0)"),
    "a digest that climbs": _execute("INSERT INTO blobs VALUES ('sha256:../../x', 'h/n/m:t')"),
    "a manifest that is none": _execute("INSERT INTO pulled VALUES ('h/n/m:t', 'x', x'00')"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_ledger_is_set_aside_and_told(owner: User, case: str) -> None:
    """What test_lost_ledger.py says of a new one holds then."""
    DAMAGES[case](_state(owner))
    before = _everything(owner)
    damaged = (_state(owner) / "state.db").read_bytes()
    store = store_snapshot(owner.server.models_dir)
    plan = owner.paddock("plan")
    assert plan.code == 0, plan
    assert f"note: {_state(owner)}/state.db is damaged (" in plan.out
    assert _everything(owner) == before, "a plan writes nothing"
    result = owner.apply()
    assert "Traceback" not in result.err
    assert "ledger set aside" in result.err
    assert "ledger rebuilt" in result.err
    [kept] = _state(owner).glob("state.db.corrupt-*")
    assert kept.read_bytes() == damaged
    assert store_snapshot(owner.server.models_dir).keys() == store.keys()
    assert owner.server.show("tiny")
    again = owner.apply()
    assert "set aside" not in again.err
    assert list(_state(owner).glob("state.db.corrupt-*")) == [kept]


def test_a_damaged_row_of_what_was_found_out_costs_itself_alone(owner: User) -> None:
    """The ledger in the same file is not to be had again."""
    assert owner.paddock("pause", "tiny").code == 0
    for statement in (
        "INSERT INTO probes VALUES ('sha256:0', '[]')",
        "UPDATE probes SET answer = 'none'",
        "UPDATE files SET digest = 'sha256:../../x'",
        "INSERT INTO files VALUES ('x', 'y', 1, 1, 1, NULL, NULL, 1, NULL, NULL)",
    ):
        _execute(statement)(_state(owner))
    result = owner.apply()
    assert "set aside" not in result.err
    assert owner.statuses() == {"tiny": ("Unknown", "Suspended")}, "the pause was not forgotten"
    assert owner.paddock("resume", "tiny").code == 0
    owner.apply()
    assert owner.statuses() == {"tiny": ("True", "AsDeclared")}
    assert owner.apply().out.startswith("No changes.")
    assert list(_state(owner).glob("state.db.corrupt-*")) == []


def test_a_folder_in_the_place_of_the_ledger_is_told_and_kept(owner: User) -> None:
    _folder(_state(owner))
    for command in ("plan", "apply"):
        assert "state.db" in _line(owner.paddock(command))
    assert list((_state(owner) / "state.db").iterdir()) == []


def test_adopt_and_a_damaged_ledger(owner: User) -> None:
    """It does not hold the store, so it may set nothing aside."""
    _garbage(_state(owner))
    before = _everything(owner)
    assert "the next start of paddock run or apply sets it aside" in _line(
        owner.paddock("adopt", "tiny")
    )
    assert _everything(owner) == before


def test_a_ledger_of_a_newer_paddock_is_left_alone(owner: User) -> None:
    _execute("PRAGMA user_version = 4242")(_state(owner))
    before = _everything(owner)
    for command in ("plan", "apply"):
        line = _line(owner.paddock(command))
        assert f"{_state(owner)}/state.db was written by " in line
        assert "(format 4242)" in line
    after = _everything(owner)
    assert {p: t for p, t in after.items() if "/lock" not in p} == {
        p: t for p, t in before.items() if "/lock" not in p
    }


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\0", b"x" * 100_000, b"a\nb"])
def test_without_its_id_a_store_keeps_its_models(owner: User, content: bytes | None) -> None:
    """The id marks our manifests; it is made anew where it cannot be one."""
    path = _state(owner) / "id"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    owner.apply()
    assert list(owner.server.tags()) == ["tiny:latest"]
    assert len(path.read_text()) == 32, "a new id"
    assert owner.apply().out.startswith("No changes.")
    owner.declare("  tiny: {state: absent}\n")
    owner.apply()
    assert owner.server.tags() == {}


@pytest.fixture
def as_nobody() -> list[str]:
    """The beginning of a command that runs the rest as nobody."""
    return prefix_of_nobody()


@pytest.fixture
def guest(real: RealPaths) -> Iterator[User]:
    """A user with a small model beside a server that runs as nobody."""
    with serving_as_nobody(real) as server:
        user = User(server.folder / "user", server)
        (user.folder / "tiny.gguf").write_bytes(model_bytes())
        os.utime(user.folder / "tiny.gguf", (1, 1))
        user.declare(TINY)
        yield user


@pytest.mark.parametrize("part", [".paddock", ".paddock/tmp"])
def test_a_folder_of_ours_that_may_not_be_written_is_told(
    guest: User, as_nobody: list[str], part: str
) -> None:
    folder = guest.server.models_dir / part
    first = run(["apply"], guest.environment, prefix=as_nobody, cwd=Path("/"))
    assert first.code == 0, first
    folder.chmod(0o555)
    guest.declare(TINY + "    system: Be kind.\n")
    result = run(["apply"], guest.environment, prefix=as_nobody, cwd=Path("/"))
    line = _line(result)
    hint = "see who owns the folder that it lies in, and its mode"
    assert line == f"paddock: cannot write {folder}: permission denied; {hint}"


def test_a_manifest_that_we_may_not_read_costs_its_own_model_only(
    guest: User, as_nobody: list[str]
) -> None:
    first = run(["apply"], guest.environment, prefix=as_nobody, cwd=Path("/"))
    assert first.code == 0, first
    closed = guest.server.models_dir / "manifests/registry.ollama.ai/library/closed/latest"
    closed.parent.mkdir()
    closed.write_text("{}")
    closed.chmod(0o600)
    again = run(["apply"], guest.environment, prefix=as_nobody, cwd=Path("/"))
    assert again.out.startswith("No changes."), again
    guest.declare(f"{TINY}  closed:\n    source: {{gguf: ./tiny.gguf}}\n")
    result = run(["apply"], guest.environment, prefix=as_nobody, cwd=Path("/"))
    assert result.code == 3
    assert "(NotOwned)" in result.out
    assert "1 of 2 models ready" in result.out
