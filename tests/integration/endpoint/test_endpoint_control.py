"""Control: events to follow, cycles to ask for, health and metrics, also over TCP."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pytest

from endpoints import CHAT, Served, Wire, fetch, fetch_as, serving, until
from paddock.core.access import Grant, Policy
from paddock.core.names import Name
from paddock.endpoint.listener import listen_on, own_names
from paddock.endpoint.ports import EndpointLimits
from paddock.errors import SettingsError
from prometheus_text import parse
from real import RealOllama

NOBODY = "http://127.0.0.1:1"  # nothing here asks Ollama


async def follow(path: Path, query: str = "", *headers: str) -> Wire:
    wire = await Wire.open(path)
    head = await wire.ask("GET", f"/paddock/events{query}", b"", *headers)
    assert (head.status, head.content_type) == (200, "text/event-stream; charset=utf-8")
    assert (await wire.chunk()).startswith(b": ")
    return wire


async def record(wire: Wire) -> dict[str, Any]:
    lines = (await wire.chunk()).decode().splitlines()
    return {key: value for key, _, value in (line.partition(": ") for line in lines) if key}


async def test_events_come_as_they_happen_each_with_its_id(path: Path) -> None:
    async with serving(path, NOBODY) as served:
        wire = await follow(path)
        served.host.happen("smol", "done")
        served.host.happen(None, "False")
        first, second = await record(wire), await record(wire)
        assert (first["id"], first["event"]) == ("1", "action")
        assert json.loads(first["data"]) == {"id": 1, "model": "smol", "result": "done"}
        assert (second["id"], second["event"]) == ("2", "condition")


@pytest.mark.parametrize(
    ("query", "header", "first"),
    [
        ("", "", "1"),
        ("?after=2", "", "3"),
        ("", "Last-Event-ID: 1", "2"),
        ("?after=1", "Last-Event-ID: 2", "3"),
        ("", "Last-Event-ID: of another program", "1"),
        ("?after=1000000", "", "1"),  # of a life before this one
    ],
)
async def test_a_follower_goes_on_where_it_was(
    path: Path, query: str, header: str, first: str
) -> None:
    async with serving(path, NOBODY) as served:
        for _ in range(3):
            served.host.happen("smol")
        wire = await follow(path, query, *filter(None, [header]))
        assert (await record(wire))["id"] == first


async def test_a_follower_may_begin_with_what_happens_next(path: Path) -> None:
    async with serving(path, NOBODY) as served:
        for _ in range(3):
            served.host.happen("smol")
        wire = await follow(path, "?after=now")
        served.host.happen("smol")
        assert (await record(wire))["id"] == "4"


async def test_how_far_an_action_is_has_a_kind_of_its_own(path: Path) -> None:
    async with serving(path, NOBODY) as served:
        wire = await follow(path)
        served.host.happen("smol", "progress")
        assert (await record(wire))["event"] == "progress"


async def test_an_id_that_is_none_is_refused(path: Path) -> None:
    async with serving(path, NOBODY):
        assert (await fetch(path, "GET", "/paddock/events?after=-1")).status == 400


async def test_a_quiet_time_is_filled_with_comments(path: Path) -> None:
    async with serving(path, NOBODY, limits=EndpointLimits(heartbeat_s=0.05)) as served:
        wire = await follow(path)
        for _ in range(2):
            assert (await wire.chunk()).startswith(b": ")
        served.host.happen("smol")
        await until(lambda: _is_event(wire), 5)


async def _is_event(wire: Wire) -> bool:
    return (await wire.chunk()).startswith(b"id: 1\n")


async def test_followers_are_told_of_the_end_at_once(path: Path) -> None:
    async with serving(path, NOBODY) as served:
        wire = await follow(path)
        async with asyncio.timeout(1):
            await served.endpoint.stop(30)
            assert await wire.chunks() == []  # the last chunk came: nothing was cut off


async def test_a_follower_that_leaves_makes_room_for_another(path: Path) -> None:
    async with serving(path, NOBODY, limits=EndpointLimits(max_followers=1)) as served:
        wire = await follow(path)
        assert (await fetch(path, "GET", "/paddock/events")).status == 429
        await wire.close()
        await until(lambda: served.endpoint.counts.followers == 0, 5)
        await follow(path)


async def test_a_follower_that_does_not_read_holds_little_and_is_let_go(path: Path) -> None:
    limits = EndpointLimits(client_stall_s=0.3)
    async with serving(path, NOBODY, limits=limits) as served:
        for _ in range(1000):
            served.host.happen("x" * 4000)
        slow = await Wire.open(path)
        slow.writer.write(b"GET /paddock/events HTTP/1.1\r\nHost: p\r\n\r\n")
        cast("asyncio.Transport", slow.writer.transport).pause_reading()
        await until(lambda: served.endpoint.counts.followers == 1, 5)
        await until(lambda: served.endpoint.counts.followers == 0, 5)
        assert (await fetch(path, "GET", "/healthz")).status == 200


async def test_many_followers_see_the_same(path: Path) -> None:
    async with serving(path, NOBODY) as served:
        wires = [await follow(path) for _ in range(64)]
        served.host.happen("smol")
        assert {(await record(wire))["id"] for wire in wires} == {"1"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_a_cycle_is_asked_for_and_not_waited_for(path: Path) -> None:
    path.parent.chmod(0o755)
    async with serving(path, NOBODY, mode=0o666) as served:
        served.host.reconciling = asyncio.Event()
        reply = await fetch(path, "POST", "/paddock/reconcile?wait=0")
        assert (reply.status, served.host.cycles) == (202, 1)
        assert (await fetch(path, "POST", "/paddock/reconcile?wait=x")).status == 400
        assert (await fetch(path, "POST", "/paddock/reconcile?prune=yes")).status == 400
        other = await fetch_as(path, "POST", "/paddock/reconcile?wait=0", uid=65534)
        assert (other.status, served.host.cycles) == (403, 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_only_those_who_may_pause_and_resume_models(path: Path) -> None:
    path.parent.chmod(0o755)
    async with serving(path, NOBODY, mode=0o666) as served:
        for what in ("pause", "resume"):
            url, names = f"/paddock/{what}", {"models": ["smol", "other"]}
            refused = await fetch_as(path, "POST", url, names, uid=65534)
            assert refused.status == 403
            assert refused.json["error"].startswith("uid 65534 may not pause or resume models; ")
            reply = await fetch(path, "POST", url, names)
            assert (reply.status, reply.json) == (200, names)
            assert (await fetch(path, "POST", url, {"models": ["unknown"]})).status == 404
            assert (await fetch(path, "GET", url)).status == 405
        wrong: list[Any] = [b"", b"{", {}, [], {"models": "a"}, {"models": [1]}, {"models": []}]
        for body in wrong:
            assert (await fetch(path, "POST", "/paddock/pause", body)).status == 400
        assert served.host.switched == [("paused", "smol", "other"), ("resumed", "smol", "other")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_a_model_is_explained_to_those_for_whom_it_exists(path: Path) -> None:
    path.parent.chmod(0o755)
    async with serving(path, NOBODY, mode=0o666) as served:
        served.host.rules = Policy({Name.parse("secret"): Grant()})
        for model, status in (("smol", 200), ("secret", 404), ("nobody", 404), ("a b", 400)):
            query = f"/paddock/explain?model={quote(model)}"
            found = await fetch_as(path, "GET", query, uid=65534)
            assert found.status == status, found.body
        hidden = await fetch_as(path, "GET", "/paddock/explain?model=secret", uid=65534)
        missing = await fetch_as(path, "GET", "/paddock/explain?model=nobody", uid=65534)
        assert hidden.json["error"].replace("secret", "nobody") == missing.json["error"]
        assert (await fetch(path, "GET", "/paddock/explain?model=secret")).status == 200
        assert (await fetch(path, "GET", "/paddock/explain")).status == 400


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", ["1", "2", "3"]),
        ("&after=2", ["3"]),
        ("&after=now", []),
        ("&after=99", ["1", "2", "3"]),
    ],
)
async def test_events_so_far_come_and_end(path: Path, query: str, ids: list[str]) -> None:
    async with serving(path, NOBODY) as served:
        for _ in range(3):
            served.host.happen("smol")
        reply = await fetch(path, "GET", f"/paddock/events?follow=0{query}")
        lines = reply.body.decode().splitlines()
        assert [row.removeprefix("id: ") for row in lines if row.startswith("id: ")] == ids
        assert (await fetch(path, "GET", "/paddock/events?follow=2")).status == 400


async def test_who_waits_for_a_cycle_is_told_that_paddock_stops(path: Path) -> None:
    async with serving(path, NOBODY) as served:
        served.host.reconciling = asyncio.Event()
        waiting = asyncio.create_task(fetch(path, "POST", "/paddock/reconcile"))
        await until(lambda: served.host.cycles == 1, 5)
        await served.endpoint.stop(30)
        reply = await waiting
        assert (reply.status, reply.json) == (503, {"error": "paddock is stopping"})


async def test_who_waits_for_a_model_is_served_once_it_is_ready(
    server: RealOllama, served: Served
) -> None:
    served.host.verdict = "not_ready"
    chat = CHAT | {"stream": False}
    headers = ("Prefer: wait=30",)
    waiting = asyncio.create_task(fetch(served.path, "POST", "/api/chat", chat, *headers))
    await until(lambda: len(served.host.admitted) >= 2, 5)
    served.host.verdict = "serve"
    served.host.happen("smol")
    reply = await waiting
    assert reply.json["done"] is True


async def test_who_waits_for_a_model_in_vain_is_told_why(path: Path) -> None:
    async with serving(path, NOBODY) as served:
        served.host.verdict = "not_ready"
        reply = await fetch(path, "POST", "/api/chat?wait=0.1", CHAT)
        assert (reply.status, reply.head.get(b"retry-after")) == (503, b"7")
        waiting = asyncio.create_task(
            fetch(path, "POST", "/v1/chat/completions", CHAT, "Paddock-Wait: 600")
        )
        await until(lambda: len(served.host.admitted) >= 4, 5)
        await served.endpoint.stop(30)
        assert (await waiting).json["error"]["message"] == "paddock is stopping"


async def test_metrics_are_text_that_prometheus_reads(server: RealOllama, served: Served) -> None:
    await fetch(served.path, "POST", "/api/chat", CHAT)
    reply = await fetch(served.path, "GET", "/metrics")
    assert reply.head.content_type == "text/plain; version=0.0.4; charset=utf-8"
    found = parse(reply.body.decode())["paddock_stream_first_byte_seconds"]
    assert found.samples["paddock_stream_first_byte_seconds_count", ()] == 1
    assert served.endpoint.counts.chunks > 10


async def test_over_tcp_there_are_health_and_metrics_and_nothing_else(path: Path) -> None:
    async with serving(path, NOBODY) as served:
        public = listen_on("127.0.0.1", 0)
        where = f"127.0.0.1:{public.getsockname()[1]}"
        await served.endpoint.start_public(public, own_names("gpu1"))
        for route in ("/healthz", "/readyz", "/metrics"):
            assert (await fetch(where, "GET", route)).status == 200
            assert (await fetch(where, "HEAD", route)).status == 200
            assert (await fetch(where, "POST", route)).status == 405
        for route in ("/paddock/status", "/api/tags", "/api/chat", "/v1/models", "/"):
            assert (await fetch(where, "GET", route)).status == 404
        wire = await Wire.open(where)
        wire.writer.write(b"GET /metrics HTTP/1.1\r\nHost: rebound.example\r\n\r\n")
        assert (await wire.head()).status == 403
        assert served.host.admitted == []


def test_an_address_that_is_taken_is_a_wrong_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"cannot listen on 127.0.0.1:{port}"):
            listen_on("127.0.0.1", port)
