"""One request to Ollama and its answer, on a connection of its own.

Owns the TCP connection: it opens it, sends one request, reads the head, and hands on what follows
as it comes. Closing the connection is how Ollama learns that nobody listens any more, so it is
closed at once. Knows nothing of the client, of models or of dialects.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

from paddock.endpoint.framing import (
    MAX_HEAD_BYTES,
    BadAnswer,
    Framing,
    Head,
    framing_of,
    parse_head,
)
from paddock.errors import SettingsError

_HEAD_END = b"\r\n\r\n"
_PORTS = {"http": 80, "https": 443}

Headers = Iterable[tuple[bytes, bytes]]


class ExchangeFailed(Exception):
    """Ollama did not answer, or not to the end; one line for the client, and the HTTP status."""

    def __init__(self, message: str, *, status: int = 502):
        super().__init__(message)
        self.message = message
        self.status = status


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where Ollama listens."""

    host: str
    port: int
    tls: bool

    @classmethod
    def parse(cls, url: str) -> Upstream:
        """Reads `http://host[:port]` or `https://…`. Raises SettingsError."""
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname or parts.path.strip("/"):
            raise SettingsError(f'ollama\'s address "{url}" is not http://HOST:PORT')
        return cls(parts.hostname, parts.port or _PORTS[parts.scheme], parts.scheme == "https")

    @property
    def authority(self) -> bytes:
        """The Host header; Ollama checks it (`ollama:server/routes.go allowedHostsMiddleware`)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}".encode()

    @property
    def url(self) -> str:
        """The address for messages."""
        return f"{'https' if self.tls else 'http'}://{self.authority.decode()}"

    def request(self, method: str, target: str, headers: Headers, body: bytes) -> bytes:
        """Writes one whole request that asks to close the connection after its answer."""
        lines = [f"{method} {target} HTTP/1.1".encode("latin-1"), b"Host: " + self.authority]
        lines += [name + b": " + value for name, value in headers]
        if method != "GET":
            lines.append(b"Content-Length: %d" % len(body))
        return b"\r\n".join([*lines, b"Connection: close", b"", body])


class Exchange(asyncio.Protocol):
    """The connection of one exchange; make it with `open_exchange`."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._head: asyncio.Future[Head] = asyncio.get_running_loop().create_future()
        self._early = b""  # what came before somebody took it
        self._receive: Callable[[bytes], None] | None = None
        self._lost: Callable[[str], None] | None = None
        self._failure: str | None = None

    # --- called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._receive is not None:
            self._receive(data)
        elif self._failure is None:
            self._early += data
            self._look_for_head()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the end is the end
        self.fail("ollama closed the connection before its answer was whole")

    # --- called by the relay

    def send(self, request: bytes) -> None:
        """Sends the request."""
        assert self._transport is not None
        self._transport.write(request)

    async def head(self, timeout_s: float) -> Head:
        """Waits for the head. Raises ExchangeFailed."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._head
        except TimeoutError:
            message = f"ollama did not answer within {timeout_s:g} s"
            raise ExchangeFailed(message, status=504) from None

    def take(self) -> bytes:
        """Takes what has come of the body so far."""
        early, self._early = self._early, b""
        return early

    def attach(self, receive: Callable[[bytes], None], lost: Callable[[str], None]) -> None:
        """Hands everything that follows to `receive`, and the end of the connection to `lost`."""
        self._receive, self._lost = receive, lost
        if self._failure is not None:
            lost(self._failure)

    def fail(self, message: str) -> None:
        """Ends the exchange for a reason that its user is told; only the first one counts."""
        if self._failure is not None:
            return
        self._failure = message
        if not self._head.done():
            self._head.set_exception(ExchangeFailed(message))
            self._head.exception()  # seen: nobody may be waiting for it
        if self._lost is not None:
            self._lost(message)
        self.close()

    def close(self) -> None:
        """Drops the connection at once, so that Ollama stops."""
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        """Stops reading, so that Ollama's own buffers fill and it waits."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Reads again."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

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
            self._head.set_result(head)


async def open_exchange(upstream: Upstream, request: bytes, *, connect_s: float) -> Exchange:
    """Connects and sends. Raises ExchangeFailed when nobody listens."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(connect_s):
            _, exchange = await loop.create_connection(
                Exchange, upstream.host, upstream.port, ssl=True if upstream.tls else None
            )
    except TimeoutError:
        raise ExchangeFailed(f"ollama at {upstream.url} does not accept connections") from None
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise ExchangeFailed(f"ollama at {upstream.url} cannot be reached: {why}") from error
    exchange.send(request)
    return exchange


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
    return collector.body()


class _Collector:
    def __init__(self, exchange: Exchange, head: Head, max_bytes: int) -> None:
        self.ended = asyncio.Event()
        self._exchange = exchange
        self._framing = framing_for(head)
        self._room = max_bytes
        self._payload: list[bytes] = []
        self._failure: str | None = None

    def receive(self, data: bytes) -> None:
        self._room -= len(data)
        if self._room < 0:
            self._exchange.fail("ollama's answer is too long")
            return
        try:
            self._framing.feed(data, self._payload)
        except BadAnswer as error:
            self._exchange.fail(str(error))
        if self._framing.done:
            self.ended.set()

    def lost(self, message: str) -> None:
        if not (self._framing.done or self._framing.ends_with_connection):
            self._failure = message
        self.ended.set()

    def body(self) -> bytes:
        if self._failure is not None:
            raise ExchangeFailed(self._failure)
        return b"".join(self._payload)


def framing_for(head: Head) -> Framing:
    """Tells how the body of an answer ends. Raises ExchangeFailed."""
    try:
        return framing_of(head)
    except BadAnswer as error:
        raise ExchangeFailed(str(error)) from None
