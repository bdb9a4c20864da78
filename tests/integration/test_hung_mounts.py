"""What hangs for ever keeps neither other models waiting nor the daemon from ending."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

import paddock_cli
from at_rest import NO_POLL
from gguf_files import model_bytes
from hung import hung, within
from paddock_cli import Daemon, UnixConnection, User, readiness
from stores import links as links_of

SMALL = "  small:\n    source: {gguf: ./small.gguf}\n"
END_S = 5.0


@pytest.fixture
def owner(user: User) -> User:
    """A user with a small file, and a folder in which something will be mounted."""
    (user.folder / "nas").mkdir()
    _put(user.folder / "small.gguf", 1)
    return user


def _put(path: Path, number: int) -> None:
    path.write_bytes(model_bytes(block_count=number))
    os.utime(path, (1, 1))


@contextmanager
def _daemon(owner: User, monkeypatch: pytest.MonkeyPatch, how: str, **env: str) -> Iterator[Daemon]:
    """A daemon that sees such a file system, and ends in time all the same."""
    with monkeypatch.context() as patch:
        within(patch, *hung(how, owner.folder / "nas"))
        daemon = owner.daemon(**NO_POLL | env)
        daemon.start()
    try:
        yield daemon
    finally:
        assert daemon.stop(timeout_s=END_S) == 0


def _reason(daemon: Daemon, name: str) -> str:
    return readiness(daemon.status())[name][1]


def test_a_file_that_stops_being_read_is_given_up(
    owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    (owner.folder / "far").write_bytes(model_bytes(block_count=2))  # and zeros after that
    owner.declare(f"{SMALL}  far:\n    source: {{gguf: ./nas/far.gguf}}\n")
    with _daemon(owner, monkeypatch, "stalled") as daemon:
        daemon.wait((owner.folder / "waits").exists, "it is being hashed")
        daemon.wait(lambda: _reason(daemon, "small") == "AsDeclared", "the other is made")
        assert _reason(daemon, "far") == "SourceNew"


def test_a_model_with_the_digest_of_one_that_hangs_is_made_over_its_own_file(
    owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link that is there leads to where nothing answers."""
    far = "  far:\n    source: {gguf: ./nas/far.gguf}\n"
    _put(owner.folder / "nas" / "far.gguf", 2)
    owner.declare(far)
    owner.apply()
    _put(owner.folder / "near.gguf", 2)
    owner.declare(f"{far}  near:\n    source: {{gguf: ./near.gguf}}\n{SMALL}")
    with _daemon(owner, monkeypatch, "silent") as daemon:
        for name in ("near", "small"):
            daemon.wait(lambda name=name: _reason(daemon, name) == "AsDeclared", "it is made")  # type: ignore[misc]
        assert _reason(daemon, "far") == "SourceTimeout"
        links = {link.readlink() for link in links_of(owner.server.models_dir)}
        assert links == {owner.folder / "near.gguf", owner.folder / "small.gguf"}


def test_folders_trees_and_caches_that_hang_are_told(
    owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = "  hub:\n    source: {huggingface: a/b, file: c.gguf}\n"
    publish = "publish:\n  - {layout: directory, path: ./nas/tree}\n"
    discover = "discover:\n  - {layout: directory, path: ./nas/models}\n"
    owner.declare(SMALL + hub + publish)
    cache = str(owner.folder / "nas" / "hub")
    with _daemon(owner, monkeypatch, "silent", HF_HUB_CACHE=cache) as daemon:
        daemon.wait(lambda: _reason(daemon, "small") == "AsDeclared", "the model is made")
        assert _reason(daemon, "hub") == "SourceTimeout"
        assert daemon.condition("Published")[1] == "TreeTimeout"
        owner.declare(SMALL + hub + publish + discover)
        daemon.wait(lambda: daemon.condition("Published")[1] == "FolderTimeout", "it is told")
        assert _reason(daemon, "small") == "AsDeclared"


def test_a_models_folder_that_stops_answering_stops_neither_the_socket_nor_the_end(
    owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner.declare(SMALL)
    often = {"PADDOCK_POLL": "0.3", "PADDOCK_INTERVAL": "0.3"}
    with ExitStack() as hanging, _daemon(owner, monkeypatch, "silent", **often) as daemon:
        daemon.wait_ready()
        hanging.enter_context(_hangs(daemon, owner.server.models_dir))
        told = ("True", "StoreTimeout")
        daemon.wait(lambda: daemon.condition("Reconciling") == told, "it is told")
        threads = _threads(daemon)
        for path in ("/healthz", "/metrics", "/paddock/events?follow=0", "/api/version"):
            assert _asked(owner, path) == 200
        assert _asked(owner, "/readyz") == 503
        time.sleep(3)  # several polls
        assert _threads(daemon) <= threads + 1
        assert _asked(owner, "/healthz") == 200


def test_a_start_on_a_models_folder_that_does_not_answer_says_so_and_can_be_ended(
    owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner.declare(SMALL)
    within(monkeypatch, *hung("silent", owner.server.models_dir))
    with subprocess.Popen(
        [*paddock_cli.COMMAND, "run"],
        env=owner.environment,
        cwd=owner.folder,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert f"the disk of {owner.server.models_dir} to answer" in process.stderr.readline()
        process.terminate()
        assert process.wait(END_S) == -signal.SIGTERM


@contextmanager
def _hangs(daemon: Daemon, folder: Path) -> Iterator[None]:
    """From now on a folder does not answer the daemon any more."""
    enter = ("nsenter", f"--target={daemon.pid}", "--user", "--mount", "--preserve-credentials")
    with subprocess.Popen([*enter, *hung("silent", folder), "sleep", "1000"]) as process:
        try:
            daemon.wait(lambda: _is_mounted(daemon, folder), "it is mounted there")
            yield
        finally:
            process.kill()


def _is_mounted(daemon: Daemon, folder: Path) -> bool:
    return f" {folder} " in Path(f"/proc/{daemon.pid}/mounts").read_text()


def _threads(daemon: Daemon) -> int:
    return len(list(Path(f"/proc/{daemon.pid}/task").iterdir()))


def _asked(owner: User, path: str) -> int:
    """The status that the socket answers with, at once."""
    with closing(UnixConnection(owner.socket, timeout_s=3)) as connection:
        connection.request("GET", path)
        return connection.getresponse().status
