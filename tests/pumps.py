"""A pump between two socket pairs; the test holds the far end of each."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import cast

from aiohttp.abc import AbstractStreamWriter

from paddock.endpoint.conduit import Conduit
from paddock.endpoint.dialects import Dialect, error_record
from paddock.endpoint.exchange import Exchange
from paddock.endpoint.framing import Framing
from paddock.endpoint.ports import EndpointLimits
from paddock.endpoint.pump import Pump, Wire
from paddock.endpoint.upstream import Pool

HEAD = b"HEAD"


@dataclass
class Pumped:
    """One stream, and the far ends of its two connections."""

    pump: Pump
    exchange: Exchange
    client: socket.socket
    ollama: socket.socket
    towards_client: asyncio.Transport

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.ollama, data)

    async def received(self, size: int) -> bytes:
        loop, found = asyncio.get_running_loop(), bytearray()
        while len(found) < size:
            more = await loop.sock_recv(self.client, size - len(found))
            assert more, f"the connection ended after {bytes(found[-100:])!r}"
            found += more
        return bytes(found)

    async def left(self) -> bytes:
        """What Ollama reads last: nothing, once nobody listens any more."""
        with contextlib.suppress(ConnectionResetError):
            return await asyncio.get_running_loop().sock_recv(self.ollama, 1)
        return b""


@contextlib.asynccontextmanager
async def pumped(
    framing: Framing,
    *,
    raw: bool = True,
    limits: EndpointLimits | None = None,
    pool: Pool | None = None,
    is_whole: Callable[[bytes], bool] | None = None,
) -> AsyncIterator[Pumped]:
    """Runs a pump meanwhile. With a pool, it reads in a lane once something has come."""
    loop = asyncio.get_running_loop()
    ours, client = socket.socketpair()
    up, ollama = socket.socketpair()
    for sock in (client, ollama):
        sock.setblocking(False)
    reader = asyncio.StreamReader()
    transport, protocol = await loop.create_connection(
        lambda: asyncio.StreamReaderProtocol(reader), sock=ours
    )
    transport.set_write_buffer_limits(high=0)
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    used = pool or Pool()
    _, conduit = await loop.create_connection(lambda: Conduit(used.buffer), sock=up)
    if pool is not None:
        conduit.enter(pool.lanes())
    exchange = Exchange(used)
    exchange.use(conduit)
    ollama.send(b"HTTP/1.1 200 OK\r\n\r\n")
    await exchange.head(1)
    told = functools.partial(error_record, Dialect.OLLAMA, "application/x-ndjson")
    wire = Wire(HEAD, framing, raw=raw, keep_alive=True, told=told, is_whole=is_whole)
    pump = Pump(
        transport,
        cast("AbstractStreamWriter", writer),
        exchange,
        wire_for=lambda _: wire,
        limits=limits or EndpointLimits(),
    )
    pump.start()
    try:
        yield Pumped(pump, exchange, client, ollama, transport)
    finally:
        pump.stop()
        transport.abort()
        client.close()
        ollama.close()
        await asyncio.sleep(0)
