"""One request to Ollama and its answer, on a connection that nobody else uses meanwhile.

Owns the connection: it takes one that waits or opens one, sends one request, reads the head, and
hands on what follows as it comes. After the clean end of an answer the connection waits for the
next request; in every other case it is closed at once, which is how Ollama learns that nobody
listens any more. Knows nothing of the client, of models or of dialects.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from paddock.endpoint.conduit import Conduit
from paddock.endpoint.framing import (
    MAX_HEAD_BYTES,
    BadAnswer,
    Framing,
    Head,
    framing_of,
    parse_head,
)
from paddock.endpoint.lanes import Receive
from paddock.endpoint.upstream import Pool, Upstream

_CUT_OFF = "ollama closed the connection before its answer was whole"
_HEAD_END = b"\r\n\r\n"
_MAX_REPEATED_BYTES = 64 * 1024  # a request is kept until it is sure that it need not be repeated


class ExchangeFailed(Exception):
    """Ollama did not answer, or not to the end; one line for the client, and the HTTP status."""

    def __init__(self, message: str, *, status: int = 502):
        super().__init__(message)
        self.message = message
        self.status = status


class Exchange:
    """One exchange; make it with `open_exchange`."""

    def __init__(self, pool: Pool) -> None:
        self.answer: Head | None = None
        self.failure: ExchangeFailed | None = None
        self._pool = pool
        self._conduit: Conduit | None = None
        self._again: Callable[[], Coroutine[Any, Any, None]] | None = None
        self._repeating: asyncio.Future[None] | None = None
        self._stays = False
        self._early = b""  # what came before somebody took it
        self._headed: Callable[[], bool] | None = None
        self._lost: Callable[[str], object] | None = None

    def use(
        self, conduit: Conduit, again: Callable[[], Coroutine[Any, Any, None]] | None = None
    ) -> None:
        """Takes a connection; `again` repeats it all on another one should this one, which had
        waited, prove to be closed."""
        if self.failure is not None:
            conduit.close()
            return
        self._conduit, self._again = conduit, again
        conduit.hand(self._receive, self._has_ended)

    def send(self, request: bytes) -> None:
        """Sends the request."""
        if self._conduit is not None:
            self._conduit.write(request)

    async def head(self, timeout_s: float) -> Head:
        """Waits for the head. Raises ExchangeFailed."""
        loop = asyncio.get_running_loop()
        came: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(timeout_s, self.fail_late, timeout_s)
        self.when_headed(partial(_settle, came), partial(_settle, came))
        try:
            await came
        finally:
            timer.cancel()
            self._headed = self._lost = None
        if self.answer is None:
            assert self.failure is not None
            raise self.failure
        return self.answer

    def when_headed(self, headed: Callable[[], bool], lost: Callable[[str], object]) -> None:
        """Calls `headed`, as a lane is called, once there is an `answer`; `lost` where none comes,
        or where its end does not."""
        self._headed, self._lost = headed, lost
        if self.failure is not None:
            lost(self.failure.message)
        elif self.answer is not None:
            headed()

    def take(self) -> bytes:
        """Takes what has come of the body so far."""
        early, self._early = self._early, b""
        return early

    def attach(self, receive: Receive, lost: Callable[[str], object]) -> None:
        """Hands everything that follows to `receive`, and the end of the connection to `lost`."""
        self._lost = lost
        if self._conduit is not None:
            self._conduit.hand(receive, self._has_ended)
        if self.failure is not None:
            lost(self.failure.message)

    def fail(self, message: str, status: int = 502) -> None:
        """Ends the exchange for a reason that its user is told; only the first one counts."""
        if self.failure is not None:
            return
        self.failure, lost = ExchangeFailed(message, status=status), self._lost
        self.close()
        if lost is not None:
            lost(message)

    def fail_late(self, timeout_s: float) -> None:
        """Ends the exchange because no head has come for so long."""
        self.fail(f"ollama did not answer within {timeout_s:g} s", 504)

    def close(self) -> None:
        """Drops the connection at once, so that Ollama stops."""
        self._headed = self._lost = None  # who ends it refers to it: no circle is left
        if self._repeating is not None:
            self._repeating.cancel()
        self._drop()

    def _drop(self) -> None:
        conduit, self._conduit = self._conduit, None
        if conduit is not None:
            conduit.close()

    def release(self) -> None:
        """Lets the connection wait for another request: the answer has ended, nothing follows."""
        conduit = self._conduit
        if conduit is not None and self._stays and not self._early and conduit.is_idle:
            self._conduit = None
            self._pool.put(conduit)

    def pause(self) -> None:
        """Stops reading, so that Ollama's own buffers fill and it waits."""
        if self._conduit is not None:
            self._conduit.pause()

    def resume(self) -> None:
        """Reads again, unless the connection was closed meanwhile."""
        if self._conduit is not None:
            self._conduit.resume()

    def _has_ended(self) -> None:
        again, self._again = self._again, None
        if again is None:
            self.fail(_CUT_OFF)
        else:
            self._drop()
            self._repeating = asyncio.ensure_future(again())

    def _receive(self, data: bytes) -> bool:
        """Takes what comes before the body is somebody's."""
        self._again = None
        self._early += data
        if self.answer is None and self._take_head() and self._headed is not None:
            return self._headed()
        return False

    def _take_head(self) -> bool:
        """Says whether the head is there now."""
        while (end := self._early.find(_HEAD_END)) >= 0:
            data, self._early = self._early[:end], self._early[end + len(_HEAD_END) :]
            try:
                head = parse_head(data)
            except BadAnswer as error:
                self.fail(str(error))
                return False
            if head.status >= 200:  # a 1xx goes before the answer and says nothing to us
                closes = b"close" in head.get(b"connection").lower()
                self._stays = data.startswith(b"HTTP/1.1") and not closes
                self.answer = head
                return True
        if len(self._early) > MAX_HEAD_BYTES:
            self.fail("ollama's answer has a head without an end")
        return False


async def open_exchange(upstream: Upstream, request: bytes, *, connect_s: float) -> Exchange:
    """Connects and sends. Raises ExchangeFailed when nobody listens."""
    exchange = Exchange(upstream.pool)
    waiting = upstream.pool.take() if len(request) <= _MAX_REPEATED_BYTES else None
    if waiting is None:
        exchange.use(await _connected(upstream, connect_s))
    else:
        exchange.use(waiting, partial(_repeat, exchange, upstream, request, connect_s))
    exchange.send(request)
    return exchange


async def _repeat(exchange: Exchange, upstream: Upstream, request: bytes, connect_s: float) -> None:
    try:
        exchange.use(await _connected(upstream, connect_s))
    except ExchangeFailed as failure:
        exchange.fail(failure.message, failure.status)
    exchange.send(request)


async def _connected(upstream: Upstream, connect_s: float) -> Conduit:
    conduit = Conduit(upstream.pool.buffer)
    tls = True if upstream.tls else None
    try:
        async with asyncio.timeout(connect_s):
            await asyncio.get_running_loop().create_connection(
                lambda: conduit, upstream.host, upstream.port, ssl=tls
            )
        conduit.enter(upstream.pool.lanes())
    except TimeoutError:
        raise ExchangeFailed(f"ollama at {upstream.url} does not accept connections") from None
    except OSError as error:
        conduit.close()
        why = os.strerror(error.errno) if error.errno else str(error)
        raise ExchangeFailed(f"ollama at {upstream.url} cannot be reached: {why}") from error
    return conduit


def _settle(came: asyncio.Future[None], message: str = "") -> bool:  # noqa: ARG001 - told by `failure`
    if not came.done():
        came.set_result(None)
    return False


def framing_for(head: Head) -> Framing:
    """Tells how the body of an answer ends. Raises ExchangeFailed."""
    try:
        return framing_of(head)
    except BadAnswer as error:
        raise ExchangeFailed(str(error)) from None
