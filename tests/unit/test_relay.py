"""The relay's pace and its ends, over real sockets: what each side is left with."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import cast

import pytest
from aiohttp.abc import AbstractStreamWriter

from paddock.endpoint.dialects import Dialect, error_record
from paddock.endpoint.exchange import Exchange
from paddock.endpoint.framing import Chunked, Framing, Length
from paddock.endpoint.ports import EndpointLimits
from paddock.endpoint.relay import ClientSide, Ending, Pump, Wire

CHUNK = b'5\r\n{"a"}\r\n'
HEAD = b"HEAD"


@dataclass
class Bench:
    """A pump between two socket pairs; the test holds the far end of each."""

    pump: Pump
    client: socket.socket
    ollama: socket.socket
    towards_client: asyncio.Transport

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.ollama, data)

    async def received(self, size: int) -> bytes:
        loop, found = asyncio.get_running_loop(), bytearray()
        while len(found) < size:
            found += await loop.sock_recv(self.client, size - len(found))
        return bytes(found)


Between = Callable[..., contextlib.AbstractAsyncContextManager[Bench]]


@pytest.fixture
def between() -> Between:
    return _between


@contextlib.asynccontextmanager
async def _between(
    framing: Framing, *, raw: bool = True, limits: EndpointLimits | None = None
) -> AsyncIterator[Bench]:
    loop = asyncio.get_running_loop()
    ours, client = socket.socketpair()
    up, ollama = socket.socketpair()
    for sock in (client, ollama):
        sock.setblocking(False)
    reader = asyncio.StreamReader()
    transport, protocol = await loop.create_connection(
        lambda: asyncio.StreamReaderProtocol(reader), sock=ours
    )
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    _, exchange = await loop.create_connection(Exchange, sock=up)
    exchange.data_received(b"HTTP/1.1 200 OK\r\n\r\n")
    await exchange.head(1)
    told = functools.partial(error_record, Dialect.OLLAMA, "application/x-ndjson")
    wire = Wire(HEAD, raw=raw, keep_alive=True)
    side = ClientSide(transport, cast("AbstractStreamWriter", writer), wire)
    pump = Pump(side, exchange, framing=framing, told=told, limits=limits or EndpointLimits())
    pump.start()
    try:
        yield Bench(pump, client, ollama, transport)
    finally:
        pump.stop()
        transport.abort()
        client.close()
        ollama.close()
        await asyncio.sleep(0)


async def test_bytes_pass_as_they_came_and_nothing_beyond_the_end(between: Between) -> None:
    async with between(Chunked()) as bench:
        for part in (CHUNK[:3], CHUNK[3:] + CHUNK, b"0\r", b"\n\r\nnot ours"):
            await bench.send(part)
            await asyncio.sleep(0)
        assert await bench.pump.run() is Ending.FINISHED
        whole = HEAD + CHUNK * 2 + b"0\r\n\r\n"
        assert await bench.received(len(whole)) == whole
        assert bench.pump.keep_alive
        with pytest.raises(BlockingIOError):
            bench.client.recv(1)


async def test_a_client_that_does_not_read_stops_ollama_and_fills_no_memory(
    between: Between,
) -> None:
    chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    async with between(Chunked()) as bench:
        run = asyncio.create_task(bench.pump.run())
        flood = asyncio.create_task(bench.send(chunk * 256))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await asyncio.shield(flood)
        assert bench.towards_client.get_write_buffer_size() < 1_000_000
        assert not run.done()
        assert await bench.received(len(HEAD) + 256 * len(chunk)) == HEAD + chunk * 256
        await flood
        await bench.send(b"0\r\n\r\n")
        assert await run is Ending.FINISHED


async def test_a_client_that_never_reads_again_is_dropped(between: Between) -> None:
    async with between(Chunked(), limits=EndpointLimits(client_stall_s=0.1)) as bench:
        flood = asyncio.create_task(bench.send((b"8000\r\n" + b"x" * 0x8000 + b"\r\n") * 256))
        assert await bench.pump.run() is Ending.CUT
        assert bench.towards_client.is_closing()
        flood.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await flood


async def test_an_end_between_two_chunks_is_told_and_the_connection_stays(
    between: Between,
) -> None:
    async with between(Chunked()) as bench:
        await bench.send(CHUNK)
        bench.ollama.close()
        assert await bench.pump.run() is Ending.BROKEN
        assert bench.pump.keep_alive
        error = b'{"error":"ollama closed the connection before its answer was whole"}\n'
        told = HEAD + CHUNK + b"%x\r\n%b\r\n0\r\n\r\n" % (len(error), error)
        assert await bench.received(len(told)) == told


@pytest.mark.parametrize("part", [CHUNK[:1], CHUNK[:5], CHUNK[:-1], CHUNK + b"0\r\n"])
async def test_an_end_within_a_chunk_is_a_cut_without_a_terminator(
    between: Between, part: bytes
) -> None:
    async with between(Chunked()) as bench:
        await bench.send(part)
        bench.ollama.close()
        assert await bench.pump.run() is Ending.CUT
        assert not bench.pump.keep_alive
        assert await bench.received(len(HEAD + part)) == HEAD + part
        with pytest.raises(BlockingIOError):
            bench.client.recv(1)


async def test_an_end_under_a_length_is_a_cut(between: Between) -> None:
    async with between(Length(10)) as bench:
        await bench.send(b"12345")
        bench.ollama.close()
        assert await bench.pump.run() is Ending.CUT
        assert await bench.received(9) == HEAD + b"12345"


async def test_what_is_no_chunk_is_a_cut(between: Between) -> None:
    async with between(Chunked()) as bench:
        await bench.send(b"zz\r\n")
        assert await bench.pump.run() is Ending.CUT
        assert not bench.pump.keep_alive


async def test_an_ollama_that_falls_silent_is_told(between: Between) -> None:
    async with between(Chunked(), limits=EndpointLimits(upstream_idle_s=0.1)) as bench:
        await bench.send(CHUNK)
        assert await bench.pump.run() is Ending.BROKEN
        told = await bench.received(len(HEAD + CHUNK) + 31)
        assert told.endswith(b'{"error":"ollama sent nothi')


async def test_a_client_without_chunks_gets_the_content_alone(between: Between) -> None:
    async with between(Chunked(), raw=False) as bench:
        await bench.send(CHUNK + b"3\r\nabc\r\n0\r\n\r\n")
        assert await bench.pump.run() is Ending.FINISHED
        assert await bench.received(12) == HEAD + b'{"a"}abc'
