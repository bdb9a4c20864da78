"""The server's connections: who is at the other end, and how many there are.

Owns the limits on connections, and what serves those that are no longer plain (`front`): there what
aiohttp cannot read is answered as JSON too (the path is not known then: in Ollama's own dialect).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http import HttpRequestParser

from paddock.core.access import Peer
from paddock.endpoint.answers import Problem
from paddock.endpoint.dialects import Dialect
from paddock.endpoint.front import MOST_BYTES, Front
from paddock.endpoint.peer import read_peer
from paddock.endpoint.ports import EndpointLimits, StreamCounts

log = structlog.get_logger()


class Connection(web.RequestHandler):
    """One connection of a client that is no longer plain (`front`)."""

    __slots__ = ("_census", "peer")

    def __init__(
        self, census: Census, peer: Peer | None, manager: web.Server, **options: Any
    ) -> None:
        super().__init__(manager, **options)
        self._census = census
        self.peer = peer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Takes the connection over."""
        super().connection_made(transport)
        self._census.silent.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Lets the connection go."""
        self._census.silent.discard(self)
        self._census.leave(self.peer)
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002 - given by aiohttp
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answers a request that is no HTTP, or one that failed where nothing else could tell."""
        log.info("request not read", status=status, error=repr(exc))
        told = (message or "paddock failed; its log says more").partition("\n")[0].rstrip(": ")
        answer = Problem(status, told).answer(Dialect.OLLAMA)
        answer.force_close()
        return answer


class Census:
    """How many connections there are, and whose; `silent` are those that sent no request yet."""

    def __init__(self, limits: EndpointLimits, counts: StreamCounts) -> None:
        self._limits = limits
        self._counts = counts
        self._by_user: Counter[int | None] = Counter()
        self.silent: set[object] = set()

    def enter(self, peer: Peer | None) -> Problem | None:
        """Counts one; gives why it is one too many, if so."""
        uid = None if peer is None else peer.uid
        self._counts.connections += 1
        self._by_user[uid] += 1
        total, mine = self._counts.connections, self._by_user[uid]
        limits = self._limits
        if total <= limits.max_connections and mine <= limits.max_connections_per_user:
            return None
        self._counts.connections_refused += 1
        message = f"too many connections ({total} in all, {mine} of this user); close some"
        return Problem(503, message, headers={"Retry-After": "1"})

    def leave(self, peer: Peer | None) -> None:
        """Counts one less."""
        uid = None if peer is None else peer.uid
        self._counts.connections -= 1
        self._by_user[uid] -= 1
        if not self._by_user[uid]:
            del self._by_user[uid]


class ConnectionServer(web.Server):
    """A server whose connections are ours; `parsing` are the bounds of what they read."""

    def __init__(
        self, handler: Any, census: Census, *, idle_s: float, parsing: Mapping[str, Any]
    ) -> None:
        super().__init__(
            handler,
            handler_cancellation=True,
            access_log=None,
            keepalive_timeout=idle_s,
            **parsing,
        )
        self.census = census
        self.idle_s = idle_s
        self.fronts: set[Front] = set()
        self._parsing = parsing

    def __call__(self) -> Any:
        """Makes the protocol of one new connection."""
        return Front(self, self._loop)

    def connection(self, peer: Peer | None) -> Connection:
        """Makes what serves a connection that is no longer plain."""
        return Connection(self.census, peer, self, loop=self._loop, **self._kwargs)

    def parser(self, front: Front) -> HttpRequestParser:
        """Makes what reads the requests of a connection."""
        return HttpRequestParser(front, self._loop, MOST_BYTES, **self._parsing)

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the library's
        """Ends the connections."""
        for front in tuple(self.fronts):
            front.stop()
        await super().shutdown(timeout)


def peer_of(request: web.BaseRequest) -> Peer | None:
    """Tells who sent a request; None: not over the Unix socket."""
    protocol: Any = request.protocol
    is_ours = isinstance(protocol, Front | Connection)
    return protocol.peer if is_ours else read_peer(request.transport)
