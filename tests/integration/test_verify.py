"""`paddock verify` finds what nobody else looks for, and mends only what is ours."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paddock_cli import COMMAND, User
from registry import LoopbackRegistry
from snapshots import store_snapshot
from tiny_models import base_model, chat_model

SMOL = "  smol:\n    source: {gguf: ./smol.gguf}\n    system: Be kind.\n"


@pytest.fixture
def user(tiny_user: User) -> User:
    """A user whose tiny GGUF is linked as `smol`."""
    tiny_user.declare(SMOL)
    tiny_user.apply()
    return tiny_user


def files(user: User, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
    """The files of a report, bad ones only."""
    result = user.paddock("verify", "-o", "json", *arguments)
    assert result.code == code, result
    found: list[dict[str, Any]] = result.json["files"]
    bad = [file for file in found if file["verdict"] != "ok"]
    assert result.json["summary"]["ok"] == len(found) - len(bad)
    return bad


def layer(user: User, name: str, kind: str) -> Path:
    """The blob of a model's layer: `model`, `system`, and so on."""
    path = user.server.models_dir / "manifests/registry.ollama.ai/library" / name / "latest"
    layers = json.loads(path.read_text())["layers"]
    found = next(str(la["digest"]) for la in layers if la["mediaType"].endswith(f".{kind}"))
    return user.server.models_dir / "blobs" / found.replace(":", "-")


def flip(path: Path) -> None:
    """Changes one byte in the middle of a file, and not its times."""
    before, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_healthy_store_is_ok_and_is_left_as_it_is(user: User) -> None:
    before = store_snapshot(user.server.models_dir)
    result = user.paddock("verify")
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[-1] == f"{len(lines) - 1} files: {len(lines) - 1} ok."
    assert any(str(user.gguf) in line and "  smol  " in line for line in lines)
    assert files(user, "--repair") == []
    assert store_snapshot(user.server.models_dir) == before


def test_what_others_made_is_told_of_and_left_alone(user: User) -> None:
    (user.folder / "theirs.gguf").write_bytes(base_model(3))
    user.server.create_from_gguf("theirs", user.folder / "theirs.gguf", ["SYSTEM Theirs."])
    flip(layer(user, "theirs", "model"))
    flip(layer(user, "theirs", "system"))
    before = store_snapshot(user.server.models_dir)
    bad = files(user, "--repair", code=3)
    assert [(b["verdict"], b["models"], b["repair"]) for b in bad] == [
        ("corrupt", ["theirs"], None)
    ] * 2
    assert bad[0]["actual"] != bad[0]["digest"]
    assert store_snapshot(user.server.models_dir) == before
    assert files(user, "smol") == [], "only what is asked for counts"
    assert files(user, "theirs", code=3) == bad


@pytest.mark.parametrize("running", [False, True])
def test_a_pulled_blob_is_pulled_again(
    user: User, registry: LoopbackRegistry, *, running: bool
) -> None:
    (user.folder / "base.gguf").write_bytes(base_model(7))
    user.server.create_from_gguf("seed", user.folder / "base.gguf")
    registry.push(user.server, "seed", "seed:v1")
    user.server.cli("rm", "seed")
    name = registry.reference("seed:v1")
    user.declare(f"{SMOL}  '{name}':\n    source: {{registry: '{name}', insecure: true}}\n")
    user.apply()
    blob = max((user.server.models_dir / "blobs").glob("sha256-*"), key=lambda p: p.lstat().st_size)
    content = blob.read_bytes()
    flip(blob)
    assert [b["repair"] for b in files(user, code=3)] == ["pull it again"]
    if running:
        with user.daemon():
            assert files(user, "--repair") == []
    else:
        assert files(user, "--repair") == []
    assert blob.read_bytes() == content
    assert user.server.generate(name, "Hi")["done"]


def test_a_text_of_ours_is_written_again(user: User) -> None:
    blob = layer(user, "smol", "system")
    flip(blob)
    result = user.paddock("verify", "--repair")
    assert result.code == 0, result
    assert f"mended: {blob}" in result.out
    assert blob.read_text() == "Be kind."


def test_what_no_cycle_would_make_again_stays(user: User) -> None:
    blob = layer(user, "smol", "system")
    flip(blob)
    user.declare(SMOL.replace("smol:", "other:"))
    assert [b["path"] for b in files(user, "--repair", code=3)] == [str(blob)]
    user.declare(SMOL)
    user.server.stop()
    assert user.paddock("verify", "--repair").code == 11
    assert blob.exists()


def _rewrite(user: User) -> None:
    user.gguf.write_bytes(chat_model(2))


def _flip(user: User) -> None:
    flip(user.gguf)


@pytest.mark.parametrize("change", [_rewrite, _flip])
def test_a_file_that_changed_is_followed(user: User, change: Callable[[User], None]) -> None:
    change(user)
    content = user.gguf.read_bytes()
    [bad] = files(user, code=3)
    assert (bad["verdict"], bad["kind"], bad["path"]) == ("changed", "link", str(user.gguf))
    assert files(user, "--repair") == []
    assert user.gguf.read_bytes() == content
    assert user.statuses() == {"smol": ("True", "AsDeclared")}


def test_what_is_gone_or_is_no_file_any_more_is_told_apart(user: User) -> None:
    user.gguf.unlink()
    [bad] = files(user, code=3)
    assert (bad["verdict"], bad["message"]) == ("missing", "its file is not there")
    user.gguf.mkdir()
    [bad] = files(user, code=3)
    assert bad["verdict"] == "unreadable"
    layer(user, "smol", "system").unlink()
    assert {b["verdict"] for b in files(user, code=3)} == {"missing", "unreadable"}
    broken = user.server.models_dir / "manifests/registry.ollama.ai/library/broken/latest"
    broken.parent.mkdir()
    broken.write_text("{")
    assert [b["kind"] for b in files(user, "broken", code=3)] == ["manifest"]


def test_it_needs_neither_ollama_nor_a_file(user: User) -> None:
    user.server.stop()
    user.file.unlink()
    assert files(user) == []


def test_a_name_that_is_not_there_is_an_error(user: User) -> None:
    result = user.paddock("verify", "nobody")
    assert (result.code, result.out) == (1, "")


def test_it_stops_when_it_is_told_to(user: User) -> None:
    blob = user.server.models_dir / "blobs" / f"sha256-{'0' * 64}"
    with blob.open("wb") as file:
        file.truncate(1 << 40)  # nothing but a length: it would take minutes
    process = subprocess.Popen(
        [*COMMAND, "verify"], env=user.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        _wait_until_open(process, blob)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, b""), err


def _wait_until_open(process: subprocess.Popen[bytes], path: Path) -> None:
    folder, deadline = Path(f"/proc/{process.pid}/fd"), time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        if any(entry.readlink() == path for entry in folder.iterdir() if entry.is_symlink()):
            return
        time.sleep(0.01)
    raise AssertionError(f"{path} was never opened")
