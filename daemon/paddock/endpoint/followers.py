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
_KINDS = {"done": "action", "failed": "action", "progress": "progress"}


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
        after = self._after(request)
        send = self._send if wants_more(request) else self._send_so_far
        with self._place():
            response = web.StreamResponse(headers=_HEADERS)
            await response.prepare(request)
            try:
                with contextlib.suppress(Problem):  # the stop: what was sent is whole
                    await self._stopping.unless(send(response, after, sees))
            except TimeoutError:  # it takes nothing: no end could be told either
                if request.transport is not None:
                    request.transport.abort()
                raise ConnectionResetError("a follower does not read") from None
            await response.write_eof()
            return response

    def _after(self, request: web.BaseRequest) -> int:
        """Where to go on: what a reconnecting client last got, else what its query says."""
        header = request.headers.get("Last-Event-ID", "")
        if _is_id(header):  # an id that we never gave means that nothing of ours was seen
            return int(header)
        given = request.rel_url.query.get("after", "0")
        if given == "now":
            return self._host.last_event_id()
        if not _is_id(given):
            raise Problem(400, "after must be the id of an event, a number, or `now`")
        return int(given)

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

    async def _send_so_far(self, response: web.StreamResponse, after: int, sees: Sees) -> None:
        await self._write(response, _GREETING)
        for event in self._host.events_so_far(after):
            if event["model"] is None or sees(event["model"]):
                await self._write(response, encode(event))

    async def _write(self, response: web.StreamResponse, data: bytes) -> None:
        async with asyncio.timeout(self._limits.client_stall_s):
            await response.write(data)


def wants_more(request: web.BaseRequest) -> bool:
    """Tells whether a client waits for what is to come (`follow`, 1 by default). Raises Problem."""
    match request.rel_url.query.get("follow", "1"):
        case "0":
            return False
        case "1":
            return True
        case _:
            raise Problem(400, "follow must be 0 or 1")


def encode(event: Mapping[str, Any]) -> bytes:
    """Writes one event; `event:` tells an action, how far one is, and a condition that changed
    from each other."""
    kind = _KINDS.get(event["result"], "condition")
    data = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    return f"id: {event['id']}\nevent: {kind}\ndata: {data}\n\n".encode(errors="replace")


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 16
