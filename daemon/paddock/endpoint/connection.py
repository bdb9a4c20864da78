"""The server's connections: who is at the other end, and how many there are.

Owns the peer of each connection, asked of the kernel once, and the limits on connections; and what
aiohttp cannot read is answered as JSON too (the path is not known then: in Ollama's own dialect).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import structlog
from aiohttp import web

from paddock.core.access import Peer
from paddock.endpoint.answers import Problem, plain_answer
from paddock.endpoint.dialects import Dialect
from paddock.endpoint.peer import read_peer
from paddock.endpoint.ports import EndpointLimits, StreamCounts

log = structlog.get_logger()


class Connection(web.RequestHandler):
    """One connection of a client."""

    __slots__ = ("_census", "peer")

    def __init__(self, census: Census, manager: web.Server, **options: Any) -> None:
        super().__init__(manager, **options)
        self._census = census
        self.peer: Peer | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Takes the connection in, or refuses it."""
        super().connection_made(transport)
        self.peer = read_peer(transport)
        problem = self._census.enter(self.peer)
        if problem is None:
            self._census.silent.add(self)
        if problem is not None and self.transport is not None:
            # Nothing was read, and nothing will be: whoever floods us costs one answer.
            self.transport.write(plain_answer(problem))
            self.transport.close()

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
    """A server whose connections are ours."""

    def __init__(self, handler: Any, census: Census, **options: Any) -> None:
        super().__init__(handler, **options)
        self._census = census

    def __call__(self) -> web.RequestHandler:
        """Makes the protocol of one new connection."""
        return Connection(self._census, self, loop=self._loop, **self._kwargs)


def peer_of(request: web.BaseRequest) -> Peer | None:
    """Tells who sent a request; None: not over the Unix socket."""
    protocol = request.protocol
    return protocol.peer if isinstance(protocol, Connection) else read_peer(request.transport)
