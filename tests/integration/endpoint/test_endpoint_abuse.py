"""Clients that mean harm, or are broken: refused in one line, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from endpoints import CHAT, ENDLESS, MODEL, Served, Wire, fetch, serving, until
from paddock.endpoint.ports import EndpointLimits
from real import RealOllama

HEAD = b"POST /api/chat HTTP/1.1\r\nHost: p\r\n"


@contextlib.asynccontextmanager
async def undisturbed(served: Served) -> AsyncIterator[None]:
    """Holds that a stream which is open meanwhile goes on, and that a new request is served."""
    wire = await Wire.open(served.path)
    await wire.ask("POST", "/api/chat", ENDLESS)
    await wire.chunk()
    yield
    assert json.loads(await wire.chunk())["done"] is False
    await wire.close()
    assert (await fetch(served.path, "POST", "/api/show", {"model": MODEL})).status == 200


@pytest.mark.parametrize(
    "sent",
    [
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled",
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}   ",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 1_0\r\n\r\n",
        HEAD + b"Transfer-Encoding: xchunked\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        HEAD + b"X: a\r\n b\r\n\r\n",
        HEAD + b"X : a\r\n\r\n",
        HEAD + b"X: a\0b\r\n\r\n",
        b"GET /api/tags\0 HTTP/1.1\r\nHost: p\r\n\r\n",
        b"GET /api/tags HTTP/9.9\r\nHost: p\r\n\r\n",
        b"GET " + b"/" * 70_000 + b" HTTP/1.1\r\nHost: p\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=lambda sent: repr(sent[:70]),
)
async def test_what_could_be_read_in_two_ways_is_refused_and_never_forwarded(
    server: RealOllama, served: Served, sent: bytes
) -> None:
    with server.recorded() as requests:
        wire = await Wire.open(served.path)
        wire.writer.write(sent)
        head = await wire.head()
        assert 400 <= head.status < 500
        error = json.loads(await wire.body(head))["error"]
        assert error.isprintable()
        assert await wire.rest() == b"", "the connection ends: what follows cannot be trusted"
    assert requests == []
    assert served.host.admitted == []


@pytest.mark.parametrize("path_", ["/v1/models/%00", "/v1/models/a%00b", "/%00", "/api/tags%00"])
async def test_a_nul_in_a_path_reaches_nobody(
    server: RealOllama, served: Served, path_: str
) -> None:
    reply = await fetch(served.path, "GET", path_)
    assert reply.status in {400, 404}
    assert (await fetch(served.path, "GET", "/api/version")).status == 200


async def test_pipelined_requests_are_answered_in_their_order(served: Served) -> None:
    wire = await Wire.open(served.path)
    body = json.dumps(CHAT).encode()
    chat = HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    version = b"GET /api/version HTTP/1.1\r\nHost: p\r\n\r\n"
    wire.writer.write(chat + version + chat + version)
    for _ in range(2):
        assert (await wire.head()).status == 200
        assert json.loads((await wire.chunks())[-1])["done"] is True
        head = await wire.head()
        assert list(json.loads(await wire.body(head))) == ["version"]


async def test_a_head_that_trickles_is_not_waited_for(server: RealOllama, path: Path) -> None:
    """Slowloris: each byte comes in time, the whole never does."""
    limits = EndpointLimits(header_s=0.3)
    async with serving(path, server.url, limits=limits) as served, undisturbed(served):
        wires = [await Wire.open(path) for _ in range(50)]
        closed = [asyncio.create_task(_closed(wire)) for wire in wires]
        async with asyncio.timeout(5):
            for byte in b"POST /api/chat HTTP/1.1\r\nX-Slow: " + b"x" * 1000:
                for wire in wires:
                    wire.writer.write(bytes([byte]))
                await asyncio.sleep(0.02)
                if all(task.done() for task in closed):
                    break
            assert all(task.done() for task in closed)


async def _closed(wire: Wire) -> None:
    """Until the other side closes, whatever it says before."""
    with contextlib.suppress(ConnectionError):
        await wire.rest()


async def test_a_body_that_trickles_is_not_waited_for(server: RealOllama, path: Path) -> None:
    async with serving(path, server.url, limits=EndpointLimits(body_s=0.3)) as served:
        wire = await Wire.open(path)
        wire.writer.write(HEAD + b"Content-Length: 100000\r\n\r\n")
        trickle = asyncio.create_task(_trickle(wire))
        async with asyncio.timeout(5):
            assert (await wire.head()).status == 408
        trickle.cancel()
        assert served.endpoint.counts.open == 0


async def _trickle(wire: Wire) -> None:
    while True:
        wire.writer.write(b" ")
        await asyncio.sleep(0.02)


async def test_clients_that_say_half_and_go_leave_nothing_behind(served: Served) -> None:
    async with undisturbed(served):
        for _ in range(100):
            wire = await Wire.open(served.path)
            wire.writer.write(HEAD + b"Content-Length: 100\r\n\r\n{")
            wire.writer.write_eof()
            await wire.close()
        await until(lambda: served.endpoint.counts.connections == 1, 5)
        assert served.endpoint.counts.open == 1


async def test_a_thousand_connections_harm_nobody(served: Served) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 4096), most))  # both ends are ours
    async with undisturbed(served):
        wires = await asyncio.gather(*[Wire.open(served.path) for _ in range(1000)])
        assert len(wires) == 1000
        reply = await fetch(served.path, "GET", "/api/version")
        assert reply.status == 200
        await asyncio.gather(*[wire.close() for wire in wires])


async def test_connections_over_the_limit_are_told_and_closed(
    server: RealOllama, path: Path
) -> None:
    limits = EndpointLimits(max_connections_per_user=3)
    async with serving(path, server.url, limits=limits) as served:
        wires = [await Wire.open(path) for _ in range(3)]
        await until(lambda: served.endpoint.counts.connections == 3, 5)
        one_more = await Wire.open(path)
        head = await one_more.head()
        assert (head.status, head.get(b"retry-after")) == (503, b"1")
        assert "too many connections" in json.loads(await one_more.rest())["error"]
        await wires[0].close()
        await until(lambda: served.endpoint.counts.connections == 2, 5)
        assert (await fetch(path, "GET", "/api/version")).status == 200
        assert served.endpoint.counts.connections_refused == 1


async def test_a_body_of_many_small_lies_is_refused_quickly(served: Served) -> None:
    async with undisturbed(served):
        for body in (
            b'{"model":"' + b"a" * 1_000_000 + b'"}',
            b'{"model":' + b"[" * 100_000,
            b"{" + b",".join(b'"k%d":0' % n for n in range(1000)) + b"}",
        ):
            reply = await fetch(served.path, "POST", "/api/chat", body)
            assert reply.status in {400, 404}
