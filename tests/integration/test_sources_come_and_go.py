"""Sources that go, come back, are touched, or are not what they are said to be: a real Ollama."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from endpoints import fetch
from paddock_cli import SMOL, Daemon, User
from snapshots import store_snapshot
from stores import links

WRONG = "0" * 64


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _trusting(sha256: str) -> str:
    return f'  smol:\n    source: {{gguf: smol.gguf, sha256: "{sha256}", trust: name}}\n'


def _reason(daemon: Daemon) -> str:
    [model] = daemon.status()["models"]
    return str(next(c["reason"] for c in model["conditions"] if c["type"] == "Ready"))


def _hashed(daemon: Daemon) -> list[str]:
    """The reasons of the hashes that were done, in order."""
    lines = daemon.log_text().splitlines()
    return [line for line in lines if '"action": "HashSource"' in line and '"reason"' in line]


@pytest.fixture
def user(user: User) -> User:
    """Hours have passed since the file was written."""
    os.utime(user.gguf, (1_700_000_000, 1_700_000_000))
    return user


def test_a_trusted_digest_is_used_at_once_and_verified_by_the_daemon(user: User) -> None:
    user.declare(_trusting(_sha256(user.gguf)))
    applied = user.apply()
    assert "hash" not in applied.out
    assert "smol:latest" in user.server.tags()
    with user.daemon() as daemon:
        daemon.wait(lambda: "Unverified" in daemon.log_text(), "it has verified the file")
        daemon.wait_ready()
        before = store_snapshot(user.server.models_dir)
    with user.daemon() as daemon:
        daemon.wait_ready()
        assert len(_hashed(daemon)) == 1, "a digest is verified once"
    assert store_snapshot(user.server.models_dir) == before


async def test_a_trusted_model_is_served_before_it_is_verified(user: User) -> None:
    user.declare(_trusting(_sha256(user.gguf)))
    user.apply()
    body = {"model": "smol", "prompt": "", "stream": False}
    with user.daemon():  # verifies once its first cycle is over, for which the request waits
        answer = await fetch(user.socket, "POST", "/api/generate?wait=30", body)
    assert answer.status == 200, answer.body


async def test_a_file_that_was_just_touched_is_served_at_once(user: User) -> None:
    user.declare(SMOL)
    body = {"model": "smol", "prompt": "", "stream": False}
    with user.daemon(PADDOCK_POLL="30") as daemon:
        daemon.wait_ready()
        for second in range(5):
            os.utime(user.gguf, (1_700_000_002 + second,) * 2)
            answer = await fetch(user.socket, "POST", "/api/generate", body)
            assert answer.status == 200, answer.body


def test_a_lie_about_a_digest_is_found_out_and_the_model_withdrawn(user: User) -> None:
    before = (_sha256(user.gguf), user.gguf.stat().st_mtime_ns)
    user.declare(_trusting(WRONG))
    with user.daemon() as daemon:
        daemon.wait(lambda: _reason(daemon) == "DigestMismatch", "the lie is told")
        daemon.wait(lambda: not user.server.tags(), "the model is withdrawn")
        assert links(user.server.models_dir) == []
        user.declare(_trusting(_sha256(user.gguf)))
        daemon.wait_ready()
    assert before == (_sha256(user.gguf), user.gguf.stat().st_mtime_ns)


def test_a_wrong_sha256_keeps_a_new_model_out(user: User) -> None:
    user.declare(f'  smol:\n    source: {{gguf: smol.gguf, sha256: "{WRONG}"}}\n')
    result = user.apply(code=3)
    assert "the file pins sha256:000000000000…; mend one of them" in result.out + result.err
    assert user.server.tags() == {}


def test_a_touched_file_is_served_on_and_verified_in_the_background(user: User) -> None:
    user.declare(SMOL)
    with user.daemon() as daemon:
        daemon.wait_ready()
        before = store_snapshot(user.server.models_dir)
        os.utime(user.gguf)
        os.utime(user.gguf, (1_700_000_001, 1_700_000_001))
        daemon.wait(lambda: "Unverified" in daemon.log_text(), "it has verified the file")
        assert "SourceChanged" not in daemon.log_text()
        daemon.wait_ready()
        assert store_snapshot(user.server.models_dir) == before


def test_a_file_that_goes_takes_its_model_along_and_brings_it_back(user: User) -> None:
    user.declare(f"{SMOL}    preload: true\n")
    away = user.folder / "away.gguf"
    with user.daemon() as daemon:
        daemon.wait_ready()
        user.gguf.rename(away)
        daemon.wait(lambda: not user.server.tags(), "the model is withdrawn")
        daemon.wait(lambda: not user.server.ps(), "its runner is gone")
        assert links(user.server.models_dir) == []
        assert _reason(daemon) == "SourceMissing"
        away.rename(user.gguf)
        daemon.wait_ready()
        assert "smol:latest" in user.server.ps()
        assert len(_hashed(daemon)) == 1, "the same file needs no second hash"


def test_apply_withdraws_a_model_whose_file_is_gone_after_a_second_look(user: User) -> None:
    user.declare(SMOL)
    user.apply()
    user.gguf.unlink()
    result = user.apply(code=3)
    assert "withdraw" in result.out
    assert user.server.tags() == {}
    assert user.statuses()["smol"] == ("False", "SourceMissing")


def test_a_folder_that_cannot_be_entered_withdraws_nothing(user: User) -> None:
    """A drive that does not answer is not a file that was deleted."""
    if os.geteuid() == 0:
        folder = user.folder / "drive"
        folder.mkdir()
        user.gguf.rename(folder / "smol.gguf")
        looped = user.folder / "loop"
        user.declare("  smol:\n    source: {gguf: now/smol.gguf}\n")
        (user.folder / "now").symlink_to(folder)
        user.apply()
        looped.symlink_to(looped)
        (user.folder / "now").unlink()
        (user.folder / "now").symlink_to(looped)  # ELOOP, as root may enter every folder
    else:
        folder = user.folder / "drive"
        folder.mkdir()
        user.gguf.rename(folder / "smol.gguf")
        user.declare("  smol:\n    source: {gguf: drive/smol.gguf}\n")
        user.apply()
        folder.chmod(0)
    try:
        user.apply(code=3)
        assert "smol:latest" in user.server.tags()
    finally:
        folder.chmod(0o755)
