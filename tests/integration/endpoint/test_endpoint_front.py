"""A connection is served in front of the HTTP library while its requests are plain, and by it from
the first one on that is not: a client sees no difference, on either side or on the way over."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from endpoints import CHAT, MODEL, Served, Wire, serving, until
from paddock.endpoint import front as module
from paddock.endpoint.exchange import Exchange
from paddock.endpoint.front import Front
from paddock.endpoint.ports import EndpointLimits
from paddock.endpoint.pump import Pump
from real import RealOllama

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: p\r\n\r\n"
BODY = json.dumps({"models": [MODEL]}).encode()
PAUSE = b"POST /paddock/pause HTTP/1.1\r\nHost: p\r\nContent-Length: %d\r\n\r\n" % len(BODY)


@pytest.fixture
async def alone(path: Path) -> AsyncIterator[Served]:
    """An endpoint without an Ollama: its own routes answer all the same."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        async with serving(path, f"http://127.0.0.1:{closed.getsockname()[1]}") as served:
            yield served


def fronts(served: Served) -> int:
    """How many connections are served in front."""
    runner, _, _ = served.endpoint._sites[0]
    server = runner.server
    assert server is not None
    return len(server.fronts)  # type: ignore[attr-defined]


async def answered(wire: Wire) -> int:
    head = await wire.head()
    await wire.body(head)
    return head.status


async def test_plain_requests_are_served_in_front_whatever_their_route(alone: Served) -> None:
    wire = await Wire.open(alone.path)
    for sent, status in (
        (HEALTH, 200),
        (PAUSE + BODY, 200),
        (HEALTH.replace(b"healthz", b"nothing"), 404),
        (PAUSE.replace(b"/paddock/pause", b"/api/chat") + BODY, 400),
        (HEALTH, 200),
    ):
        wire.writer.write(sent)
        assert await answered(wire) == status
    assert fronts(alone) == 1


async def test_a_body_that_follows_its_head_closely_is_waited_for(alone: Served) -> None:
    wire = await Wire.open(alone.path)
    wire.writer.write(PAUSE)
    await asyncio.sleep(0.001)
    wire.writer.write(BODY)
    assert await answered(wire) == 200
    assert alone.host.switched == [("paused", MODEL)]


@pytest.mark.parametrize(
    "sent",
    [
        [HEALTH[:20], HEALTH[20:]],
        [PAUSE, BODY[:5], BODY[5:]],
        [HEALTH + HEALTH[:9], HEALTH[9:]],
        [HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")],
        [PAUSE.replace(b"Content-Length: %d" % len(BODY), b"Transfer-Encoding: chunked"),
         b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)],
        [PAUSE.replace(b"%d" % len(BODY), b"100000"), BODY + b" " * (100_000 - len(BODY))],
    ],
    ids=["a head in pieces", "a body in pieces", "pipelined", "upgrade", "chunks", "large"],
)  # fmt: skip
async def test_what_is_not_plain_is_answered_after_it_was_given_away(
    alone: Served, sent: list[bytes]
) -> None:
    wire = await Wire.open(alone.path)
    wire.writer.write(HEALTH)
    assert await answered(wire) == 200
    for part in sent:
        wire.writer.write(part)
        await asyncio.sleep(2 * module._SOON_S)
    assert await answered(wire) == 200
    assert fronts(alone) == 0
    if sent[0].startswith(HEALTH + b"GET"):
        assert await answered(wire) == 200
    wire.writer.write(HEALTH)
    assert await answered(wire) == 200
    assert alone.endpoint.counts.connections == 1
    await wire.close()
    await until(lambda: alone.endpoint.counts.connections == 0, 5)


async def test_what_comes_while_a_request_is_served_is_answered_after_it(alone: Served) -> None:
    alone.host.reconciling = asyncio.Event()
    wire = await Wire.open(alone.path)
    wire.writer.write(b"POST /paddock/reconcile HTTP/1.1\r\nHost: p\r\n\r\n")
    await until(lambda: alone.host.cycles == 1, 5)
    wire.writer.write(HEALTH * 2000)  # more than is read before its turn
    await asyncio.sleep(0.05)
    alone.host.reconciling.set()
    for _ in range(2001):
        assert await answered(wire) == 200


async def test_an_idle_connection_is_closed_and_one_in_use_is_not(path: Path) -> None:
    async with serving(path, "http://127.0.0.1:9", limits=EndpointLimits(header_s=0.2)) as served:
        served.host.reconciling = asyncio.Event()
        idle, busy = await Wire.open(path), await Wire.open(path)
        busy.writer.write(b"POST /paddock/reconcile HTTP/1.1\r\nHost: p\r\n\r\n")
        async with asyncio.timeout(5):
            assert await idle.rest() == b""
        await asyncio.sleep(0.3)
        served.host.reconciling.set()
        assert await answered(busy) == 200
        async with asyncio.timeout(5):
            assert await busy.rest() == b""


async def test_a_client_that_goes_ends_what_is_done_for_it(alone: Served) -> None:
    alone.host.reconciling = asyncio.Event()
    wire = await Wire.open(alone.path)
    wire.writer.write(b"POST /paddock/reconcile HTTP/1.1\r\nHost: p\r\n\r\n")
    await until(lambda: alone.host.cycles == 1, 5)
    assert alone.endpoint._answering == 1
    await wire.close()
    await until(lambda: alone.endpoint._answering == 0, 5)
    assert alone.endpoint.counts.connections == 0


async def test_a_stream_leaves_nothing_for_the_collector_of_garbage(
    server: RealOllama, served: Served
) -> None:
    """Circles would be looked for among all that a daemon holds, while no chunk moves."""
    wire = await Wire.open(served.path)
    await wire.ask("POST", "/api/chat", CHAT)
    await wire.chunks()
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            await wire.ask("POST", "/api/chat", CHAT)
            await wire.chunks()
        kept = [o for o in gc.get_objects() if isinstance(o, Pump | Exchange | Front)]
        assert [type(o) for o in kept] == [Front]
    finally:
        gc.enable()
