"""The user's files are the same after whatever Ollama and Paddock do with a linked model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pytest

from gguf_files import model_bytes
from paddock_cli import SMOL, User
from registry import LoopbackRegistry
from snapshots import Entry, store_snapshot
from stores import check_whole, links

HOURS_AGO = 1_700_000_000


class Kept(NamedTuple):
    """What must stay of the user's folder: its entries, and the owners of its files."""

    entries: dict[str, Entry]
    owners: dict[str, tuple[int, int, int]]


def _kept(user: User) -> Kept:
    """All that the user has, but for what a test or a daemon writes there."""
    ours = {"models.yaml", "paddock.sock", "paddock.log"}
    entries = {p: e for p, e in store_snapshot(user.folder).items() if p not in ours}
    facts = {path: (user.folder / path).lstat() for path in entries}
    return Kept(entries, {p: (f.st_ino, f.st_uid, f.st_gid) for p, f in facts.items()})


@pytest.fixture
def owner(user: User) -> User:
    """A user whose two files, one read-only and reached by a link, are linked."""
    files = user.folder / "files"
    files.mkdir()
    (files / "tiny.gguf").write_bytes(model_bytes())
    (files / "tiny.gguf").chmod(0o444)
    (files / "link.gguf").symlink_to("tiny.gguf")
    for path in (user.gguf, files / "tiny.gguf"):
        os.utime(path, (HOURS_AGO, HOURS_AGO))
    user.declare(f"{SMOL}  tiny:\n    source: {{gguf: ./files/link.gguf}}\n")
    user.apply()
    return user


def test_files_are_untouched_by_a_life_of_a_model(owner: User) -> None:
    before = _kept(owner)
    smol, tiny = str(owner.gguf), str(owner.folder / "files" / "tiny.gguf")
    assert {str(link.readlink()) for link in links(owner.server.models_dir)} == {smol, tiny}
    owner.server.generate("smol", "Hi")
    owner.server.show("tiny")
    owner.declare(f"{SMOL}    system: Be kind.\n    preload: true\n")
    owner.apply()
    owner.declare("  smol: {state: absent}\n  tiny: {state: absent}\n")
    owner.apply()
    assert owner.server.tags() == {}
    assert _kept(owner) == before


def test_files_are_untouched_by_rm_and_cp(owner: User) -> None:
    before = _kept(owner)
    owner.server.cli("cp", "smol", "copy")
    owner.server.cli("rm", "smol")
    assert owner.server.generate("copy", "Hi")["response"]
    owner.server.cli("rm", "copy", "tiny")
    assert links(owner.server.models_dir) == []
    assert _kept(owner) == before


def test_files_are_untouched_by_a_restart_with_pruning(owner: User) -> None:
    """Links so old that Ollama prunes them, with their manifests and without."""
    before = _kept(owner)
    blobs = owner.server.models_dir / "blobs"

    def age() -> None:
        for blob in blobs.iterdir():
            os.utime(blob, (HOURS_AGO, HOURS_AGO), follow_symlinks=False)

    age()
    owner.server.restart()
    assert len(links(owner.server.models_dir)) == 2
    for manifest in (owner.server.models_dir / "manifests").rglob("latest"):
        manifest.unlink()
    age()
    owner.server.restart()
    assert links(owner.server.models_dir) == [], "Ollama has pruned them"
    assert _kept(owner) == before
    owner.apply()
    assert set(owner.server.tags()) == {"smol:latest", "tiny:latest"}
    assert _kept(owner) == before


def test_files_are_untouched_by_a_push_and_a_pull_of_the_same_digest(
    owner: User, registry: LoopbackRegistry
) -> None:
    before = _kept(owner)
    reference = registry.push(owner.server, "tiny")
    assert _kept(owner) == before
    assert len(links(owner.server.models_dir)) == 2
    pull = {"model": reference, "insecure": True, "stream": False}
    assert owner.server.api("POST", "/api/pull", pull, timeout_s=60).status == 200
    assert len(links(owner.server.models_dir)) == 2, "it is there already"
    assert _kept(owner) == before

    # Once more over a link that leads nowhere: the pull puts a file in its place.
    files = owner.folder / "files"
    files.rename(owner.folder / "away")
    assert owner.server.api("POST", "/api/pull", pull, timeout_s=60).status == 200
    (owner.folder / "away").rename(files)
    assert [link.readlink() for link in links(owner.server.models_dir)] == [owner.gguf]
    assert _kept(owner).owners == before.owners
    assert _kept(owner).entries["files/tiny.gguf"] == before.entries["files/tiny.gguf"]
    owner.apply()
    check_whole(owner.server.models_dir)


def test_create_from_a_linked_model_changes_times_alone(owner: User) -> None:
    """Ollama touches the layers that it shares, through the link (ollama:manifest/layer.go
    touchLayer): of all that it does, this alone reaches the user's file."""
    before = _kept(owner)
    manifest = owner.server.models_dir / "manifests/registry.ollama.ai/library/tiny/latest"
    written = manifest.read_bytes(), manifest.stat().st_mtime_ns
    body = {"model": "child", "from": "tiny", "system": "Be brief.", "stream": False}
    assert owner.server.api("POST", "/api/create", body).status == 200
    after = _kept(owner)
    changed = {path for path in before.entries if before.entries[path] != after.entries[path]}
    assert changed == {"files/tiny.gguf"}
    was, now = before.entries["files/tiny.gguf"], after.entries["files/tiny.gguf"]
    assert now.mtime_ns > was.mtime_ns, "0.34.4 touches it; Paddock cannot keep it from that"
    assert now._replace(mtime_ns=0) == was._replace(mtime_ns=0)
    assert after.owners == before.owners

    owner.apply()
    assert owner.statuses()["tiny"] == ("True", "AsDeclared")
    assert (manifest.read_bytes(), manifest.stat().st_mtime_ns) == written
    assert set(owner.server.tags()) == {"smol:latest", "tiny:latest", "child:latest"}
    assert _kept(owner) == after, "Paddock changes nothing of it back"


def test_a_daemon_keeps_a_model_through_a_create_from_it(owner: User) -> None:
    manifest = owner.server.models_dir / "manifests/registry.ollama.ai/library/tiny/latest"
    with owner.daemon() as daemon:
        daemon.wait_ready()
        written = manifest.read_bytes(), manifest.stat().st_mtime_ns
        body = {"model": "child", "from": "tiny", "system": "Be brief.", "stream": False}
        assert owner.server.api("POST", "/api/create", body).status == 200
        assert owner.paddock("apply").code == 0
        daemon.wait_ready()
        assert (manifest.read_bytes(), manifest.stat().st_mtime_ns) == written
    assert Path(owner.folder / "files" / "tiny.gguf").read_bytes() == model_bytes()
