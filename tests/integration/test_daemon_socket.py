"""The daemon behind its socket: the file's rules of access, and only whole models are served."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import re
import signal
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from endpoints import CHAT, Wire, fetch, fetch_as, until
from paddock_cli import SMOL, Daemon, User
from prometheus_text import parse

OTHER = 65534
ASK = CHAT | {"stream": False, "options": {"num_thread": 1, "num_predict": 2}}
TERSE = "  terse:\n    source: {model: smol}\n    system: Be terse.\n"


@pytest.fixture
def shared(user: User) -> Iterator[User]:
    """A user whose socket lies where everybody may reach it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        socket = Path(folder, "p.sock")
        user.socket.symlink_to(socket)
        user.env |= {"PADDOCK_SOCKET": str(socket), "PADDOCK_SOCKET_MODE": "666"}
        yield user


async def tags(user: User, *, groups: tuple[int, ...] = ()) -> set[str]:
    reply = await fetch_as(user.socket, "GET", "/api/tags", uid=OTHER, groups=groups)
    return {model["name"].removesuffix(":latest") for model in reply.json["models"]}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_access_is_as_the_file_says_and_follows_its_edits(shared: User) -> None:
    shared.server.create_from_gguf("foreign")
    name = pwd.getpwuid(OTHER).pw_name
    shared.declare(f"{SMOL}    access: {{users: [nobody-here], groups: [54321]}}\n{TERSE}")
    with shared.daemon() as daemon:
        daemon.wait_ready()
        assert await tags(shared) == {"terse", "foreign"}
        assert await tags(shared, groups=(54321,)) == {"smol", "terse", "foreign"}
        refused = await fetch_as(shared.socket, "POST", "/api/chat", ASK, uid=OTHER)
        assert (refused.status, refused.json) == (404, {"error": "model 'smol' not found"})
        status = await fetch_as(shared.socket, "GET", "/paddock/status", uid=OTHER)
        assert [model["name"] for model in status.json["models"]] == ["terse"]
        assert "smol" not in json.dumps(status.json["conditions"])
        shared.declare(f"{SMOL}    access: {{users: [{name}]}}\n{TERSE}")
        assert (await fetch(shared.socket, "POST", "/paddock/reconcile")).status == 200
        served = await fetch_as(shared.socket, "POST", "/api/chat", ASK, uid=OTHER)
        assert served.json["done"] is True


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_undeclared_models_can_be_hidden_and_admins_be_named(shared: User) -> None:
    shared.server.create_from_gguf("foreign")
    shared.declare(SMOL)
    env = {"PADDOCK_UNDECLARED": "deny", "PADDOCK_ADMINS": pwd.getpwuid(OTHER).pw_name}
    with shared.daemon(**env) as daemon:
        daemon.wait_ready()
        assert await tags(shared) == {"smol"}
        ask = ASK | {"model": "foreign"}
        assert (await fetch_as(shared.socket, "POST", "/api/chat", ask, uid=OTHER)).status == 404
        assert (await fetch(shared.socket, "POST", "/api/show", {"model": "foreign"})).status == 200
        asked = await fetch_as(shared.socket, "POST", "/paddock/reconcile", uid=OTHER)
        assert asked.status == 200


async def test_a_model_that_stands_for_one_elsewhere_is_not_served(user: User) -> None:
    """Ollama would send the words of the chat to another host."""
    user.declare(SMOL)
    stub = {"model": "faraway", "from": "gpt-oss:20b", "remote_host": "https://ollama.com:443"}
    answer = user.server.api("POST", "/api/create", stub | {"stream": False})
    with user.daemon() as daemon:
        daemon.wait_ready()
        assert answer.status == 200
        assert "faraway:latest" in user.server.tags()
        reply = await fetch(user.socket, "POST", "/api/chat", ASK | {"model": "faraway"})
        assert reply.status == 404
        assert (await fetch(user.socket, "POST", "/api/show", {"model": "x:cloud"})).status == 404
        listed = (await fetch(user.socket, "GET", "/api/tags")).json["models"]
        assert [model["name"] for model in listed] == ["smol:latest"]
        listed = (await fetch(user.socket, "GET", "/v1/models")).json["data"]
        assert [model["id"] for model in listed] == ["smol:latest"]


async def test_a_file_that_changed_is_not_served_until_it_was_hashed_again(user: User) -> None:
    user.declare(SMOL)
    with user.daemon(PADDOCK_POLL="30") as daemon:
        daemon.wait_ready()
        assert (await fetch(user.socket, "POST", "/api/chat", ASK)).status == 200
        before = user.gguf.stat()
        with user.gguf.open("r+b") as file:  # same inode, same size, and its time put back
            file.seek(-64, 2)
            file.write(bytes(64))
        os.utime(user.gguf, ns=(before.st_atime_ns, before.st_mtime_ns))
        reply = await fetch(user.socket, "POST", "/api/chat", ASK)
        assert reply.status == 503
        assert re.search(r"is being hashed again \(SourceChanged\)|being made", reply.json["error"])
        assert int(reply.head.get(b"retry-after")) > 0
        reply = await fetch(user.socket, "POST", "/api/chat?wait=30", ASK)
        assert reply.status == 200, reply.body
        assert user.server.show("smol")["details"]


@pytest.mark.parametrize("headers", [(), ("Paddock-Wait: 30",)])
async def test_a_link_that_was_removed_is_mended_before_the_chat(
    user: User, headers: tuple[str, ...]
) -> None:
    user.declare(SMOL)
    with user.daemon(PADDOCK_POLL="30") as daemon:
        daemon.wait_ready()
        (link,) = [p for p in (user.server.models_dir / "blobs").iterdir() if p.is_symlink()]
        link.unlink()
        reply = await fetch(user.socket, "POST", "/api/chat", ASK, *headers)
        assert reply.status == 200, reply.body
        assert link.is_symlink()


def _minutes_left(user: User) -> float:
    """How long the model stays, as Ollama tells; -1 where it is not loaded."""
    running = user.server.ps().get("smol:latest")
    if running is None:
        return -1
    expires_at = datetime.fromisoformat(re.sub(r"\.\d+", "", running["expires_at"]))
    return (expires_at - datetime.now(UTC)).total_seconds() / 60


async def test_a_use_that_can_say_no_keep_alive_gets_that_of_the_file(user: User) -> None:
    """/v1 has no such field: Ollama loads the model for its own five minutes."""
    user.declare(f"{SMOL}    keep_alive: 2h\n")
    with user.daemon(PADDOCK_POLL="30") as daemon:
        daemon.wait_ready()
        body = ASK | {"max_tokens": 2}
        assert (await fetch(user.socket, "POST", "/v1/chat/completions", body)).status == 200
        await until(lambda: _minutes_left(user) > 100, 10)


@pytest.mark.parametrize(
    ("rule", "asked", "least", "most"),
    [
        ("", 0, 119, 121),
        ("    client_keep_alive: deny\n", "3h", 119, 121),
        ("    client_keep_alive: allow\n", "3h", 179, 181),
        ("    client_keep_alive: {min: 1h, max: 4h}\n", 0, 59, 61),
        ("    client_keep_alive: {min: 1h, max: 4h}\n", "5h", 239, 241),
    ],
)
async def test_the_keep_alive_of_a_client_counts_as_the_file_says(
    user: User, rule: str, asked: object, least: float, most: float
) -> None:
    user.declare(f"{SMOL}    keep_alive: 2h\n{rule}")
    with user.daemon(PADDOCK_POLL="30") as daemon:
        daemon.wait_ready()
        reply = await fetch(user.socket, "POST", "/api/chat", ASK | {"keep_alive": asked})
        assert reply.status == 200, reply.body
        await until(lambda: least < _minutes_left(user) < most, 10)
        # And it stays so: what a client may ask for is no drift.
        assert (await fetch(user.socket, "POST", "/paddock/reconcile")).status == 200
        assert least < _minutes_left(user) < most


async def test_in_an_open_window_requests_get_its_keep_alive(user: User) -> None:
    window = '{days: mon-sun, from: "00:00", to: "00:00", keep_alive: 2h}'
    user.declare(f"{SMOL}    keep_alive: 20m\n    schedule: [{window}]\n")
    with user.daemon(PADDOCK_POLL="30") as daemon:
        daemon.wait_ready()
        assert (await fetch(user.socket, "POST", "/api/chat", ASK)).status == 200
        await until(lambda: 119 < _minutes_left(user) < 121, 10)


async def test_the_metrics_of_a_daemon_tell_what_it_did(user: User) -> None:
    user.declare(f"{SMOL}    preload: true\n")
    with user.daemon(PADDOCK_LISTEN="127.0.0.1:0") as daemon:
        daemon.wait_ready()
        first = parse((await fetch(user.socket, "GET", "/metrics")).body.decode())
        assert first["paddock_loads_total"].value() == 1
        await fetch(user.socket, "POST", "/api/chat", CHAT)
        daemon.wait_ready()
        found = parse((await fetch(user.socket, "GET", "/metrics")).body.decode())
        assert found["paddock_reconciles_total"].value(result="ok") >= 1
        assert found["paddock_models"].value(condition="Ready", status="True") == 1
        assert found["paddock_linked_bytes"].value() > user.gguf.stat().st_size * 0.9
        assert found["paddock_hashed_bytes_total"].value() == user.gguf.stat().st_size
        assert found["paddock_ready"].value() == found["paddock_ollama_up"].value() == 1
        assert found["paddock_streams_total"].value(ending="finished") == 1
        assert found["paddock_last_success_timestamp_seconds"].value() > 1.7e9
        assert len(found["paddock_drift_total"].samples) >= 2
        assert "smol" not in json.dumps([str(metric) for metric in found.values()])
        public = await fetch(_listener(daemon), "GET", "/metrics")
        assert parse(public.body.decode()).keys() == found.keys()


def _listener(daemon: Daemon) -> str:
    lines = [json.loads(line) for line in daemon.log_text().splitlines() if line.startswith("{")]
    port = next(line["port"] for line in lines if line["event"] == "listening")
    return f"127.0.0.1:{port}"


async def test_who_waits_for_a_cycle_when_the_daemon_ends_gets_an_answer(user: User) -> None:
    user.declare(SMOL)
    with user.daemon(PADDOCK_POLL="30") as daemon:
        daemon.wait_ready()
        os.kill(user.server.pid, signal.SIGSTOP)  # the cycle waits for Ollama
        try:
            waiting = asyncio.create_task(fetch(user.socket, "POST", "/paddock/reconcile"))
            answer = await fetch(user.socket, "POST", "/paddock/reconcile?wait=0")
            assert (answer.status, answer.json) == (202, {"asked": True})
            wire = await Wire.open(user.socket)
            assert (await wire.ask("GET", "/paddock/events")).status == 200
            daemon.signal(signal.SIGTERM)
            reply = await waiting
            assert (reply.status, reply.json) == (503, {"error": "paddock is stopping"})
            assert b"event: condition" in b"".join(await wire.chunks())
            await wire.close()
            assert await asyncio.to_thread(daemon.ended) == 0
        finally:
            os.kill(user.server.pid, signal.SIGCONT)


async def test_events_of_the_daemon_tell_what_was_done_and_go_on_after_the_last(
    user: User,
) -> None:
    user.declare(SMOL)
    with user.daemon() as daemon:
        daemon.wait_ready()
        found = await _events(user, until="Ready")
        assert {event["kind"] for event in found} >= {"HashSource", "LinkBlob", "WriteManifest"}
        ids = [event["id"] for event in found]
        assert ids == sorted({*ids})
        (link,) = [p for p in (user.server.models_dir / "blobs").iterdir() if p.is_symlink()]
        link.unlink()
        more = await _events(user, f"Last-Event-ID: {ids[-1]}", until="LinkBlob")
        assert more[0]["id"] > ids[-1]


async def _events(user: User, *headers: str, until: str) -> list[dict[str, Any]]:
    """The events up to the first that is done or True of a kind."""
    wire = await Wire.open(user.socket)
    found: list[dict[str, Any]] = []
    await wire.ask("GET", "/paddock/events", b"", *headers)
    async with asyncio.timeout(20):
        while not found or (found[-1]["kind"], found[-1]["result"] in {"done", "True"}) != (
            until,
            True,
        ):
            data = [
                line for line in (await wire.chunk()).splitlines() if line.startswith(b"data: ")
            ]
            found += [json.loads(line.removeprefix(b"data: ")) for line in data]
    await wire.close()
    return found


def test_an_admin_whom_nobody_knows_is_a_wrong_setting(user: User) -> None:
    user.declare(SMOL)
    result = user.paddock("run", PADDOCK_ADMINS="nobody-here")
    assert result.code == 64
    assert "setting admins: no user is called nobody-here" in result.err
