"""A connection whose requests are plain: each has come whole, is short, and nothing follows it.

Owns such a connection, and a task for as long as one of its requests is served. aiohttp's parser
reads each one, and its requests and answers are aiohttp's; what is left out is what a plain request
does not need. With the first request that is not plain (in pieces, in chunks, pipelined, malformed,
large) the connection becomes aiohttp's for good, from that request's first byte: it alone judges
what is odd.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Any, cast

import structlog
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpProcessingError, HttpRequestParser, RawRequestMessage, StreamWriter
from aiohttp.streams import StreamReader

from paddock.endpoint.answers import plain_answer
from paddock.endpoint.peer import read_peer

if TYPE_CHECKING:
    from paddock.core.access import Peer
    from paddock.endpoint.connection import ConnectionServer

log = structlog.get_logger()

MOST_BYTES = 64 * 1024
_SOON_S = 0.02  # many clients send a head and its body one after the other
_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]{1,6})\r\n", re.IGNORECASE)
_BUFFER = memoryview(bytearray(MOST_BYTES))  # one for all: it is read before the next one comes


class Front(BaseProtocol, asyncio.BufferedProtocol):
    """One connection of a client."""

    __slots__ = (
        "_data",
        "_idle",
        "_requests",
        "_rest",
        "_server",
        "_since_s",
        "_task",
        "peer",
    )
    ssl_context = peername = sockname = None  # what a request asks of its connection

    def __init__(self, server: ConnectionServer, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.peer: Peer | None = None
        self._server = server
        self._requests: HttpRequestParser | None = None
        self._data = b""  # what has come and was not yet read
        self._since_s = time.monotonic()
        self._idle: asyncio.TimerHandle | None = None
        self._rest: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    # --- called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Takes the connection in, or refuses it."""
        super().connection_made(transport)
        assert self.transport is not None
        self.peer = read_peer(transport)
        self.transport.set_write_buffer_limits(high=0)  # to drain is to have sent all
        problem = self._server.census.enter(self.peer)
        if problem is None:
            self._server.fronts.add(self)
            self._server.census.silent.add(self)
            self._idle = self._loop.call_later(self._server.idle_s, self._look_at_idle)
        else:
            # Nothing was read, and nothing will be: whoever floods us costs one answer.
            self.transport.write(plain_answer(problem))
            self.transport.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Lets the connection go, and whatever is done for it."""
        super().connection_lost(exc)
        self._leave()
        self._requests = None
        self._server.census.leave(self.peer)
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - a wish, no more
        """Gives where the next bytes go."""
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """Takes what has come."""
        if self.transport is None or self.transport.is_closing():
            return
        self._data += _BUFFER[:nbytes]
        if self._task is None:
            self._look()
        elif len(self._data) > MOST_BYTES:
            self.transport.pause_reading()

    def pause_reading(self) -> None:
        """Asked by the reader of a body: it is whole."""

    def resume_reading(self, resume_parser: bool = True) -> None:
        """The same."""

    # --- requests

    def stop(self) -> None:
        """Ends it, whatever is done for it."""
        if self._task is not None:
            self._task.cancel()
        if self.transport is not None:
            self.transport.close()

    def _look(self) -> None:
        """Serves what has come, if it is a whole plain request, or gives it away."""
        size = _whole_size(self._data)
        if len(self._data) < size <= MOST_BYTES:
            if self._rest is None:
                self._rest = self._loop.call_later(_SOON_S, self._hand_over)
            return
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        found = self._read() if len(self._data) == size else None
        if found is None:
            self._hand_over()
        else:
            self._data = b""
            self._task = self._loop.create_task(self._serve(*found))

    def _read(self) -> tuple[RawRequestMessage, StreamReader] | None:
        """Gives the request, if it is nothing but one plain one."""
        if self._requests is None:
            self._requests = self._server.parser(self)
        try:
            messages, upgraded, _ = self._requests.feed_data(self._data)
        except HttpProcessingError:
            return None
        if upgraded or len(messages) != 1:
            return None
        message, payload = messages[0]
        head_bytes = self._data.find(_HEAD_END) + len(_HEAD_END)
        is_all = payload.is_eof() and head_bytes + payload.total_bytes == len(self._data)
        return (message, payload) if is_all and not (message.upgrade or message.chunked) else None

    async def _serve(self, message: RawRequestMessage, payload: StreamReader) -> None:
        stays = False
        try:
            writer, task = StreamWriter(self, self._loop), cast("Any", self._task)
            request = web.BaseRequest(message, payload, cast("Any", self), writer, task, self._loop)
            answer = await self._server.request_handler(request)
            await answer.prepare(request)
            await answer.write_eof()
            stays = bool(answer.keep_alive)
        except ConnectionError:
            pass  # the client is gone
        except Exception as error:
            log.error("request failed", exc_info=error)
        self._task = None
        if self.transport is None:
            return
        if not stays:
            self.transport.close()
            return
        self._since_s = time.monotonic()
        if self._data:
            self.transport.resume_reading()
            self._look()

    def _hand_over(self) -> None:
        """Gives the connection away, with all that has come and was not answered."""
        data, transport = self._data, self.transport
        if transport is None or transport.is_closing():
            return
        self._leave()
        handler = self._server.connection(self.peer)
        transport.set_protocol(handler)
        handler.connection_made(transport)
        handler.data_received(data)

    def _leave(self) -> None:
        self._server.fronts.discard(self)
        self._server.census.silent.discard(self)
        for timer in (self._idle, self._rest):
            if timer is not None:
                timer.cancel()

    def _look_at_idle(self) -> None:
        """Closes a connection that asks for nothing. One timer, moved on when it goes off."""
        if self._task is not None:
            self._since_s = time.monotonic()
        left_s = self._since_s + self._server.idle_s - time.monotonic()
        if left_s > 0:
            self._idle = self._loop.call_later(left_s, self._look_at_idle)
        elif self.transport is not None:
            self.transport.close()


def _whole_size(data: bytes) -> int:
    """Says how long the request is that `data` begins, and too much where that is not seen."""
    end = data.find(_HEAD_END)
    if end < 0:
        return MOST_BYTES + 1
    length = _LENGTH.search(data, 0, end + 2)
    return end + len(_HEAD_END) + (int(length[1]) if length else 0)
