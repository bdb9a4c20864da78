"""Paddock writes in the server's own store only, as its owner, and never in another one."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from paddock_cli import SMOL, User, run
from provider import RealPaths
from real import RealOllama, StartOllama
from snapshots import store_snapshot
from stores import links

NOBODY = pwd.getpwnam("nobody")


def _mismatch(folder: Path, url: str) -> str:
    what = f"paddock: {folder} is not the models folder of the Ollama at {url}"
    return f"{what}; set --models-dir to its OLLAMA_MODELS\n"


def _last_line(text: str) -> str:
    return text.splitlines()[-1] + "\n"


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_the_store_of_another_server_is_refused_and_neither_is_written(
    start_ollama: StartOllama, tmp_path: Path, command: str
) -> None:
    mine, other = start_ollama(), start_ollama()
    user = User(tmp_path / "user", mine)
    for server in (mine, other):
        server.create_from_gguf("theirs", user.gguf, [f"SYSTEM {server.port}"])
        server.tags()
    user.declare(SMOL)
    before = store_snapshot(mine.models_dir), store_snapshot(other.models_dir)
    result = user.paddock(command, "--models-dir", other.models_dir)
    assert result == (1, "", _mismatch(other.models_dir, mine.url))
    assert (store_snapshot(mine.models_dir), store_snapshot(other.models_dir)) == before


def test_an_empty_folder_beside_a_server_with_models_is_refused(user: User, tmp_path: Path) -> None:
    user.server.create_from_gguf("theirs", user.gguf)
    user.server.tags()  # Ollama writes its cache of headers when it is first asked
    empty = tmp_path / "empty"
    empty.mkdir()
    user.declare(SMOL)
    before = store_snapshot(user.server.models_dir)
    result = user.paddock("apply", "--models-dir", empty)
    assert result == (1, "", _mismatch(empty, user.server.url))
    assert store_snapshot(empty) == {}
    assert store_snapshot(user.server.models_dir) == before


def test_an_empty_folder_beside_a_server_without_models_is_refused_too(
    user: User, tmp_path: Path
) -> None:
    """Nothing is listed that could tell: a blob of some bytes is uploaded, and must appear. It
    cannot be taken back through Ollama, which prunes it at a later start; trying again adds none.
    """
    empty = tmp_path / "empty"
    empty.mkdir()
    user.declare(SMOL)
    result = user.paddock("apply", "--models-dir", empty)
    assert (result.code, result.err) == (1, _mismatch(empty, user.server.url))
    assert user.paddock("apply", "--models-dir", empty).code == 1
    assert store_snapshot(empty) == {}
    assert user.server.tags() == {}
    assert [p.stat().st_size < 64 for p in (user.server.models_dir / "blobs").iterdir()] == [True]


def test_what_a_killed_apply_left_in_an_empty_folder_proves_nothing(
    user: User, tmp_path: Path
) -> None:
    """The blob that proves one store must not lie in another one already."""
    other = tmp_path / "other"
    other.mkdir()
    user.declare(SMOL)
    user.paddock("apply", "--models-dir", other)
    shutil.copytree(user.server.models_dir / "blobs", other / "blobs")
    result = user.paddock("apply", "--models-dir", other)
    assert (result.code, result.err) == (1, _mismatch(other, user.server.url))
    assert user.server.tags() == {}


def test_run_says_that_the_store_is_anothers_and_writes_nothing(
    start_ollama: StartOllama, tmp_path: Path
) -> None:
    mine, other = start_ollama(), start_ollama()
    user = User(tmp_path / "user", mine)
    other.create_from_gguf("theirs", user.gguf)
    user.declare(SMOL)
    before = store_snapshot(other.models_dir)
    user.env["OLLAMA_MODELS"] = str(other.models_dir)
    with user.daemon() as daemon:
        mismatch = ("False", "StoreMismatch")
        daemon.wait(lambda: daemon.condition("Ready") == mismatch, "it says so")
        assert user.paddock("status").code == 3
        assert mine.tags() == {}
        after = store_snapshot(other.models_dir)
        assert {p: e for p, e in after.items() if "metadata" not in p} == {
            p: e for p, e in before.items() if "metadata" not in p
        }


def _as_nobody() -> list[str]:
    """The beginning of a command that runs the rest as nobody."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root may run a command as another user, with setpriv")
    uid, gid = str(NOBODY.pw_uid), str(NOBODY.pw_gid)
    return ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]


@pytest.fixture
def another() -> list[str]:
    """The beginning of a command that runs the rest as nobody."""
    return _as_nobody()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may look into, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def neighbour(real: RealPaths, open_folder: Path) -> Iterator[User]:
    """A user with a server of their own, beside whom nobody lives."""
    with RealOllama(real, open_folder / "ollama") as server:
        yield User(open_folder / "user", server)


@pytest.fixture
def guest(real: RealPaths, open_folder: Path, another: list[str]) -> Iterator[User]:
    """A user beside a server that runs as nobody, as the service's own user does."""
    folder = open_folder / "service"
    (folder / "models").mkdir(parents=True)
    (folder / "home").mkdir()
    shutil.copy2(real.ollama, folder / "ollama")  # its own place may be closed to others
    start = folder / "start"
    start.write_text(f'#!/bin/sh\nexec {shlex.join(another)} {folder}/ollama "$@"\n')
    start.chmod(0o755)
    for name in ("models", "home"):
        os.chown(folder / name, NOBODY.pw_uid, NOBODY.pw_gid)
    with RealOllama(real._replace(ollama=start), folder) as server:
        yield User(open_folder / "user", server)


def test_root_gives_what_it_writes_to_the_owner_of_the_store(guest: User) -> None:
    guest.declare(f"{SMOL}    system: Be kind.\n")
    old = os.umask(0o077)
    try:
        guest.apply()
    finally:
        os.umask(old)
    store = guest.server.models_dir
    everything = [store, *store.rglob("*")]
    assert {(p.lstat().st_uid, p.lstat().st_gid) for p in everything} == {
        (NOBODY.pw_uid, NOBODY.pw_gid)
    }
    manifest = store / "manifests/registry.ollama.ai/library/smol/latest"
    assert stat.S_IMODE(manifest.stat().st_mode) == 0o644
    assert stat.S_IMODE(manifest.parent.stat().st_mode) == 0o755
    assert {stat.S_IMODE(p.stat().st_mode) for p in (store / "blobs").iterdir()} == {0o644}
    assert guest.gguf.stat().st_uid == 0, "the user's file keeps its owner"
    guest.declare("  smol: {state: absent}\n")
    guest.apply()
    assert guest.server.tags() == {}


def test_the_owner_of_the_store_links_a_file_of_somebody_else(
    guest: User, another: list[str]
) -> None:
    """As in the service: Ollama and Paddock are one user, and the GGUF is another's."""
    guest.declare(SMOL)
    before = guest.gguf.stat()
    result = run(["apply"], guest.environment, prefix=another, cwd=Path("/"))
    assert result.code == 0, result
    assert guest.server.show("smol")["details"]["parameter_size"] == "134.52M"
    again = run(["apply"], guest.environment, prefix=another, cwd=Path("/"))
    assert again.out.startswith("No changes."), again
    after = guest.gguf.stat()
    assert (after.st_mtime_ns, after.st_uid) == (before.st_mtime_ns, 0)


def test_a_source_that_the_owner_may_not_read_is_told(guest: User, another: list[str]) -> None:
    guest.gguf.chmod(0o600)
    guest.declare(SMOL)
    result = run(["apply"], guest.environment, prefix=another, cwd=Path("/"))
    assert result.code == 3
    assert f"cannot read {guest.gguf}: permission denied" in result.out
    assert guest.server.tags() == {}


@pytest.mark.parametrize(
    ("folder_mode", "file_mode", "why"),
    [(0o700, 0o644, "Ollama cannot see"), (0o755, 0o600, "permission denied")],
)
def test_a_file_that_root_may_read_and_ollama_may_not_makes_no_model(
    guest: User, folder_mode: int, file_mode: int, why: str
) -> None:
    closed = guest.folder / "closed"
    closed.mkdir()
    shutil.copy2(guest.gguf, closed / "smol.gguf")
    (closed / "smol.gguf").chmod(file_mode)
    closed.chmod(folder_mode)
    guest.declare("  smol:\n    source: {gguf: ./closed/smol.gguf}\n")
    for _ in range(2):
        result = guest.apply(code=3)
        assert why in result.out
        assert guest.server.tags() == {}
        assert links(guest.server.models_dir) == []
    closed.chmod(0o755)
    (closed / "smol.gguf").chmod(0o644)
    guest.apply()
    assert list(guest.server.tags()) == ["smol:latest"]


def test_an_edit_that_ollama_cannot_use_leaves_the_model_as_it_was(guest: User) -> None:
    guest.declare(SMOL)
    guest.apply()
    manifest = guest.server.models_dir / "manifests/registry.ollama.ai/library/smol/latest"
    before = manifest.read_bytes()
    other = guest.folder / "other.gguf"
    shutil.copy(guest.gguf, other)
    with other.open("r+b") as file:
        file.truncate(file.seek(0, 2) + 32)  # the same model with another digest
    other.chmod(0o600)
    os.utime(other, (1, 1))
    guest.declare("  smol:\n    source: {gguf: ./other.gguf}\n")
    result = guest.apply(code=3)
    assert "permission denied" in result.out
    assert manifest.read_bytes() == before
    assert guest.server.show("smol")["template"]


@pytest.mark.parametrize("command", ["apply", "run", "adopt"])
def test_another_user_than_the_owner_is_told_to_use_sudo(
    neighbour: User, another: list[str], command: str
) -> None:
    user = neighbour
    user.declare(SMOL)
    user.server.tags()  # Ollama makes its folders when it is first asked
    before = store_snapshot(user.server.models_dir)
    arguments = ["adopt", "smol"] if command == "adopt" else [command]
    result = run(arguments, user.environment, prefix=another, cwd=Path("/"))
    owner = pwd.getpwuid(user.server.models_dir.stat().st_uid).pw_name
    what = f"the models folder {user.server.models_dir} belongs to {owner}, and we are nobody"
    assert (result.code, result.out) == (1, ""), result
    assert _last_line(result.err) == (
        f"paddock: {what}; run it as that user: sudo -u {owner} paddock …\n"
    )
    assert store_snapshot(user.server.models_dir) == before
    assert not (user.server.models_dir / ".paddock").exists()


def test_plan_needs_no_right_to_write(neighbour: User, another: list[str]) -> None:
    neighbour.declare(SMOL)
    neighbour.apply()
    result = run(["plan"], neighbour.environment, prefix=another, cwd=Path("/"))
    assert (result.code, result.err) == (0, ""), result
    assert result.out.startswith("No changes.")


def test_a_models_folder_that_is_a_link_is_used(user: User, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(user.server.models_dir)
    user.declare(SMOL)
    assert user.paddock("apply", "--models-dir", link).code == 0
    assert list(user.server.tags()) == ["smol:latest"]


def test_a_source_below_the_store_is_used_as_that_blob(ollama: RealOllama, tmp_path: Path) -> None:
    """A link from a blob to itself would be the end of it."""
    user = User(tmp_path / "user", ollama)
    ollama.create_from_gguf("theirs", user.gguf)
    blob = max((ollama.models_dir / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    user.declare(f"  mine:\n    source: {{gguf: {blob}}}\n")
    user.apply()
    assert not blob.is_symlink()
    assert ollama.generate("mine", "Hi")["response"]
