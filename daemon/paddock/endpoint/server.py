"""The HTTP server on Paddock's socket.

Owns the life of the server (start on a socket that somebody bound, drain, stop) and the way from a
request to what serves it; every error leaves here in the client's dialect. What a request means is
decided behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeAlias

import structlog
from aiohttp import HttpVersion10, HttpVersion11, web

from paddock.endpoint.answers import Problem, plain_answer
from paddock.endpoint.connection import Census, ConnectionServer
from paddock.endpoint.control import Control
from paddock.endpoint.dialects import Dialect, dialect_of
from paddock.endpoint.exchange import ExchangeFailed
from paddock.endpoint.forward import Forwarder
from paddock.endpoint.listener import check_host
from paddock.endpoint.ports import EndpointLimits, Host, StreamCounts
from paddock.endpoint.relay import Relayed
from paddock.endpoint.routes import PUBLIC, Kind, Route, find_route
from paddock.endpoint.stopping import Stopping
from paddock.endpoint.upstream import Upstream

_SETTLE_S = 2.0
# For a second a connection that was just taken may be without its request.
_SILENT_LOOKS, _LOOK_S = 50, 0.02
_BACKLOG = 1024  # a client of a Unix socket whose backlog is full is refused, not kept waiting

_VERSIONS = (HttpVersion11, HttpVersion10)

_Serving: TypeAlias = Coroutine[Any, Any, web.StreamResponse]
_Route: TypeAlias = Callable[[web.BaseRequest], _Serving]

log = structlog.get_logger()


class Endpoint:
    """Serves `host` and Ollama at `upstream_url` over one socket.

    `admins` are uids that may ask for a cycle beside root and the daemon's own.
    """

    def __init__(
        self,
        host: Host,
        upstream_url: str,
        *,
        limits: EndpointLimits | None = None,
        admins: frozenset[int] = frozenset(),
    ) -> None:
        self._limits = limits or EndpointLimits()
        self._stopping = Stopping()
        self._upstream = Upstream.parse(upstream_url)
        self._forwarder = Forwarder(host, self._upstream, self._limits, self._stopping)
        self._control = Control(
            host, admins, limits=self._limits, counts=self.counts, stopping=self._stopping
        )
        self._census = Census(self._limits, self.counts)
        self._answering = 0
        self._answered = asyncio.Event()
        self._sites: list[tuple[web.ServerRunner, web.SockSite, socket.socket]] = []

    @property
    def counts(self) -> StreamCounts:
        """How the streams went since the start."""
        return self._forwarder.streams.counts

    async def start(self, sock: socket.socket) -> None:
        """Serves on a listening socket, which is closed at `stop`."""
        await self._start(sock, self._route)

    async def start_public(self, sock: socket.socket, hosts: frozenset[str]) -> None:
        """Serves health and metrics, and nothing else, on a TCP socket that anybody may reach.

        `hosts` are the names that the Host header may hold beside addresses and localhost.
        """
        await self._start(sock, partial(self._route_public, hosts))

    async def _start(self, sock: socket.socket, route: _Route) -> None:
        server = ConnectionServer(
            partial(self._serve, route),
            self._census,
            idle_s=self._limits.header_s,
            parsing={
                "auto_decompress": False,
                "max_line_size": self._limits.max_header_bytes,
                "max_field_size": self._limits.max_header_bytes,
            },
        )
        runner = web.ServerRunner(server, shutdown_timeout=_SETTLE_S)
        await runner.setup()
        site = web.SockSite(runner, sock, backlog=_BACKLOG)
        await site.start()
        self._sites.append((runner, site, sock))

    async def stop(self, drain_s: float) -> None:
        """Takes no more connections, lets streams end for `drain_s`, then ends them itself.

        What came before that is answered; whoever waits without a stream is told at once. Where
        systemd holds the socket, all others wait for the next Paddock: no request is lost.
        """
        await self._take_no_more()
        self._stopping.begin()
        for _, site, _ in self._sites:
            await site.stop()
        streams = self._forwarder.streams
        await streams.drained(drain_s)
        streams.fail_all("paddock is stopping")
        await streams.drained(_SETTLE_S)
        await self._all_answered()
        self._upstream.pool.close()
        while self._sites:
            await self._sites.pop()[0].cleanup()

    async def _all_answered(self) -> None:
        self._answered.clear()
        if self._answering:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SETTLE_S):
                    await self._answered.wait()

    async def _take_no_more(self) -> None:
        """Leaves the sockets alone, and gives what was taken the time to send its request. The
        sites are closed after that: asyncio drops a connection that it is taking meanwhile."""
        for _, _, sock in self._sites:
            asyncio.get_running_loop().remove_reader(sock)
        for _ in range(_SILENT_LOOKS):
            await asyncio.sleep(_LOOK_S)
            if not self._census.silent:
                break

    async def _serve(self, route: _Route, request: web.BaseRequest) -> web.StreamResponse:
        self._census.silent.discard(request.protocol)
        self._answering += 1
        try:
            if request.version not in _VERSIONS:
                return _other_version(request)
            return await route(request)
        except Problem as problem:
            return problem.answer(_dialect(request))
        except ExchangeFailed as failure:
            return Problem(failure.status, failure.message).answer(_dialect(request))
        except ConnectionError:
            # The client went between two steps; nobody is left to be told.
            return Relayed(499, keep_alive=False)
        except Exception as error:
            log.error("request failed", path=request.rel_url.raw_path, exc_info=error)
            failed = Problem(500, "paddock failed; its log says more")
            return failed.answer(_dialect(request))
        finally:
            self._answering -= 1
            if not self._answering:
                self._answered.set()

    def _route(self, request: web.BaseRequest) -> _Serving:
        self._stopping.check()
        path = request.rel_url.raw_path
        route = find_route(path)
        if route is None:
            raise Problem(404, f"{path or request.method} is not served here")
        if request.method not in route.methods:
            raise _not_allowed(request.method, route)
        match route.kind:
            case Kind.STREAM:
                return self._forwarder.stream(request, route)
            case Kind.READ | Kind.SHOW:
                return self._forwarder.read(request, route)
            case Kind.CONTROL:
                return self._control.answer(request, route.path)
            case Kind.STORE:
                raise Problem(
                    403,
                    f"{route.path} changes the store and is not served here: "
                    "edit models.yaml, and Paddock makes it so",
                )

    async def _route_public(
        self, hosts: frozenset[str], request: web.BaseRequest
    ) -> web.StreamResponse:
        self._stopping.check()
        check_host(request.headers.get("Host", ""), hosts)
        path = request.rel_url.raw_path
        if path not in PUBLIC:
            raise Problem(404, f"{path} is not served here")
        if request.method not in {"GET", "HEAD"}:
            raise Problem(405, f"{path} takes GET", headers={"Allow": "GET, HEAD"})
        return self._control.public(path)


def _dialect(request: web.BaseRequest) -> Dialect:
    return dialect_of(request.rel_url.raw_path)


def _other_version(request: web.BaseRequest) -> web.StreamResponse:
    """Answers in a version that we speak, where aiohttp would answer in the client's."""
    if request.transport is not None:
        request.transport.write(plain_answer(Problem(505, "this is HTTP/1.1 and HTTP/1.0")))
    return Relayed(505, keep_alive=False)


def _not_allowed(method: str, route: Route) -> Problem:
    allowed = ", ".join(route.methods)
    message = f"{route.path} does not take {method}; it takes {allowed}"
    return Problem(405, message, headers={"Allow": allowed})
