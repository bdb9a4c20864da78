"""Tells a client that waits for a model how far it is, in the stream that it will get.

Owns the lines before the first byte of Ollama's answer. They are comments of server-sent events
(`: …`), which every reader of those has to pass over, so only streams of /v1 have them; a line of
Ollama's own dialect that is no part of an answer breaks its libraries, which read each one as such,
and there nothing is sent before the answer. Who is served within a second sees no difference.
"""

from __future__ import annotations

import asyncio
from email.utils import formatdate

from aiohttp import HttpVersion11, web

from paddock.endpoint.dialects import Dialect, dialect_of, error_record
from paddock.endpoint.framing import Head
from paddock.endpoint.relay import Relayed
from paddock.endpoint.requests import Body
from paddock.endpoint.routes import SSE_STREAMS

_QUIET_S = 1.0  # before the first line, and between two
_TYPE = "text/event-stream"


class Announcer:
    """The lines to one client that waits for `wait_s`; `begun` once one was written: then a status
    can be told no more."""

    def __init__(self, request: web.BaseRequest, *, wait_s: float, heartbeat_s: float) -> None:
        self.begun = False
        self.wait_s = wait_s
        self._request = request
        self._heartbeat_s = heartbeat_s
        self._dialect: Dialect | None = None
        self._said = ""
        self._said_at_s = 0.0

    def allow(self, body: Body, path: str) -> None:
        """Lets lines be written, where the client asked for a stream that has comments."""
        modern = self._request.version >= HttpVersion11
        if modern and path in SSE_STREAMS and body.fields.get("stream") == "true":
            self._dialect = dialect_of(path)
            self._said_at_s = asyncio.get_running_loop().time()

    def tell(self, message: str) -> None:
        """Says how it stands, unless that was just said."""
        if self._dialect is None:
            return
        quiet_s = asyncio.get_running_loop().time() - self._said_at_s
        if quiet_s < (self._heartbeat_s if message == self._said else _QUIET_S):
            return
        self._said, self._said_at_s = message, self._said_at_s + quiet_s
        self._write(f": {' '.join(message.split())}\n\n".encode(errors="replace"))

    def end(self, status: int, message: str, code: str | None = None) -> Relayed:
        """Ends what has begun with an error as a record of the stream."""
        assert self._dialect is not None
        record = error_record(self._dialect, _TYPE, message, status=status, code=code)
        assert record is not None
        return self.end_with(record)

    def end_with(self, record: bytes) -> Relayed:
        """Ends what has begun with a last record."""
        self._write(record)
        self._send(b"0\r\n\r\n")
        return Relayed(200, keep_alive=bool(self._request.keep_alive))

    def refused(self, body: bytes) -> bytes:
        """Makes a record of the error that Ollama gave as a whole answer, in its own words."""
        event = b"event: error\n" if self._dialect is Dialect.ANTHROPIC else b""
        return event + b"data: " + b" ".join(body.strip().splitlines()) + b"\n\n"

    def _write(self, data: bytes) -> None:
        if not self.begun:
            self.begun = True
            self._send(self._head())
        self._send(b"%x\r\n%b\r\n" % (len(data), data))

    def _head(self) -> bytes:
        lines = [
            "HTTP/1.1 200 OK",
            f"Content-Type: {_TYPE}",
            f"Date: {formatdate(usegmt=True)}",
            "Transfer-Encoding: chunked",
        ]
        if not self._request.keep_alive:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode()

    def _send(self, data: bytes) -> None:
        transport = self._request.transport
        if transport is None:
            raise ConnectionResetError("the client is gone")
        transport.write(data)


def is_event_stream(head: Head) -> bool:
    """Says whether an answer goes on with what has begun: events, in chunks."""
    chunked = head.get(b"transfer-encoding").lower() == b"chunked"
    return head.status == 200 and chunked and head.content_type.startswith(_TYPE)
