"""Hostile and broken sources: each has one clear line, and blocks its own model alone."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from gguf_files import model_bytes
from guests import prefix_of_nobody, serving_as_nobody
from paddock_cli import SMOL, Result, UnixConnection, User, run
from provider import RealPaths
from real import RealOllama
from stores import links


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def _header(keys: int, tensors: int) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, keys) + bytes(4096)


# The model's name: how its source is made, and a part of its line.
BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "fifo": (os.mkfifo, "is a FIFO, not a regular file; name a GGUF file (NotAFile)"),
    "socket": (_bind, "is a socket, not a regular file; name a GGUF file (NotAFile)"),
    "folder": (Path.mkdir, "is a folder, not a regular file; name a GGUF file (NotAFile)"),
    "zero": (lambda p: p.symlink_to("/dev/zero"), "is a device, not a regular file"),
    "nought": (lambda p: p.symlink_to("/dev/null"), "is a device, not a regular file"),
    "dangling": (lambda p: p.symlink_to("gone.gguf"), "does not exist"),
    "circle": (lambda p: p.symlink_to(p), "its links lead in a circle"),
    "empty": (lambda p: _write(p, b""), "it is empty; get it again (NotGGUF)"),
    "three": (lambda p: _write(p, b"GGU"), "not with 'GGUF'; name another file (NotGGUF)"),
    "text": (lambda p: _write(p, b"root:x:0:0\n"), "not with 'GGUF'; name another file (NotGGUF)"),
    "page": (lambda p: _write(p, b"<!doctype html>"), "(a web page)"),
    "keys": (lambda p: _write(p, _header(1 << 62, 1)), "(Malformed)"),
    "tensors": (lambda p: _write(p, _header(0, 1 << 62)), "(Malformed)"),
    "version": (lambda p: _write(p, b"GGUF\x63\0\0\0" + bytes(64)), "version 99 is not supported"),
    "zeros": (lambda p: _write(p, b"GGUF\3\0\0\0" + b"\xff" * 4096), "(Malformed)"),
    "headless": (lambda p: _write(p, model_bytes()[:200]), "download it again (Truncated)"),
    "cut": (lambda p: _write(p, model_bytes()[:-8]), "download it again (Truncated)"),
}


def _declared(names: list[str], folder: Path) -> str:
    """As JSON, which is YAML: any path can be written so."""
    return "".join(
        f"  {name}: {json.dumps({'source': {'gguf': str(folder / name)}})}\n" for name in names
    )


def _asked(user: User) -> int:
    """The status with which the daemon answers a chat."""
    with contextlib.closing(UnixConnection(user.socket)) as connection:
        connection.request("POST", "/api/generate", json.dumps({"model": "smol", "prompt": "Hi"}))
        return connection.getresponse().status


def _line(result: Result, name: str) -> str:
    """The one line that tells of a model."""
    [line] = [line for line in result.out.splitlines() if line.startswith(f"! {name}: ")]
    return line


def test_each_broken_source_has_its_own_line_and_blocks_its_own_model(user: User) -> None:
    folder = user.folder / "broken"
    folder.mkdir()
    for name, (make, _) in BROKEN.items():
        make(folder / name)
    before = sorted((p.name, p.lstat().st_mtime_ns, p.lstat().st_size) for p in folder.iterdir())
    user.declare(SMOL + _declared(list(BROKEN), folder))
    result = user.apply(code=3)
    for name, (_, what) in BROKEN.items():
        line = _line(result, name)
        assert str(folder / name) in line, line
        assert what in line, line
    assert result.out.endswith(f"Applied 7 actions: 1 of {len(BROKEN) + 1} models ready.\n")
    assert len(result.out.splitlines()) == len(BROKEN) + 1
    assert list(user.server.tags()) == ["smol:latest"]
    assert len(links(user.server.models_dir)) == 1
    after = sorted((p.name, p.lstat().st_mtime_ns, p.lstat().st_size) for p in folder.iterdir())
    assert after == before

    again = user.apply(code=3)
    assert again.out.endswith(f"Applied 0 actions: 1 of {len(BROKEN) + 1} models ready.\n")
    assert again.err == "", "nothing is tried again that cannot do better"


NAMES = ["a b", "it's", 'a"b', "a\nb", "é€", "a\x1b[31mb", "-rf", "$(id)", "%s", "x" * 250]


def test_a_source_may_have_any_name_that_a_file_can_have(user: User) -> None:
    folder = user.folder / "names"
    folder.mkdir()
    content = model_bytes()
    for n, name in enumerate(NAMES):
        (folder / name).write_bytes(content + bytes(32 * n))
    models = "".join(
        f"  m{n}: {json.dumps({'source': {'gguf': str(folder / name)}})}\n"
        for n, name in enumerate(NAMES)
    )
    user.declare(models)
    result = user.apply()
    assert len(user.server.tags()) == len(NAMES)
    targets = {str(link.readlink()) for link in links(user.server.models_dir)}
    assert targets == {str(folder / name) for name in NAMES}
    text = result.out + result.err + user.paddock("status").out + user.paddock("plan", "-v").out
    assert "\x1b" not in text, "a name is no order to a terminal"
    assert user.apply().out.startswith("No changes.")


def test_a_path_of_five_thousand_characters_is_told_in_a_short_line(user: User) -> None:
    user.declare(f"{SMOL}  long:\n    source: {{gguf: {'/x' * 2500}}}\n")
    result = user.apply(code=3)
    assert len(_line(result, "long")) < 1000
    assert list(user.server.tags()) == ["smol:latest"]


def test_a_source_outside_the_roots_is_refused_wherever_a_link_begins(user: User) -> None:
    inside = user.folder / "inside"
    inside.mkdir()
    user.gguf.rename(inside / "smol.gguf")
    outside = user.folder / "outside.gguf"
    outside.write_bytes(model_bytes())
    (inside / "link.gguf").symlink_to(outside)
    models = "".join(
        f"  {name}:\n    source: {{gguf: ./{path}}}\n"
        for name, path in [
            ("smol", "inside/smol.gguf"),
            ("out", "outside.gguf"),
            ("link", "inside/link.gguf"),
            ("up", "inside/../outside.gguf"),
        ]
    )
    user.declare(models)
    user.env["PADDOCK_ROOTS"] = str(inside)
    for command in ("plan", "apply"):
        result = user.paddock(command)
        assert result.out.count("lies outside the folders that sources may be in") == 3, result
        assert result.out.count("SourceOutsideRoots") == 3
    assert list(user.server.tags()) == ["smol:latest"]
    assert "/inside/link.gguf (it leads to " in result.out
    user.env["PADDOCK_ROOTS"] = f"/nowhere, {user.folder}"
    user.apply()
    assert len(user.server.tags()) == 4


def test_a_link_that_is_turned_outwards_later_is_refused_and_changes_nothing(user: User) -> None:
    """The model that is there stays as it was, and is not moved to the other file."""
    inside = user.folder / "inside"
    inside.mkdir()
    user.gguf.rename(inside / "smol.gguf")
    link = inside / "link.gguf"
    link.symlink_to("smol.gguf")
    user.declare("  smol:\n    source: {gguf: ./inside/link.gguf}\n")
    user.env["PADDOCK_ROOTS"] = str(inside)
    user.apply()
    before = [str(path.readlink()) for path in links(user.server.models_dir)]
    secret = user.folder / "secret"
    secret.write_bytes(model_bytes())
    link.unlink()
    link.symlink_to(secret)
    result = user.apply(code=3)
    assert "(SourceOutsideRoots)" in _line(result, "smol")
    assert [str(path.readlink()) for path in links(user.server.models_dir)] == before
    assert user.server.generate("smol", "Hi")["response"]


@pytest.mark.parametrize("value", ["models", "./a,/b", "~nobody-at-all/x"])
def test_a_root_that_is_no_absolute_path_is_refused(user: User, value: str) -> None:
    user.declare(SMOL)
    result = user.paddock("plan", PADDOCK_ROOTS=value)
    assert (result.code, result.out) == (64, "")
    assert result.err.startswith("paddock: setting roots: ")
    assert len(result.err.splitlines()) == 1


def test_a_source_on_another_file_system_is_linked(user: User) -> None:
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == user.folder.stat().st_dev:
        pytest.skip("there is no second file system to write to")
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        far = Path(folder) / "far.gguf"
        far.write_bytes(model_bytes())
        Path(folder).chmod(0o755)
        user.declare(f"  far:\n    source: {{gguf: {far}}}\n")
        user.apply()
        assert [str(path.readlink()) for path in links(user.server.models_dir)] == [str(far)]
        assert list(user.server.tags()) == ["far:latest"]


def test_two_models_over_one_file_share_its_blob_and_each_may_go(user: User) -> None:
    (user.folder / "link.gguf").symlink_to("smol.gguf")
    two = "  two:\n    source: {gguf: ./link.gguf}\n    system: Two.\n"
    user.declare(SMOL + two)
    result = user.apply()
    assert result.err.count("hash and link") == 1, "the file is read once"
    assert len(links(user.server.models_dir)) == 1
    user.declare(
        "  smol: {state: absent}\n  two:\n    source: {gguf: ./link.gguf}\n    system: Two.\n"
    )
    user.apply()
    assert user.server.generate("two", "Hi")["response"]
    assert len(links(user.server.models_dir)) == 1


@pytest.mark.parametrize("again", ["./smol.gguf", "./link.gguf"])
def test_the_same_file_twice_in_one_model_is_refused(user: User, again: str) -> None:
    (user.folder / "link.gguf").symlink_to("smol.gguf")
    user.declare(f"  smol:\n    source: {{gguf: ./smol.gguf, projector: {again}}}\n")
    result = user.paddock("apply")
    assert result.code in {3, 10}, result
    assert user.server.tags() == {}
    assert links(user.server.models_dir) == []


def test_root_is_told_which_folder_is_closed_to_ollama_before_anything_is_hashed(
    real: RealPaths,
) -> None:
    with serving_as_nobody(real) as server:
        user = User(server.folder / "user", server)
        closed = user.folder / "a b"
        (closed / "models").mkdir(parents=True)
        path = closed / "models" / "x.gguf"
        path.write_bytes(model_bytes())
        closed.chmod(0o750)
        user.declare(_declared(["x.gguf"], path.parent))
        for command in ("plan", "apply"):
            result = user.paddock(command)
            what = f"Ollama cannot see {path}: its user nobody may not pass {closed}; "
            assert f"{what}let it: setfacl -m u:nobody:x '{closed}'" in result.out, result
            assert "NotVisibleToOllama" in result.out
            assert result.err == ""
        closed.chmod(0o711)
        path.chmod(0o640)
        what = f"Ollama cannot read {path}: permission denied for its user nobody; "
        assert f"{what}let it: setfacl -m u:nobody:r '{path}'" in user.apply(code=3).out
        assert links(server.models_dir) == []
        path.chmod(0o644)
        user.apply()
        assert list(server.tags()) == ["x.gguf:latest"]


@pytest.mark.parametrize("is_folder", [True, False])
def test_an_owner_is_told_which_part_of_the_path_is_closed(
    real: RealPaths, is_folder: bool
) -> None:
    with serving_as_nobody(real) as server:
        user = User(server.folder / "user", server)
        closed = user.folder / "closed"
        closed.mkdir()
        path = closed / "x.gguf"
        path.write_bytes(model_bytes())
        (closed if is_folder else path).chmod(0o700)
        user.declare(_declared(["x.gguf"], closed))
        result = run(["apply"], user.environment, prefix=prefix_of_nobody(), cwd=Path("/"))
        assert result.code == 3
        line = _line(result, "x.gguf")
        at, right = (closed, "x") if is_folder else (path, "r")
        assert line.endswith(f"; let it: setfacl -m u:nobody:{right} {at} (SourceUnreadable)")


@pytest.fixture
def cut(user: User) -> User:
    """A user whose linked file has lost its end."""
    user.declare(SMOL)
    user.apply()
    os.truncate(user.gguf, user.gguf.stat().st_size - 100)
    return user


def test_a_file_that_is_cut_after_linking_is_not_served(cut: User) -> None:
    result = cut.apply(code=3)
    assert "download it again (Truncated)" in _line(result, "smol")
    with cut.daemon() as daemon:
        daemon.wait(lambda: cut.statuses()["smol"] == ("False", "Truncated"), "it says so")
        assert _asked(cut) == 503
        shutil.copy2(cut.server.gguf, cut.gguf)
        os.utime(cut.gguf, (1, 1))
        daemon.wait_ready()
    assert cut.server.generate("smol", "Hi")["response"]


def test_a_blob_that_is_not_what_its_name_says_is_no_source(
    ollama: RealOllama, tmp_path: Path
) -> None:
    """A link from one blob to another would dangle as soon as Ollama removed that one."""
    user = User(tmp_path / "user", ollama)
    blob = ollama.models_dir / "blobs" / f"sha256-{'a' * 64}"
    blob.parent.mkdir(exist_ok=True)
    blob.write_bytes(model_bytes())
    os.utime(blob, (1, 1))
    user.declare(f"{SMOL}  mine:\n    source: {{gguf: {blob}}}\n")
    line = _line(user.apply(code=3), "mine")
    assert line.endswith(
        "whose content is not what its name says; pull or create its model again (BlobCorrupt)"
    )
    assert list(ollama.tags()) == ["smol:latest"]
    assert blob.read_bytes() == model_bytes()

    digest = hashlib.sha256(model_bytes()).hexdigest()
    good = blob.with_name(f"sha256-{digest}")
    blob.rename(good)
    user.declare(f"{SMOL}  mine:\n    source: {{gguf: {good}}}\n")
    user.apply()
    assert good.is_file()
    assert not good.is_symlink()
