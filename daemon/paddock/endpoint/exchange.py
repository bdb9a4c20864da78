"""One request to Ollama and its answer, on a connection that nobody else uses meanwhile.

Owns the TCP connection: it takes one that waits or opens one, sends one request, reads the head,
and hands on what follows as it comes. After the clean end of an answer the connection waits for the
next request; in every other case it is closed at once, which is how Ollama learns that nobody
listens any more. Knows nothing of the client, of models or of dialects.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import cast

from paddock.endpoint.framing import (
    MAX_HEAD_BYTES,
    BadAnswer,
    Framing,
    Head,
    framing_of,
    parse_head,
)
from paddock.endpoint.lanes import LaneReader, Receive
from paddock.endpoint.upstream import Pool, Upstream, new_buffer

_CUT_OFF = "ollama closed the connection before its answer was whole"
_HEAD_END = b"\r\n\r\n"
_MAX_REPEATED_BYTES = 64 * 1024  # a request is kept until it is sure that it need not be repeated


class _Stale(Exception):
    """A connection that had waited was closed before anything came on it."""


class ExchangeFailed(Exception):
    """Ollama did not answer, or not to the end; one line for the client, and the HTTP status."""

    def __init__(self, message: str, *, status: int = 502):
        super().__init__(message)
        self.message = message
        self.status = status


class Exchange(asyncio.BufferedProtocol):
    """The connection of one exchange; make it with `open_exchange`.

    It reads into one buffer: asyncio's other way makes room for 256 KiB at each read, which costs
    more than all the rest of the way of a chunk.
    """

    def __init__(self, pool: Pool | None = None) -> None:
        self._pool = pool
        self._buffer = new_buffer() if pool is None else pool.buffer
        self._transport: asyncio.Transport | None = None
        self._head: asyncio.Future[Head] = asyncio.get_running_loop().create_future()
        self._again: Callable[[], Awaitable[None]] | None = None
        self._stays = False
        self._early = b""  # what came before somebody took it
        self._receive: Receive | None = None
        self._lane: LaneReader | None = None
        self._lost: Callable[[str], None] | None = None
        self._failure: str | None = None

    # --- called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if self._failure is not None:
            self.close()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - a wish, no more
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(self._buffer[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Takes what has come: the head, then what somebody waits for."""
        if self._receive is not None:
            if self._receive(data):
                self._leave_transport(self._receive)
        elif self._failure is None:
            self._again = None
            self._early += data
            self._look_for_head()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the end is the end
        if self._again is not None and not self._head.done():
            self._head.set_exception(_Stale())
            self._head.exception()  # seen: nobody may be waiting for it
        else:
            self.fail(_CUT_OFF)

    # --- called by the relay

    def send(self, request: bytes) -> None:
        """Sends the request."""
        if self._transport is not None and self._failure is None:
            self._transport.write(request)

    async def head(self, timeout_s: float) -> Head:
        """Waits for the head. Raises ExchangeFailed."""
        late = f"ollama did not answer within {timeout_s:g} s"
        timer = asyncio.get_running_loop().call_later(timeout_s, partial(self.fail, late, 504))
        try:
            return await self._first_head()
        finally:
            timer.cancel()

    def take(self) -> bytes:
        """Takes what has come of the body so far."""
        early, self._early = self._early, b""
        return early

    def attach(self, receive: Receive, lost: Callable[[str], None]) -> None:
        """Hands everything that follows to `receive`, and the end of the connection to `lost`."""
        self._receive, self._lost = receive, lost
        if self._failure is not None:
            lost(self._failure)

    def fail(self, message: str, status: int = 502) -> None:
        """Ends the exchange for a reason that its user is told; only the first one counts."""
        if self._failure is not None:
            return
        self._failure = message
        if not self._head.done():
            self._head.set_exception(ExchangeFailed(message, status=status))
            self._head.exception()  # seen: nobody may be waiting for it
        if self._lost is not None:
            self._lost(message)
        self.close()

    def close(self) -> None:
        """Drops the connection at once, so that Ollama stops."""
        if self._lane is not None:
            self._lane.pause()
        if self._transport is not None:
            self._transport.abort()

    def release(self) -> None:
        """Lets the connection wait for another request: the answer has ended, nothing follows."""
        transport = self._transport
        if transport is None or self._pool is None or self._failure is not None:
            return
        if self._lane is not None:
            self._lane.pause()
        if self._stays and not (
            self._early or transport.is_closing() or transport.get_write_buffer_size()
        ):
            self._transport = None
            transport.resume_reading()
            self._pool.put(transport)

    def reuse(self, transport: asyncio.Transport, again: Callable[[], Awaitable[None]]) -> None:
        """Takes a connection that waited; `again` repeats it all should it prove to be closed."""
        self._again = again
        transport.set_protocol(self)
        self.connection_made(transport)

    def pause(self) -> None:
        """Stops reading, so that Ollama's own buffers fill and it waits."""
        if self._lane is not None:
            self._lane.pause()
        elif self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Reads again, unless the connection was closed meanwhile."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._lane is not None:
            self._lane.resume()
        else:
            self._transport.resume_reading()

    def _leave_transport(self, receive: Receive) -> None:
        """Reads in a lane from now on, where the transport is a bare socket and has sent all.

        Not before something has come that was not the last: a short answer is not worth it.
        """
        transport = self._transport
        lanes = None if self._pool is None else self._pool.lanes()
        if lanes is None or transport is None or transport.is_closing():
            return
        if not transport.get_write_buffer_size() and transport.get_extra_info("sslcontext") is None:
            transport.pause_reading()
            descriptor = transport.get_extra_info("socket").fileno()
            self._lane = LaneReader(lanes, descriptor, receive, partial(self.fail, _CUT_OFF))
            self._lane.resume()

    async def _first_head(self) -> Head:
        try:
            return await self._head
        except _Stale:
            again, self._again = self._again, None
            assert again is not None
            self._head = asyncio.get_running_loop().create_future()
            await again()
            return await self._head

    def _look_for_head(self) -> None:
        while not self._head.done():
            end = self._early.find(_HEAD_END)
            if end < 0:
                if len(self._early) > MAX_HEAD_BYTES:
                    self.fail("ollama's answer has a head without an end")
                return
            data, self._early = self._early[:end], self._early[end + len(_HEAD_END) :]
            self._take_head(data)

    def _take_head(self, data: bytes) -> None:
        try:
            head = parse_head(data)
        except BadAnswer as error:
            self.fail(str(error))
            return
        if head.status >= 200:  # a 1xx goes before the answer and says nothing to us
            closes = b"close" in head.get(b"connection").lower()
            self._stays = data.startswith(b"HTTP/1.1") and not closes
            self._head.set_result(head)


async def open_exchange(upstream: Upstream, request: bytes, *, connect_s: float) -> Exchange:
    """Connects and sends. Raises ExchangeFailed when nobody listens."""
    exchange = Exchange(upstream.pool)
    ask = partial(_ask, exchange, upstream, request, connect_s=connect_s)
    waiting = upstream.pool.take() if len(request) <= _MAX_REPEATED_BYTES else None
    if waiting is None:
        await ask()
    else:
        exchange.reuse(waiting, ask)
        exchange.send(request)
    return exchange


async def _ask(exchange: Exchange, upstream: Upstream, request: bytes, *, connect_s: float) -> None:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(connect_s):
            await loop.create_connection(
                lambda: exchange, upstream.host, upstream.port, ssl=True if upstream.tls else None
            )
    except TimeoutError:
        raise ExchangeFailed(f"ollama at {upstream.url} does not accept connections") from None
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise ExchangeFailed(f"ollama at {upstream.url} cannot be reached: {why}") from error
    exchange.send(request)


def framing_for(head: Head) -> Framing:
    """Tells how the body of an answer ends. Raises ExchangeFailed."""
    try:
        return framing_of(head)
    except BadAnswer as error:
        raise ExchangeFailed(str(error)) from None
