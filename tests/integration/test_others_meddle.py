"""What else happens to a store: Ollama's own prune, rm, cp, create. Files stay, models return."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from paddock_cli import SMOL, User
from stores import check_whole, links

HOURS_AGO = 1_700_000_000


def _age(path: Path) -> None:
    """Makes it old enough for the prune that Ollama does when it starts."""
    os.utime(path, (HOURS_AGO, HOURS_AGO), follow_symlinks=False)


@pytest.fixture
def owner(user: User) -> User:
    """A user whose model is linked."""
    user.declare(SMOL)
    user.apply()
    return user


def _is_whole(user: User, before: os.stat_result) -> bool:
    after = user.gguf.stat()
    same = (after.st_ino, after.st_size, after.st_mode) == (
        before.st_ino,
        before.st_size,
        before.st_mode,
    )
    return same and user.gguf.read_bytes() == user.server.gguf.read_bytes()


def test_a_restart_with_pruning_keeps_a_model_that_has_its_manifest(owner: User) -> None:
    before = owner.gguf.stat()
    for blob in (owner.server.models_dir / "blobs").iterdir():
        _age(blob)
    owner.server.restart()
    check_whole(owner.server.models_dir)
    assert owner.apply().out.startswith("No changes.")
    assert owner.server.generate("smol", "Hi")["response"]
    assert _is_whole(owner, before)


def test_a_link_that_the_prune_took_is_made_again(owner: User) -> None:
    """Without its manifest an old link goes, and the file that it leads to stays."""
    before = owner.gguf.stat()
    [link] = links(owner.server.models_dir)
    _age(link)
    manifest = owner.server.models_dir / "manifests/registry.ollama.ai/library/smol/latest"
    manifest.unlink()
    owner.server.restart()
    assert not link.is_symlink(), "Ollama has pruned it"
    assert _is_whole(owner, before)
    owner.apply()
    assert owner.server.generate("smol", "Hi")["response"]
    assert owner.gguf.stat().st_mtime_ns == before.st_mtime_ns


def test_ollama_rm_takes_the_link_and_apply_makes_it_again(owner: User) -> None:
    before = owner.gguf.stat()
    owner.server.cli("rm", "smol")
    assert links(owner.server.models_dir) == []
    assert _is_whole(owner, before)
    owner.apply()
    assert list(owner.server.tags()) == ["smol:latest"]
    assert owner.server.generate("smol", "Hi")["response"]
    assert owner.gguf.stat().st_mtime_ns == before.st_mtime_ns


def test_a_copy_of_a_linked_model_is_its_makers(owner: User) -> None:
    """The annotations are copied too: they count only under their own name."""
    owner.server.cli("cp", "smol", "copy")
    assert owner.apply().out.startswith("No changes.")
    owner.declare(f"{SMOL}  copy: {{state: absent}}\n")
    assert "paddock adopt copy" in owner.apply(code=3).out
    assert set(owner.server.tags()) == {"smol:latest", "copy:latest"}
    owner.declare("  smol: {state: absent}\n")
    owner.apply()
    assert list(owner.server.tags()) == ["copy:latest"]
    assert owner.server.generate("copy", "Hi")["response"]


def test_a_daemon_heals_through_a_restart_and_a_removal(owner: User) -> None:
    before = owner.gguf.stat()
    with owner.daemon() as daemon:
        daemon.wait_ready()
        for blob in (owner.server.models_dir / "blobs").iterdir():
            _age(blob)
        owner.server.restart()
        owner.server.cli("rm", "smol")
        daemon.wait(lambda: "smol:latest" in owner.server.tags(), "the model is back")
        daemon.wait_ready()
    check_whole(owner.server.models_dir)
    assert _is_whole(owner, before)
    assert owner.server.generate("smol", "Hi")["response"]


def test_a_blob_that_became_a_real_file_is_kept(owner: User) -> None:
    """A pull of the same digest over a broken link leaves a file; it is as good."""
    [link] = links(owner.server.models_dir)
    content = link.read_bytes()
    link.unlink()
    link.write_bytes(content)
    assert owner.apply().out.startswith("No changes.")
    assert not link.is_symlink()


def test_a_manifest_that_is_cut_short_is_written_again(owner: User) -> None:
    manifest = owner.server.models_dir / "manifests/registry.ollama.ai/library/smol/latest"
    manifest.write_bytes(manifest.read_bytes()[:100])
    owner.apply()
    assert owner.server.generate("smol", "Hi")["response"]


def test_a_small_blob_that_is_gone_or_cut_short_is_written_again(owner: User) -> None:
    small = [p for p in (owner.server.models_dir / "blobs").iterdir() if not p.is_symlink()]
    content = {path: path.read_bytes() for path in small}
    assert len(small) > 2
    small[0].unlink()
    owner.apply()
    assert small[0].read_bytes() == content[small[0]]


def test_a_lost_ledger_costs_the_right_to_remove_and_no_model(owner: User) -> None:
    for name in ("state.db", "id"):
        (owner.server.models_dir / ".paddock" / name).unlink()
    owner.apply()
    assert owner.server.generate("smol", "Hi")["response"]
    owner.declare("  smol: {state: absent}\n")
    assert "paddock adopt smol" in owner.apply(code=3).out
    owner.paddock("adopt", "smol")
    owner.apply()
    assert owner.server.tags() == {}
