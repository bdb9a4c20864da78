"""A pin holds against whatever happens to it, on a real Ollama; what we send for it is counted."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from paddock_cli import Daemon, User
from provider import RealPaths
from real import RealOllama
from residents import Sent, is_pinned, kill_runner, runners, through_proxy
from tiny_models import chat_model, embedding_model

PINNED = "  smol: {source: {gguf: ./smol.gguf}, preload: true}\n"


class Setting(NamedTuple):
    """A user whose one model is pinned, their daemon, and the record of what it asks."""

    user: User
    daemon: Daemon
    sent: Callable[[], Sent]

    @property
    def server(self) -> RealOllama:
        return self.user.server


@pytest.fixture(scope="module")
def setting(real: RealPaths, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    """One for all tests of this module: each leaves it as it was."""
    folder = tmp_path_factory.mktemp("pins")
    with RealOllama(real, folder / "ollama") as server:
        user = User(folder / "user", server)
        user.gguf.write_bytes(chat_model())
        user.declare(PINNED)
        with through_proxy(user) as proxy, user.daemon(PADDOCK_POLL="0.25") as daemon:
            daemon.wait_ready()
            yield Setting(user, daemon, lambda: Sent(proxy))


@pytest.fixture
def pinned(setting: Setting) -> Setting:
    """The model is pinned, and the daemon has nothing to do."""
    setting.daemon.wait(lambda: is_pinned(setting.server), "it is pinned")
    setting.sent().wait_quiet(setting.daemon)
    return setting


def _asked(**fields: Any) -> Callable[[RealOllama], object]:
    return lambda server: server.generate("smol", "ba", **fields)


def _stop(server: RealOllama) -> None:
    server.cli("stop", "smol")


def _crash(server: RealOllama) -> None:
    server.kill()
    server.start()


@pytest.mark.parametrize(
    "disturb",
    [
        pytest.param(_asked(keep_alive="5m"), id="a client's five minutes"),
        pytest.param(_asked(keep_alive=0), id="a client that lets it go"),
        pytest.param(_stop, id="ollama stop"),
        pytest.param(kill_runner, id="a killed runner"),
        pytest.param(_crash, id="a killed server"),
        pytest.param(_asked(options={"num_ctx": 256}), id="a reload"),
    ],
)
def test_a_lost_pin_is_back_by_one_request_or_two(
    pinned: Setting, disturb: Callable[[RealOllama], object]
) -> None:
    server, sent, before = pinned.server, pinned.sent(), runners(pinned.server)
    disturb(server)
    lives = set(runners(server)) <= set(before)
    if lives and is_pinned(server):
        pinned.daemon.wait(lambda: bool(sent.paths), "it is noticed")
    pinned.daemon.wait(lambda: is_pinned(server) and bool(runners(server)), "it is pinned again")
    sent.wait_quiet(pinned.daemon)
    assert 1 <= len(sent.paths) <= 2, sent.paths
    assert set(sent.paths) == {"/api/generate"}
    assert is_pinned(server)
    assert len(runners(server)) == 1


def test_a_runner_that_outlives_its_server_is_not_taken_for_a_load(pinned: Setting) -> None:
    server, sent = pinned.server, pinned.sent()
    [orphan] = runners(server)
    assert server._process is not None
    os.kill(server.pid, signal.SIGKILL)
    server._process.wait()
    try:
        server.start()
        pinned.daemon.wait(lambda: is_pinned(server), "it is pinned again")
        sent.wait_quiet(pinned.daemon)
        assert len(sent.paths) == 1
    finally:
        os.kill(orphan, signal.SIGKILL)


def test_a_client_that_pins_it_too_costs_nothing(pinned: Setting) -> None:
    sent = pinned.sent()
    pinned.server.generate("smol", "ba", keep_alive=-1)
    sent.wait_quiet(pinned.daemon)
    assert sent.paths == []


def test_a_reload_by_a_client_is_not_answered_by_another(pinned: Setting) -> None:
    """Two who each want their context would reload it by turns."""
    body = {"model": "smol", "prompt": "ba", "stream": False}
    options = {"num_ctx": 384, "num_predict": 1}
    pinned.server.api("POST", "/api/generate", {**body, "options": options})
    [runner] = runners(pinned.server)
    pinned.daemon.wait(lambda: is_pinned(pinned.server), "it is pinned again")
    assert runners(pinned.server) == [runner]
    assert pinned.server.ps()["smol:latest"]["context_length"] == options["num_ctx"]


def test_two_names_over_one_file_hold_one_runner(pinned: Setting) -> None:
    also = "  also: {source: {model: smol}, preload: true, system: Be brief.}\n"
    pinned.user.declare(PINNED + also)
    pinned.daemon.wait(lambda: "also:latest" in pinned.server.tags(), "the other name is there")
    pinned.daemon.wait_ready()
    sent = pinned.sent()
    pinned.server.generate("also", "ba", keep_alive="5m")
    pinned.daemon.wait(lambda: len(sent.paths) > 0, "it is noticed")
    sent.wait_quiet(pinned.daemon)
    assert [is_pinned(pinned.server, name) for name in pinned.server.ps()] == [True]
    assert len(sent.paths) <= 2
    assert len(runners(pinned.server)) == 1
    pinned.user.declare(PINNED)
    pinned.daemon.wait(lambda: len(pinned.daemon.status()["models"]) == 1, "it is named no more")
    pinned.server.cli("stop", "also")
    pinned.server.cli("rm", "also")


def test_an_embedding_model_is_pinned_by_a_request_that_it_knows(pinned: Setting) -> None:
    (pinned.user.folder / "embed.gguf").write_bytes(embedding_model())
    sent = pinned.sent()
    embed = "  embed: {source: {gguf: ./embed.gguf}, preload: true}\n"
    pinned.user.declare(PINNED + embed)
    pinned.daemon.wait(lambda: is_pinned(pinned.server, "embed:latest"), "it is pinned")
    sent.wait_quiet(pinned.daemon)
    assert sent.paths.count("/api/embed") == 1
    sent = pinned.sent()
    pinned.server.api("POST", "/api/embed", {"model": "embed", "input": "ba", "keep_alive": 300})
    pinned.daemon.wait(lambda: len(sent.paths) > 0, "it is noticed")
    sent.wait_quiet(pinned.daemon)
    assert is_pinned(pinned.server, "embed:latest")
    assert sent.paths == ["/api/embed"]
    pinned.user.declare(PINNED)
    pinned.server.cli("stop", "embed")
    pinned.daemon.wait(lambda: list(pinned.server.ps()) == ["smol:latest"], "it has left memory")


def test_a_finite_keep_alive_is_set_once_for_a_use(pinned: Setting) -> None:
    pinned.user.declare("  smol: {source: {gguf: ./smol.gguf}, keep_alive: 7m}\n")
    sent = pinned.sent()
    pinned.daemon.wait(lambda: not is_pinned(pinned.server), "it is not for ever any more")
    pinned.server.generate("smol", "ba", keep_alive=-1)
    pinned.daemon.wait(lambda: not is_pinned(pinned.server), "it is for seven minutes again")
    sent.wait_quiet(pinned.daemon)
    assert len(sent.paths) <= 2, sent.paths
    pinned.user.declare(PINNED)
    pinned.daemon.wait(lambda: is_pinned(pinned.server), "it is pinned")
