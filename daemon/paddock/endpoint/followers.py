"""Those who follow events: `GET /paddock/events`, as server-sent events.

Owns how many there are and where each one is. Nothing is kept for a follower but the id of the last
event that it was sent: the log is the daemon's, and bounded; who falls behind it goes on with the
oldest that is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from aiohttp import web

from paddock.core.access import Sees
from paddock.endpoint.answers import Problem
from paddock.endpoint.ports import EndpointLimits, Host, StreamCounts
from paddock.endpoint.stopping import Stopping

_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store"}
_GREETING = b": events of paddock\n\n"
_HEARTBEAT = b": still here\n\n"
_OF_ACTIONS = frozenset({"done", "failed"})


class Followers:
    """The followers of one endpoint."""

    def __init__(
        self, host: Host, limits: EndpointLimits, counts: StreamCounts, stopping: Stopping
    ) -> None:
        self._host = host
        self._limits = limits
        self._counts = counts
        self._stopping = stopping

    async def follow(self, request: web.BaseRequest, sees: Sees) -> web.StreamResponse:
        """Sends events as they come, until the client goes or Paddock stops. Raises Problem."""
        after = _after(request)
        with self._place():
            response = web.StreamResponse(headers=_HEADERS)
            await response.prepare(request)
            try:
                with contextlib.suppress(Problem):  # the stop: what was sent is whole
                    await self._stopping.unless(self._send(response, after, sees))
            except TimeoutError:  # it takes nothing: no end could be told either
                if request.transport is not None:
                    request.transport.abort()
                raise ConnectionResetError("a follower does not read") from None
            await response.write_eof()
            return response

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        if self._counts.followers >= self._limits.max_followers:
            message = f"{self._counts.followers} follow events already; try again later"
            raise Problem(429, message, headers={"Retry-After": "5"})
        self._counts.followers += 1
        try:
            yield
        finally:
            self._counts.followers -= 1

    async def _send(self, response: web.StreamResponse, after: int, sees: Sees) -> None:
        await self._write(response, _GREETING)
        while True:
            try:
                async with asyncio.timeout(self._limits.heartbeat_s):
                    events = await self._host.events(after)
            except TimeoutError:
                await self._write(response, _HEARTBEAT)
                continue
            for event in events:
                after = int(event["id"])
                if event["model"] is None or sees(event["model"]):
                    await self._write(response, encode(event))

    async def _write(self, response: web.StreamResponse, data: bytes) -> None:
        async with asyncio.timeout(self._limits.client_stall_s):
            await response.write(data)


def encode(event: Mapping[str, Any]) -> bytes:
    """Writes one event; `event:` tells an action from a condition that changed."""
    kind = "action" if event["result"] in _OF_ACTIONS else "condition"
    data = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    return f"id: {event['id']}\nevent: {kind}\ndata: {data}\n\n".encode(errors="replace")


def _after(request: web.BaseRequest) -> int:
    """Where to go on: what a reconnecting client last got, else what its query says."""
    header = request.headers.get("Last-Event-ID", "")
    if _is_id(header):  # an id that we never gave means that nothing of ours was seen
        return int(header)
    given = request.rel_url.query.get("after", "0")
    if not _is_id(given):
        raise Problem(400, "after must be the id of an event, a number")
    return int(given)


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 16
