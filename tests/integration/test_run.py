"""`paddock run`: converges, heals, holds its pins, follows its file, and ends cleanly."""

from __future__ import annotations

import contextlib
import fcntl
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from at_rest import NO_POLL, settle
from paddock_cli import SMOL, Daemon, UnixConnection, User, readiness
from real import OPTIONS
from snapshots import store_snapshot
from stores import links

PINNED = f"{SMOL}    preload: true\n    parameters: {{num_ctx: 512}}\n"
DERIVED = "  terse:\n    source: {model: smol}\n    system: Be terse.\n"
FOREVER = "23"  # Ollama's "for ever" lies in the year 2318 or after


def _is_pinned(user: User) -> bool:
    running = user.server.ps().get("smol:latest")
    return running is not None and running["expires_at"].startswith(FOREVER)


def _link(user: User) -> Path:
    [link] = links(user.server.models_dir)
    return link


@pytest.fixture
def daemon(user: User) -> Iterator[Daemon]:
    """A daemon whose one model is pinned."""
    user.declare(PINNED)
    with user.daemon() as running:
        running.wait_ready()
        yield running


def test_it_converges_on_start_and_then_writes_nothing(user: User, daemon: Daemon) -> None:
    assert _is_pinned(user)
    before = store_snapshot(user.server.models_dir)
    with user.server.recorded() as requests:
        asked = len(user.server.requests_log()) + 6
        daemon.wait(lambda: len(user.server.requests_log()) >= asked, "it has looked twice more")
    assert not any(request.mutates for request in requests)
    assert store_snapshot(user.server.models_dir) == before
    result = user.paddock("status")
    assert (result.code, result.err) == (0, "")


def test_a_deleted_link_is_healed_with_a_manifest_that_no_cache_knows(
    user: User, daemon: Daemon
) -> None:
    """Ollama keeps by the manifest's digest what it saw through a broken link."""
    link, digest = _link(user), user.server.tags()["smol:latest"]["digest"]
    user.server.generate("smol", keep_alive=0)
    link.unlink()
    daemon.wait(link.exists, "the link is back")
    daemon.wait_ready()
    daemon.wait(lambda: user.server.tags()["smol:latest"]["digest"] != digest, "a new manifest")
    daemon.wait_ready()
    assert user.server.chat("smol", "Hi")["message"]["content"]


def test_a_link_that_leads_elsewhere_is_mended(user: User, daemon: Daemon) -> None:
    link = _link(user)
    link.unlink()
    link.symlink_to("/nowhere/else.gguf")
    daemon.wait(lambda: str(link.readlink()) == str(user.gguf), "the link leads to the file")
    daemon.wait_ready()
    assert user.server.chat("smol", "Hi")["message"]["content"]


def test_a_deleted_manifest_is_written_again(user: User, daemon: Daemon) -> None:
    user.server.cli("rm", "smol")
    daemon.wait(lambda: "smol:latest" in user.server.tags(), "the model is back")
    daemon.wait(lambda: _is_pinned(user), "it is loaded")
    daemon.wait_ready()


def test_a_pin_is_asserted_again_after_another_clients_keep_alive(
    user: User, daemon: Daemon
) -> None:
    user.server.generate("smol", "Hi", keep_alive="5m", options={"num_ctx": 512})
    daemon.wait(lambda: _is_pinned(user), "it is pinned again")
    daemon.wait_ready()


def test_a_pinned_model_that_another_client_unloads_is_loaded_again(
    user: User, daemon: Daemon
) -> None:
    user.server.generate("smol", keep_alive=0)
    daemon.wait(lambda: _is_pinned(user), "it is loaded again")


def test_an_edit_of_the_file_is_followed(user: User, daemon: Daemon) -> None:
    user.declare(PINNED + DERIVED)
    daemon.wait(lambda: "terse:latest" in user.server.tags(), "the derived model is made")
    daemon.wait_ready()
    assert user.server.show("terse")["system"] == "Be terse."
    with user.file.open("a") as file:  # an editor that writes in place
        file.write("  more:\n    source: {model: terse}\n")
    daemon.wait(lambda: "more:latest" in user.server.tags(), "the third is made")


def test_an_invalid_edit_keeps_the_last_good_file_and_says_so(user: User, daemon: Daemon) -> None:
    user.declare(PINNED + "    keep_alve: 5m\n")
    daemon.wait(lambda: daemon.condition("Stalled") == ("True", "SpecInvalid"), "it is stalled")
    result = user.paddock("status")
    assert result.code == 3
    assert f'{user.file}:7:5: models.smol.keep_alve: unknown key; did you mean "keep_alive"?' in (
        result.out
    )
    assert readiness(daemon.status()) == {"smol": ("True", "AsDeclared")}
    user.server.generate("smol", keep_alive=0)
    daemon.wait(lambda: _is_pinned(user), "the last good file holds")
    user.declare(PINNED)
    daemon.wait_ready()
    user.file.unlink()
    daemon.wait(lambda: daemon.condition("Stalled") == ("True", "SpecInvalid"), "it is stalled")
    assert list(user.server.tags()) == ["smol:latest"], "a file that is gone removes nothing"
    user.declare(PINNED)
    daemon.wait_ready()


def test_sighup_asks_for_a_cycle(user: User) -> None:
    user.declare(PINNED)
    with user.daemon(**NO_POLL) as daemon:
        daemon.wait_ready()
        settle(user.server)
        user.server.generate("smol", keep_alive="5m")
        assert not _is_pinned(user)
        daemon.signal(signal.SIGHUP)
        daemon.wait(lambda: _is_pinned(user), "it is pinned again")


def test_apply_goes_through_the_daemon(user: User, daemon: Daemon) -> None:
    user.server.generate("smol", keep_alive=0)
    result = user.apply()
    assert f"asking paddock run with pid {daemon.pid} since " in result.err
    assert _is_pinned(user)
    user.declare(PINNED + DERIVED)
    user.apply()
    assert "terse:latest" in user.server.tags()
    document = user.apply("-o", "json").json
    assert document["outcomes"] == []
    assert readiness(document["status"]) == {
        "smol": ("True", "AsDeclared"),
        "terse": ("True", "AsDeclared"),
    }


def test_apply_of_another_file_ends_with_12_and_names_both(user: User, daemon: Daemon) -> None:
    other = user.folder / "other.yaml"
    other.write_text("version: 1\nmodels: {}\n")
    before = store_snapshot(user.server.models_dir)
    result = user.paddock("apply", "-f", other)
    assert (result.code, result.out) == (12, "")
    [line] = result.err.splitlines()
    assert str(other) in line
    assert str(user.file) in line
    assert f"pid {daemon.pid}" in line
    assert store_snapshot(user.server.models_dir) == before


def test_apply_by_another_path_to_the_same_file_goes_through(user: User, daemon: Daemon) -> None:
    link = user.folder / "link.yaml"
    link.symlink_to(user.file)
    assert user.paddock("apply", "-f", link).code == 0


def test_a_second_run_ends_with_12_and_names_the_pid(user: User, daemon: Daemon) -> None:
    result = user.paddock("run", PADDOCK_SOCKET=str(user.folder / "second.sock"))
    assert result.code == 12
    assert f"paddock run with pid {daemon.pid} since " in result.err
    assert len(result.err.splitlines()) == 1
    assert daemon.get("/healthz")[0] == 200
    assert not (user.folder / "second.sock").exists()


def test_an_apply_that_holds_the_store_keeps_run_out(user: User) -> None:
    """The other way round: a second writer waits for nobody."""
    user.declare(SMOL)
    with _held(user.server.models_dir):
        result = user.paddock("run")
    assert result.code == 12, result
    assert not user.socket.exists()


@contextlib.contextmanager
def _held(models_dir: Path) -> Iterator[None]:
    (models_dir / ".paddock").mkdir()
    with (models_dir / ".paddock" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0_without_a_socket_or_a_lock(
    user: User, number: signal.Signals
) -> None:
    user.declare(SMOL)
    with user.daemon() as daemon:
        daemon.wait_ready()
        assert user.socket.is_socket()
        assert user.socket.stat().st_mode & 0o777 == 0o660
        daemon.signal(number)
        assert daemon.ended() == 0
    assert not user.socket.exists()
    assert (user.server.models_dir / ".paddock" / "lock").read_bytes() == b""
    assert "asking" not in user.apply().err
    with user.daemon() as daemon:
        daemon.wait_ready()


class _Stream(threading.Thread):
    """A chat through the socket, read line by line."""

    def __init__(self, socket: Path, words: int):
        super().__init__()
        self.lines: list[dict[str, Any]] = []
        self.began = threading.Event()
        self._connection = UnixConnection(socket)
        self._body = json.dumps(
            {
                "model": "smol",
                "messages": [{"role": "user", "content": "Count from one to a hundred."}],
                "options": OPTIONS | {"num_predict": words, "num_ctx": 512},
            }
        )

    def run(self) -> None:
        with contextlib.closing(self._connection) as connection:
            connection.request("POST", "/api/chat", self._body)
            for line in connection.getresponse():
                self.lines.append(json.loads(line))
                self.began.set()


def test_sigterm_in_mid_stream_lets_the_stream_end_and_exits_0(user: User, daemon: Daemon) -> None:
    stream = _Stream(user.socket, words=100)
    stream.start()
    assert stream.began.wait(20)
    daemon.signal(signal.SIGTERM)
    code = daemon.ended()
    stream.join(20)
    assert code == 0
    assert stream.lines[-1]["done"]
    assert len(stream.lines) > 50
    assert not user.socket.exists()


def test_a_stream_longer_than_the_drain_is_ended_with_an_error_record(user: User) -> None:
    user.declare(PINNED)
    with user.daemon(PADDOCK_DRAIN="0.2") as daemon:
        daemon.wait_ready()
        stream = _Stream(user.socket, words=100_000)
        stream.start()
        assert stream.began.wait(20)
        daemon.signal(signal.SIGTERM)
        assert daemon.ended() == 0
        stream.join(20)
    assert "paddock is stopping" in stream.lines[-1]["error"]


def test_a_killed_daemon_leaves_nothing_that_keeps_the_next_one_out(user: User) -> None:
    user.declare(PINNED)
    with user.daemon() as daemon:
        daemon.wait_ready()
        daemon.signal(signal.SIGKILL)
        assert daemon.ended() == -9
    assert user.socket.is_socket()
    with user.daemon() as daemon:
        daemon.wait_ready()


def test_chat_streams_through_the_daemon_and_goes_on_without_it(user: User) -> None:
    user.declare(f"{PINNED[:-2]}, num_predict: 4, num_thread: 1}}\n")
    with user.daemon() as daemon:
        daemon.wait_ready()
        through = user.paddock("chat", "smol", "Say hello.")
        assert (through.code, through.err) == (0, "")
        assert _is_pinned(user)
    direct = user.paddock("chat", "smol", "Say hello.")
    assert direct.code == 0
    assert "no daemon answers" in direct.err
    assert through.out.strip()
