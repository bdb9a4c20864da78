"""Reads the body of a request, within bounds of size, time and memory.

Owns the count of bytes that all requests together hold until Ollama has taken them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiohttp import HttpVersion11, web
from aiohttp.web import RequestPayloadError

from paddock.endpoint.answers import Problem
from paddock.endpoint.ports import EndpointLimits

_CLOSE = {"Connection": "close"}


class Bodies:
    """The bodies that are held at present."""

    def __init__(self, limits: EndpointLimits) -> None:
        self._limits = limits
        self._held_bytes = 0

    @contextlib.asynccontextmanager
    async def read(self, request: web.BaseRequest) -> AsyncIterator[bytes]:
        """Holds the whole body of `request` meanwhile. Raises Problem (408, 413, 415, 400, 503)."""
        body = bytearray()
        self._check(request)
        try:
            await self._fill(request, body)
            yield bytes(body)
        finally:
            self._held_bytes -= len(body)

    def _check(self, request: web.BaseRequest) -> None:
        if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            raise Problem(415, "the body is compressed; send it as it is")
        coding = request.headers.get("Transfer-Encoding", "chunked").strip().lower()
        if coding != "chunked":
            raise Problem(501, f"transfer coding {coding} is not known", headers=_CLOSE)
        if (request.content_length or 0) > self._limits.max_body_bytes:
            raise self._too_large()
        expects = request.headers.get("Expect", "").lower() == "100-continue"
        if expects and request.version >= HttpVersion11 and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def _fill(self, request: web.BaseRequest, body: bytearray) -> None:
        try:
            if request.content.is_eof():  # it came with its head, as most do
                self._take(request.content.read_nowait(), body)
                return
            async with asyncio.timeout(self._limits.body_s):
                while data := await request.content.readany():
                    self._take(data, body)
        except TimeoutError:
            message = f"the body did not come within {self._limits.body_s:g} s"
            raise Problem(408, message, headers=_CLOSE) from None
        except RequestPayloadError:
            raise Problem(400, "the body cannot be read: it does not end as it should") from None

    def _take(self, data: bytes, body: bytearray) -> None:
        body += data
        self._held_bytes += len(data)
        if len(body) > self._limits.max_body_bytes:
            raise self._too_large()
        if self._held_bytes > self._limits.max_buffered_bytes:
            headers = {"Retry-After": "1"} | _CLOSE
            raise Problem(503, "too many large requests at once; try again", headers=headers)

    def _too_large(self) -> Problem:
        message = f"the body has more than {self._limits.max_body_bytes} bytes"
        return Problem(413, message, headers=_CLOSE)
