"""Clients that mean harm, or are broken: refused in one line, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import sys
from asyncio.subprocess import PIPE
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
        HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nContent-Length: 5\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 17 + b"\r\n{}\r\n0\r\n\r\n",
        HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        HEAD + b"Content-Length: 2, 2\r\n\r\n{}",
        HEAD + b"Content-Length: +2\r\n\r\n{}",
        HEAD + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n{}",
        HEAD + b"X: a\rb\r\n\r\n",
        HEAD + b"X: a\nY: b\r\n\r\n",
        HEAD + b": a\r\n\r\n",
        HEAD + b"Host: q\r\n\r\n",
        b"GET /api/tags HTTP/1.1\nHost: p\n\n",
        b"GET /api/tags HTTP/1.1\rHost: p\r\r",
        b"GET /api/tags HTTP/1.1\r\n\r\n",
        b"GET\t/api/tags HTTP/1.1\r\nHost: p\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: p\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
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


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 501),
        (b"GET /api/tags HTTP/2.0\r\nHost: p\r\n\r\n", 505),
        (b"GET /api/tags\r\n\r\n", 505),
    ],
)
async def test_what_is_not_spoken_here_is_refused_and_the_connection_ends(
    server: RealOllama, served: Served, sent: bytes, status: int
) -> None:
    with server.recorded() as requests:
        wire = await Wire.open(served.path)
        wire.writer.write(sent)
        head = await wire.head()
        assert head.status == status
        assert list(json.loads(await wire.body(head))) == ["error"]
        assert await wire.rest() == b""
    assert requests == []


@pytest.mark.parametrize(
    "headers",
    [
        ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"),
        ("Connection: Upgrade", "Upgrade: websocket"),
        ("Connection: keep-alive", "Keep-Alive: timeout=5"),
    ],
)
async def test_an_offer_of_another_protocol_is_passed_over(
    served: Served, headers: tuple[str, ...]
) -> None:
    """Java's client makes one with every request."""
    wire = await Wire.open(served.path)
    for _ in range(2):
        head = await wire.ask("POST", "/api/show", {"model": MODEL}, *headers)
        assert head.status == 200
        assert json.loads(await wire.body(head))["details"]


async def test_a_request_that_names_no_path_of_ours_opens_no_way(
    server: RealOllama, served: Served
) -> None:
    with server.recorded() as requests:
        wire = await Wire.open(served.path)
        wire.writer.write(b"CONNECT ollama:11434 HTTP/1.1\r\nHost: p\r\n\r\n")
        head = await wire.head()
        assert head.status == 404
        await wire.body(head)
        assert (await wire.ask("GET", "/healthz")).status == 200, "no tunnel was opened"
    assert requests == []


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


async def test_a_second_head_that_trickles_is_not_waited_for(
    server: RealOllama, path: Path
) -> None:
    async with serving(path, server.url, limits=EndpointLimits(header_s=0.3)):
        wire = await Wire.open(path)
        head = await wire.ask("GET", "/api/version")
        await wire.body(head)
        wire.writer.write(b"GET /api/version HTTP/1.1\r\nX-Slow: ")
        trickle = asyncio.create_task(_trickle(wire, b"x"))
        async with asyncio.timeout(5):
            assert await wire.rest() == b""
        trickle.cancel()


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


async def _trickle(wire: Wire, byte: bytes = b" ") -> None:
    while True:
        wire.writer.write(byte)
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


def open_files(count: int) -> int:
    """Lets this process open so many files, where it may; gives how many it may open."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if now < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, most), most))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


FLOOD = """
import resource, select, socket, sys
path, count = sys.argv[1], int(sys.argv[2])
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(count + 64, most), most))
poll, socks = select.poll(), []
for _ in range(count):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    socks.append(sock)
    poll.register(sock, select.POLLIN)
print("connected", flush=True)
sys.stdin.readline()
told = {fd for fd, _ in poll.poll(1000)}
print(len(told), sum(b" 503 " in s.recv(4096) for s in socks if s.fileno() in told), flush=True)
sys.stdin.readline()
"""


@contextlib.asynccontextmanager
async def flood(path: Path, count: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that holds so many connections open, and says nothing on them."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", FLOOD, str(path), str(count), stdin=PIPE, stdout=PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    async with asyncio.timeout(60):
        assert await process.stdout.readline() == b"connected\n"
    yield process
    process.stdin.close()
    await process.wait()


async def test_ten_thousand_connections_harm_nobody(server: RealOllama, path: Path) -> None:
    """All of them are kept, where the limits allow it."""
    most = open_files(11_000)
    if most < 11_000:
        pytest.skip(f"this process may open {most} files; 11,000 are needed")
    limits = EndpointLimits(max_connections=11_000, max_connections_per_user=11_000)
    async with serving(path, server.url, limits=limits) as served, undisturbed(served):
        async with flood(path, 10_000):
            await until(lambda: served.endpoint.counts.connections >= 10_000, 30)
            assert (await fetch(path, "GET", "/api/version")).status == 200
            assert served.endpoint.counts.connections_refused == 0
        await until(lambda: served.endpoint.counts.connections == 1, 30)


async def test_of_ten_thousand_connections_those_over_the_limit_are_told(
    served: Served,
) -> None:
    """By default: what one user may hold is kept, and each of the rest gets an answer."""
    open_files(4096)
    mine = EndpointLimits().max_connections_per_user
    wire = await Wire.open(served.path)
    await wire.ask("POST", "/api/chat", ENDLESS)
    await wire.chunk()
    async with flood(served.path, 10_000) as process:
        await until(lambda: served.endpoint.counts.connections_refused > 10_000 - mine, 30)
        assert json.loads(await wire.chunk())["done"] is False
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"\n")
        told, refused = map(int, (await process.stdout.readline()).split())
        assert told == refused == served.endpoint.counts.connections_refused
        assert served.endpoint.counts.connections == mine
    await until(lambda: served.endpoint.counts.connections == 1, 30)
    assert (await fetch(served.path, "POST", "/api/show", {"model": MODEL})).status == 200


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
