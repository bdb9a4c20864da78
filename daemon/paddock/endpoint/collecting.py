"""Reads a whole answer of Ollama: what is not streamed, and what a client may not see as it is.

Owns the bounds of such an answer, in bytes and in time. An answer that ended as it should leaves
its connection to the next request.
"""

from __future__ import annotations

import asyncio

from paddock.endpoint.exchange import Exchange, ExchangeFailed, framing_for
from paddock.endpoint.framing import BadAnswer, Head


async def collect(exchange: Exchange, head: Head, *, max_bytes: int, timeout_s: float) -> bytes:
    """Reads a whole body. Raises ExchangeFailed when it does not end, or is too long."""
    collector = _Collector(exchange, head, max_bytes)
    collector.receive(exchange.take())
    exchange.attach(collector.receive, collector.lost)
    try:
        async with asyncio.timeout(timeout_s):
            await collector.ended.wait()
    except TimeoutError:
        raise ExchangeFailed("ollama's answer does not end", status=504) from None
    body = collector.body()
    if collector.whole:
        exchange.release()
    return body


class _Collector:
    def __init__(self, exchange: Exchange, head: Head, max_bytes: int) -> None:
        self.ended = asyncio.Event()
        self._exchange = exchange
        self._framing = framing_for(head)
        self._room = max_bytes
        self._payload: list[bytes] = []
        self._failure: str | None = None
        self._surplus = False

    @property
    def whole(self) -> bool:
        """Whether the answer ended where it should, and nothing came after it."""
        return self._framing.done and not self._surplus

    def receive(self, data: bytes) -> bool:
        self._room -= len(data)
        if self._room < 0:
            self._exchange.fail("ollama's answer is too long")
            return False
        try:
            if self._framing.feed(data, self._payload) < len(data):
                self._surplus = True
        except BadAnswer as error:
            self._exchange.fail(str(error))
        if self._framing.done:
            self.ended.set()
        return False

    def lost(self, message: str) -> None:
        if not (self._framing.done or self._framing.ends_with_connection):
            self._failure = message
        self.ended.set()

    def body(self) -> bytes:
        if self._failure is not None:
            raise ExchangeFailed(self._failure)
        return b"".join(self._payload)
