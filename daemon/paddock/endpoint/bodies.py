"""Reads the body of a request, within bounds of size, time and memory.

Owns the count of bytes that all requests together hold until Ollama has taken them.
"""

from __future__ import annotations

import asyncio

from aiohttp import HttpVersion11, web
from aiohttp.web import RequestPayloadError

from paddock.endpoint.answers import Problem
from paddock.endpoint.ports import EndpointLimits

_CLOSE = {"Connection": "close"}


class Bodies:
    """The bodies that are held at present."""

    def __init__(self, limits: EndpointLimits) -> None:
        self.limits = limits
        self.held_bytes = 0

    def read(self, request: web.BaseRequest) -> Reading:
        """Gives what holds the whole body of `request` while it is entered. Entering raises Problem
        (408, 413, 415, 400, 503)."""
        return Reading(self, request)


class Reading:
    """The body of one request."""

    __slots__ = ("_bodies", "_pieces", "_request", "_size_bytes")

    def __init__(self, bodies: Bodies, request: web.BaseRequest) -> None:
        self._bodies, self._request = bodies, request
        self._pieces: list[bytes] = []
        self._size_bytes = 0

    async def __aenter__(self) -> bytes:
        try:
            self._check()
            if self._request.content.is_eof():  # it came with its head, as most do
                self._take(self._request.content.read_nowait())
            else:
                await self._fill()
        except BaseException:
            await self.__aexit__()
            raise
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    async def __aexit__(self, *_: object) -> None:
        self._bodies.held_bytes -= self._size_bytes

    def _check(self) -> None:
        request = self._request
        headers = request.headers
        if headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            raise Problem(415, "the body is compressed; send it as it is")
        coding = headers.get("Transfer-Encoding", "chunked").strip().lower()
        if coding != "chunked":
            raise Problem(501, f"transfer coding {coding} is not known", headers=_CLOSE)
        if (request.content_length or 0) > self._bodies.limits.max_body_bytes:
            raise self._too_large()
        expects = headers.get("Expect", "").lower() == "100-continue"
        if expects and request.version >= HttpVersion11 and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def _fill(self) -> None:
        content, body_s = self._request.content, self._bodies.limits.body_s
        try:
            async with asyncio.timeout(body_s):
                while data := await content.readany():
                    self._take(data)
        except TimeoutError:
            message = f"the body did not come within {body_s:g} s"
            raise Problem(408, message, headers=_CLOSE) from None
        except RequestPayloadError:
            raise Problem(400, "the body cannot be read: it does not end as it should") from None

    def _take(self, data: bytes) -> None:
        bodies = self._bodies
        self._pieces.append(data)
        self._size_bytes += len(data)
        bodies.held_bytes += len(data)
        if self._size_bytes > bodies.limits.max_body_bytes:
            raise self._too_large()
        if bodies.held_bytes > bodies.limits.max_buffered_bytes:
            headers = {"Retry-After": "1"} | _CLOSE
            raise Problem(503, "too many large requests at once; try again", headers=headers)

    def _too_large(self) -> Problem:
        message = f"the body has more than {self._bodies.limits.max_body_bytes} bytes"
        return Problem(413, message, headers=_CLOSE)
