"""Pumps an answer of Ollama to the client, transport to transport, as its bytes come.

Owns the bytes of one stream from the head on: the head for the client, the framing (Ollama's own
chunks, passed on unaltered), the pace (a slow client holds back its own stream and nothing else)
and the end (an error record where one can be told). It writes below aiohttp, which has parsed the
request and reads the next one once the stream has ended. Decides nothing about models.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

from paddock.endpoint.dialects import Dialect, error_record
from paddock.endpoint.exchange import Exchange, framing_for
from paddock.endpoint.framing import BadAnswer, Chunked, Framing, Head, Length
from paddock.endpoint.ports import EndpointLimits

# RFC 9110, 7.6.1; the length is written anew with the framing.
HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate te trailer transfer-encoding"
    b" upgrade content-length".split()
)


class Ending(enum.Enum):
    """How a stream ended: whole, told of as an error, or cut off without a word."""

    FINISHED = "finished"
    BROKEN = "broken"
    CUT = "cut"


class Relayed(web.StreamResponse):
    """What aiohttp is told once an answer was written below it: nothing is left to send."""

    def __init__(self, status: int, *, keep_alive: bool, chunks: int = 0) -> None:
        super().__init__(status=status)
        self._stays = keep_alive
        self.chunks = chunks

    @property
    def keep_alive(self) -> bool:
        """Whether the connection takes another request."""
        return self._stays

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:  # noqa: ARG002
        """Sends nothing."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Sends nothing."""


@dataclass(frozen=True, slots=True)
class Wire:
    """How the answer is written for one client: its own head, and whether chunks go as they are."""

    head: bytes
    raw: bool
    keep_alive: bool


async def relay(
    request: web.BaseRequest,
    exchange: Exchange,
    *,
    head: Head,
    dialect: Dialect,
    limits: EndpointLimits,
) -> tuple[Relayed, Ending]:
    """Writes the answer of `exchange` to the client of `request`, to its end.

    Raises ExchangeFailed while nothing was written, and ConnectionError when the client is gone.
    """
    framing = framing_for(head)
    await request.writer.drain()  # of an earlier answer that is not yet taken
    client = request.transport
    if client is None:
        raise ConnectionResetError("the client is gone")
    pump = Pump(
        ClientSide(client, request.writer, _wire(request, head, framing)),
        exchange,
        framing=framing,
        told=partial(error_record, dialect, head.content_type),
        limits=limits,
    )
    try:
        pump.start()
        ending = await pump.run()
    except Exception:
        client.abort()  # half an answer has no room for another one
        raise
    finally:
        pump.stop()
    return Relayed(head.status, keep_alive=pump.keep_alive, chunks=framing.chunks), ending


@dataclass(frozen=True, slots=True)
class ClientSide:
    """The connection to the client, how to wait for it, and what it is sent first."""

    transport: asyncio.Transport
    writer: AbstractStreamWriter
    wire: Wire


class Pump:
    """One stream from `exchange` to `client`; `told` writes an error as a record of it."""

    def __init__(
        self,
        client: ClientSide,
        exchange: Exchange,
        *,
        framing: Framing,
        told: Callable[[str], bytes | None],
        limits: EndpointLimits,
    ) -> None:
        self._client = client.transport
        self._writer = client.writer
        self._wire = client.wire
        self._exchange = exchange
        self._framing = framing
        self._told = told
        self._limits = limits
        self._high_bytes = self._client.get_write_buffer_limits()[1]
        self._loop = asyncio.get_running_loop()
        self._moved_s = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._wake = asyncio.Event()
        self._held = self._surplus = False
        self._ending: Ending | None = None

    @property
    def keep_alive(self) -> bool:
        """Whether the client can tell where the answer ended."""
        return self._wire.keep_alive and self._ending is not Ending.CUT

    def start(self) -> None:
        """Writes the head and what there is, and takes what follows."""
        early = self._follow(self._exchange.take())
        self._client.write(self._wire.head + early)
        self._settle()
        self._exchange.attach(self._receive, self._lost)
        self._watch()

    async def run(self) -> Ending:
        """Waits for the end; per chunk it is not woken."""
        while self._ending is None:
            await self._wake.wait()
            self._wake.clear()
            if self._held and self._ending is None:
                await self._drain()
        return self._ending

    def stop(self) -> None:
        """Lets go of the exchange, whatever the end was."""
        if self._timer is not None:
            self._timer.cancel()
        if self._framing.done and not self._surplus:
            self._exchange.release()
        self._exchange.close()

    # --- per chunk: no task is woken, nothing is copied

    def _receive(self, data: bytes) -> None:
        if self._ending is not None:
            self._surplus = True
            return
        self._client.write(self._follow(data))
        self._moved_s = self._loop.time()
        self._settle()

    def _follow(self, data: bytes) -> bytes:
        payload: list[bytes] | None = None if self._wire.raw else []
        try:
            end = self._framing.feed(data, payload)
        except BadAnswer:
            self._end(Ending.CUT)
            return b""
        self._surplus = end < len(data)
        if payload is not None:
            return b"".join(payload)
        return data if end == len(data) else data[:end]

    def _settle(self) -> None:
        if self._framing.done:
            self._end(Ending.FINISHED)
        elif self._client.is_closing():
            self._end(Ending.CUT)
        elif not self._held and self._client.get_write_buffer_size() > self._high_bytes:
            self._held = True
            self._exchange.pause()
            self._wake.set()

    # --- pace and end

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(self._limits.client_stall_s):
                await self._writer.drain()
        except TimeoutError:
            self._client.abort()
            self._end(Ending.CUT)
        self._held = False
        self._moved_s = self._loop.time()
        self._exchange.resume()

    def _watch(self) -> None:
        idle_s = 0.0 if self._held else self._loop.time() - self._moved_s
        left_s = self._limits.upstream_idle_s - idle_s
        if left_s <= 0:
            limit_s = self._limits.upstream_idle_s
            self._exchange.fail(f"ollama sent nothing for {limit_s:g} s")
        else:
            self._timer = self._loop.call_later(left_s, self._watch)

    def _lost(self, message: str) -> None:
        if self._ending is not None:
            return
        if self._framing.ends_with_connection:
            self._end(Ending.FINISHED)
            return
        record = self._told(message)
        if record is None or not self._framing.clean:
            self._end(Ending.CUT)
            return
        self._client.write(
            b"%x\r\n%b\r\n0\r\n\r\n" % (len(record), record) if self._wire.raw else record
        )
        self._end(Ending.BROKEN)

    def _end(self, ending: Ending) -> None:
        if self._ending is None:
            self._ending = ending
            self._wake.set()


def _wire(request: web.BaseRequest, head: Head, framing: Framing) -> Wire:
    modern = request.version >= HttpVersion11
    match framing:
        case Length():
            length = head.get(b"content-length")
            extra = [b"Content-Length: " + length] if length else []
            raw, framed = True, True
        case Chunked() if modern:
            extra = [b"Transfer-Encoding: chunked"]
            raw, framed = True, True
        case _:
            extra, raw, framed = [], False, False
    keep_alive = modern and framed and request.keep_alive
    if not keep_alive:
        extra.append(b"Connection: close")
    lines = [b"HTTP/1.1 %d %b" % (head.status, head.reason)]
    lines += [b"%b: %b" % header for header in passed_on(head)]
    return Wire(b"\r\n".join([*lines, *extra, b"", b""]), raw, keep_alive)


def passed_on(head: Head) -> list[tuple[bytes, bytes]]:
    """Gives the headers of an answer that are meant for the client."""
    named = {name.strip().lower() for name in head.get(b"connection").split(b",")}
    dropped = HOP_BY_HOP | named
    return [(name, value) for name, value in head.headers if name.lower() not in dropped]
