"""`paddock run --managed`: Ollama is started where none answers, kept, and stopped at exit."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from guests import NOBODY, prefix_of_nobody
from paddock.core.managed import ServerState
from paddock.edges import managed
from paddock.edges.managed_look import Serving
from paddock_cli import COMMAND, HEAD, Daemon, User, clean_environment, run
from processes import running
from provider import RealPaths
from real import PORTS, RealOllama
from tiny_models import chat_model

TINY = "  tiny:\n    source: {gguf: ./smol.gguf}\n    parameters: {num_thread: 1}\n"
PINNED = f"{TINY}    preload: true\n"
_PID = re.compile(r"pid (\d+)")


def free_port() -> int:
    """A port on which nobody listens now."""
    for port in random.sample(PORTS, 20):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


@pytest.fixture
def user(real: RealPaths, tmp_path: Path) -> User:
    """A user with a tiny GGUF and a program, and no server."""
    folder = tmp_path / "user"
    folder.mkdir()
    tiny = folder / "smol.gguf"
    tiny.write_bytes(chat_model())
    server = RealOllama(real._replace(gguf=tiny), tmp_path / "ollama", port=free_port())
    env = {
        "HOME": str(tmp_path / "home"),
        "PADDOCK_MANAGED": "true",
        "PADDOCK_OLLAMA_BIN": str(real.ollama),
        "OLLAMA_NO_CLOUD": "1",
    }
    return Person(folder, server, env)


class Person(User):
    """A user whose GGUF is there already."""

    def __post_init__(self) -> None:
        return


def server_pid(daemon: Daemon) -> int:
    """The process of the server that the daemon started, as its status tells it."""
    found = _PID.search(told(daemon)["message"])
    assert found is not None, told(daemon)
    return int(found[1])


def told(daemon: Daemon) -> dict[str, str]:
    """What the status says of the server."""
    conditions: list[dict[str, str]] = daemon.status()["conditions"]
    return next(c for c in conditions if c["type"] == "ServerRunning")


def parent(pid: int) -> int:
    """The guardian of a server."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])


def wait_until(fact: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
    """Waits until a fact holds."""
    deadline = time.monotonic() + timeout_s
    while not fact():
        assert time.monotonic() < deadline, f"not in {timeout_s} s: {what}"
        time.sleep(0.02)


def lines(daemon: Daemon, **fields: object) -> list[dict[str, Any]]:
    """The lines of the daemon's log that hold these fields."""
    told = [json.loads(line) for line in daemon.log_text().splitlines() if line.startswith("{")]
    return [line for line in told if fields.items() <= line.items()]


def is_pinned(user: User) -> bool:
    """Whether the model is in memory for ever."""
    try:
        return str(user.server.ps()["tiny:latest"]["expires_at"]).startswith("23")
    except (OSError, KeyError, http.client.HTTPException):
        return False


def answers(user: User) -> bool:
    """Whether an Ollama answers at the user's address."""
    try:
        return user.server.api("GET", "/api/version").status == 200
    except (OSError, http.client.HTTPException):
        return False


class Stranger(BaseHTTPRequestHandler):
    """A web server that is no Ollama."""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        return


@contextlib.contextmanager
def stranger(port: int) -> Iterator[None]:
    """A program that is no Ollama, on a port."""
    with HTTPServer(("127.0.0.1", port), Stranger) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def test_it_starts_a_server_loads_a_model_by_it_and_leaves_nothing_at_exit(user: User) -> None:
    user.declare(PINNED)
    assert not user.server.models_dir.exists()
    with user.daemon() as daemon:
        daemon.wait_ready()
        assert daemon.condition("ServerRunning") == ("True", "Managed")
        assert is_pinned(user)
        pid = server_pid(daemon)
        guardian = parent(pid)
        assert len(running(pid)) == 2, "the server and one runner"
        assert f"pid {pid}" in user.paddock("status").out
        assert f"ollama serve runs with pid {pid}" in user.paddock("doctor").out
        events = map(json.loads, user.paddock("events", "-o", "json").out.splitlines())
        assert ("ServerRunning", "True") in {(e["kind"], e["result"]) for e in events}
        assert daemon.stop() == 0
        daemon.process = None
    assert running(pid) == []
    assert running(guardian) == []
    assert not answers(user)
    assert lines(daemon, event="ollama stopped", pid=pid)


def test_a_stream_under_way_ends_before_the_server_is_stopped(user: User) -> None:
    user.declare(TINY.replace("num_thread: 1", "num_thread: 1, num_predict: 200"))
    with user.daemon() as daemon:
        daemon.wait_ready()
        with subprocess.Popen(
            [*COMMAND, "chat", "tiny", "ba", "--json"],
            env=user.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            answer = [process.stdout.readline()]
            assert daemon.stop() == 0
            daemon.process = None
            answer += process.stdout.readlines()
    last = json.loads(answer[-1])
    assert last["done"], "the whole answer came"
    assert not answers(user)


def test_a_stop_while_the_server_is_starting_leaves_none(user: User, tmp_path: Path) -> None:
    program = tmp_path / "ollama-that-waits"
    program.write_text("#!/bin/sh\nsleep 1000 &\nwait\n")
    program.chmod(0o755)
    user.declare(TINY)
    with user.daemon(PADDOCK_OLLAMA_BIN=str(program)) as daemon:
        daemon.wait(lambda: "is starting" in str(daemon.status()), "it is starting")
        assert daemon.condition("ServerRunning") == ("False", "OllamaStarting")
        assert daemon.condition("Reconciling") == ("True", "OllamaStarting")
        pid = server_pid(daemon)
    assert running(pid) == []


def test_a_server_that_is_killed_is_started_again_and_the_pin_loaded_again(user: User) -> None:
    user.declare(PINNED)
    with user.daemon() as daemon:
        daemon.wait_ready()
        first = server_pid(daemon)
        os.kill(first, signal.SIGKILL)
        daemon.wait(lambda: bool(lines(daemon, event="ollama ended")), "its end is told")
        daemon.wait(lambda: is_pinned(user), "the pin is loaded again")
        daemon.wait_ready()
        assert server_pid(daemon) != first
        assert running(first) == [], "its runner did not outlive it"
        [ended] = lines(daemon, event="ollama ended")
        assert ended["how"] == "was killed by SIGKILL"


@pytest.mark.parametrize("victim", ["paddock", "guardian"])
def test_a_kill_leaves_no_server_behind(user: User, victim: str) -> None:
    user.declare(PINNED)
    with user.daemon() as daemon:
        daemon.wait_ready()
        pid = server_pid(daemon)
        guardian = parent(pid)
        if victim == "paddock":
            daemon.signal(signal.SIGKILL)
            assert daemon.ended() == -signal.SIGKILL
            daemon.process = None
        else:
            os.kill(guardian, signal.SIGKILL)
            daemon.wait(lambda: bool(lines(daemon, event="ollama ended")), "its end is told")
            daemon.wait_ready()
            assert server_pid(daemon) != pid
        wait_until(lambda: running(pid) == [], "the server and its runner are gone")
        wait_until(lambda: running(guardian) == [], "the guardian is gone")


def test_a_server_that_answers_already_is_used_and_not_stopped(user: User) -> None:
    user.declare(PINNED)
    with user.server as server:
        theirs = server.pid
        with user.daemon() as daemon:
            daemon.wait_ready()
            assert daemon.condition("ServerRunning") == ("True", "AlreadyServed")
            assert is_pinned(user)
        assert server.alive()
        assert server.pid == theirs
        assert answers(user)
        assert not lines(daemon, event="ollama starting")


def test_a_program_that_is_no_ollama_on_the_port_is_one_clear_error(user: User) -> None:
    user.declare(TINY)
    with stranger(user.server.port):
        result = user.paddock("run")
    assert result.code == 1
    assert result.err == (
        f"paddock: port {user.server.port} of 127.0.0.1 is taken by a program that is no Ollama: "
        "it answers 404 Not Found for Ollama's version; stop it, or set OLLAMA_HOST to another "
        "port\n"
    )
    assert not user.server.models_dir.exists()


def test_a_program_that_says_nothing_on_the_port_is_told_too(user: User) -> None:
    user.declare(TINY)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", user.server.port))
        result = user.paddock("run")
    assert result.code == 1
    assert "is taken by a program that is no Ollama: it does not answer" in result.err


def test_a_program_that_takes_the_port_of_a_dead_server_is_waited_for(user: User) -> None:
    """No crash loop: nothing is started while somebody else has the port."""
    user.declare(PINNED)
    with user.daemon() as daemon:
        daemon.wait_ready()
        pid = server_pid(daemon)
        os.kill(parent(pid), signal.SIGSTOP)  # so that the port is free for a while
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not answers(user), "the server is dead")
        with stranger(user.server.port):
            os.kill(parent(pid), signal.SIGCONT)
            taken = ("False", "PortTaken")
            daemon.wait(lambda: daemon.condition("ServerRunning") == taken, "it is told")
            daemon.wait(lambda: daemon.condition("Stalled") == ("True", "PortTaken"), "and stalls")
            first = told(daemon)["message"]
            daemon.wait(lambda: told(daemon)["message"] != first, "it is looked at again")
            assert len(lines(daemon, reason="PortTaken")) == 1
            assert len(lines(daemon, event="ollama starting")) == 1
        daemon.wait(lambda: is_pinned(user), "a server is started once the port is free")
        daemon.wait_ready()


@pytest.mark.parametrize("setting", ["path", "setting"])
def test_a_missing_program_is_one_clear_error(user: User, setting: str, tmp_path: Path) -> None:
    user.declare(TINY)
    if setting == "path":
        env = {"PADDOCK_OLLAMA_BIN": "", "PATH": str(tmp_path / "empty")}
        problem = (
            "there is no program ollama on the PATH; install Ollama "
            "(https://ollama.com/download), or set PADDOCK_OLLAMA_BIN to it"
        )
    else:
        env = {"PADDOCK_OLLAMA_BIN": str(tmp_path / "ollama")}
        problem = (
            f"setting ollama_bin: {tmp_path}/ollama does not exist; name Ollama's program, or "
            "take the setting out"
        )
    result = user.paddock("run", **env)
    assert (result.code, result.err) == (1, f"paddock: {problem}\n")
    assert not user.server.models_dir.exists()


def test_a_missing_models_yaml_is_one_clear_line_and_starts_nothing(user: User) -> None:
    result = user.paddock("run")
    assert result.code == 10
    assert len(result.err.splitlines()) == 1
    assert str(user.file) in result.err
    assert not user.server.models_dir.exists()


def test_a_server_that_cannot_run_is_started_with_pauses_and_told_of(
    user: User, tmp_path: Path
) -> None:
    program = tmp_path / "ollama-that-fails"
    program.write_text("#!/bin/sh\necho 'Error: no disk left' >&2\nexit 3\n")
    program.chmod(0o755)
    user.declare(TINY)
    with user.daemon(PADDOCK_OLLAMA_BIN=str(program)) as daemon:
        daemon.wait(lambda: len(lines(daemon, event="ollama ended")) > 2, "it was tried again")
        assert daemon.condition("ServerRunning") == ("False", "OllamaBackingOff")
        assert "ollama serve exited with 3: Error: no disk left (try " in told(daemon)["message"]
        assert daemon.condition("Reconciling") == ("True", "OllamaBackingOff")
        assert daemon.condition("OllamaReachable") == ("False", "OllamaBackingOff")
        assert lines(daemon, event="Error: no disk left", level="error", of="ollama")


def test_its_log_is_passed_on_with_its_levels_and_no_prompt(user: User) -> None:
    user.declare(PINNED)
    secret = "xylophonezebra"
    with user.daemon(OLLAMA_DEBUG="2", PADDOCK_LOG_LEVEL="debug") as daemon:
        daemon.wait_ready()
        user.server.chat("tiny", secret)
        user.server.generate("tiny", secret)
        user.paddock("chat", "tiny", secret)
    [listening] = [
        line for line in lines(daemon, of="ollama") if line["event"].startswith("Listening on")
    ]
    assert listening["level"] == "info"
    assert listening["source"].startswith("routes.go:")
    assert lines(daemon, of="ollama", event="llama-server completion request", level="debug")
    requests = [line for line in lines(daemon, of="ollama") if "/api/chat" in line["event"]]
    assert {line["level"] for line in requests} == {"debug"}
    assert secret not in daemon.log_text()


def test_the_server_has_the_users_variables_and_none_of_ours(user: User) -> None:
    user.declare(TINY)
    with user.daemon(OLLAMA_KEEP_ALIVE="7m", PADDOCK_HF_TOKEN="hf_secret") as daemon:
        daemon.wait_ready()
        raw = Path(f"/proc/{server_pid(daemon)}/environ").read_text()
        given = dict(line.partition("=")[::2] for line in raw.split("\0") if line)
        assert given["OLLAMA_KEEP_ALIVE"] == "7m"
        assert given["OLLAMA_HOST"] == user.server.host
        assert given["OLLAMA_MODELS"] == str(user.server.models_dir)
        assert not [name for name in given if name.startswith("PADDOCK_")]


def test_a_second_daemon_of_the_same_store_starts_no_second_server(user: User) -> None:
    user.declare(TINY)
    with user.daemon() as daemon:
        daemon.wait_ready()
        other = f"127.0.0.1:{free_port()}"
        result = user.paddock("run", OLLAMA_HOST=other, PADDOCK_SOCKET=str(user.folder / "b.sock"))
        assert result.code == 12
        assert _servers(user) == {server_pid(daemon)}


def _servers(user: User) -> set[int]:
    """The servers of this user's store."""
    found = set()
    for file in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            command = (file.parent / "cmdline").read_bytes()
            store = f"OLLAMA_MODELS={user.server.models_dir}\0".encode()
            if command.endswith(b"ollama\0serve\0") and store in file.read_bytes() + b"\0":
                found.add(int(file.parent.name))
    return {pid for pid in found if b"managed_child" not in _command(pid)}


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_store_of_another_user_is_not_served_as_root(user: User) -> None:
    prefix_of_nobody()
    user.declare(TINY)
    user.server.models_dir.mkdir(parents=True)
    os.chown(user.server.models_dir, NOBODY.pw_uid, NOBODY.pw_gid)
    result = user.paddock("run")
    assert result.code == 1
    assert f"belongs to another user (uid {NOBODY.pw_uid})" in result.err
    assert f"sudo -u '#{NOBODY.pw_uid}' paddock run --managed" in result.err


@pytest.mark.parametrize("login", [True, False], ids=["login", "container"])
def test_managed_alone_gives_a_plain_user_the_whole_thing(
    real: RealPaths, tmp_path: Path, login: bool
) -> None:
    """No setting but the port of this test: the program of the PATH, ~/.ollama/models made, the
    socket in XDG_RUNTIME_DIR, or in the home where there is none."""
    prefix = prefix_of_nobody()
    with home_of_nobody(real) as home:
        env = clean_environment(
            HOME=str(home),
            PATH=f"{home / 'bin'}:{os.environ['PATH']}",
            OLLAMA_HOST=f"127.0.0.1:{free_port()}",
            OLLAMA_NO_CLOUD="1",
        )
        folder = home / "run" if login else home / ".local" / "state" / "paddock"
        if login:
            env["XDG_RUNTIME_DIR"] = str(folder)
        log = (tmp_path / "log").open("wb")
        with (
            log,
            subprocess.Popen(
                [*prefix, *COMMAND, "run", "--managed"], cwd=home, env=env, stdout=log, stderr=log
            ) as process,
        ):
            try:
                wait_until((folder / "paddock.sock").is_socket, "the socket is there")

                def is_ready() -> bool:
                    return run(["status"], env, cwd=home, prefix=prefix).code == 0

                wait_until(is_ready, "the model is made", timeout_s=40)
            finally:
                process.terminate()
        assert process.returncode == 0, (tmp_path / "log").read_text()
        store = home / ".ollama" / "models"
        assert store.stat().st_uid == NOBODY.pw_uid
        assert (store / "manifests/registry.ollama.ai/library/tiny/latest").is_file()


@contextlib.contextmanager
def home_of_nobody(real: RealPaths) -> Iterator[Path]:
    """A home of nobody's, with a models.yaml, a GGUF and a program `ollama`."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        home.chmod(0o755)
        (home / "bin").mkdir()
        shutil.copy2(real.ollama, home / "bin" / "ollama")
        (home / "models.yaml").write_text(HEAD + TINY)
        (home / "smol.gguf").write_bytes(chat_model())
        (home / "run").mkdir(mode=0o700)
        for path in (home, home / "run"):
            os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
        yield home


async def test_one_is_started_in_the_place_of_a_found_one_that_stays_away(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be restarting: a server of ours in its place would keep it from its port."""
    monkeypatch.setattr(managed, "LOOK_S", 0.05)
    monkeypatch.setattr(managed, "AWAY_S", 1.0)
    states, changed, back = list[ServerState](), asyncio.Event(), asyncio.Event()

    def tell(state: ServerState) -> None:
        states.append(state)
        changed.set()

    async def until(reason: str) -> None:
        while not states or states[-1].reason != reason:
            changed.clear()
            await changed.wait()

    host = {"OLLAMA_HOST": user.server.host, "OLLAMA_MODELS": str(user.server.models_dir)}
    serving = Serving(
        user.server.url,
        "127.0.0.1",
        user.server.port,
        str(user.server.paths.ollama),
        clean_environment(**host, OLLAMA_NO_CLOUD="1", HOME=user.env["HOME"]),
    )
    keeper = managed.ManagedServer(serving, tell, back.set, asyncio.Event())
    with user.server as server:
        keeping = asyncio.create_task(keeper.run())
        async with asyncio.timeout(30):
            await until("AlreadyServed")
            server.kill()
            await until("OllamaAway")
            await asyncio.to_thread(server.start)
            await until("AlreadyServed")
            server.kill()
            await until("Managed")
            await back.wait()
        assert answers(user)
        keeping.cancel()
        await asyncio.wait([keeping])
        assert not answers(user)
    reasons = [state.reason for state in states]
    assert reasons == [
        *("OllamaStarting", "AlreadyServed", "OllamaAway", "AlreadyServed", "OllamaAway"),
        *("OllamaStarting", "Managed"),
    ]
