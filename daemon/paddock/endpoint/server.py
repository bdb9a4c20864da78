"""The HTTP server on Paddock's socket.

Owns the life of the server (start on a socket that somebody bound, drain, stop) and the way from a
request to what serves it; every error leaves here in the client's dialect. What a request means is
decided behind it.
"""

from __future__ import annotations

import socket

import structlog
from aiohttp import web

from paddock.endpoint.answers import Problem
from paddock.endpoint.connection import ConnectionServer
from paddock.endpoint.control import Control
from paddock.endpoint.dialects import dialect_of
from paddock.endpoint.exchange import ExchangeFailed, Upstream
from paddock.endpoint.forward import Forwarder
from paddock.endpoint.ports import EndpointLimits, Host, StreamCounts
from paddock.endpoint.relay import Relayed
from paddock.endpoint.routes import Kind, Route, find_route

_SETTLE_S = 2.0

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
        self._control = Control(host, admins)
        self._forwarder = Forwarder(host, Upstream.parse(upstream_url), self._limits)
        self._runner: web.ServerRunner | None = None
        self._site: web.SockSite | None = None
        self._stopping = False

    @property
    def counts(self) -> StreamCounts:
        """How the streams went since the start."""
        return self._forwarder.streams.counts

    async def start(self, sock: socket.socket) -> None:
        """Serves on a listening socket, which is closed at `stop`."""
        server = ConnectionServer(
            self._serve,
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=self._limits.header_s,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=_SETTLE_S)
        await self._runner.setup()
        self._site = web.SockSite(self._runner, sock)
        await self._site.start()

    async def stop(self, drain_s: float) -> None:
        """Takes no more connections, lets streams end for `drain_s`, then ends them itself."""
        self._stopping = True
        if self._runner is None or self._site is None:
            return
        await self._site.stop()
        streams = self._forwarder.streams
        await streams.drained(drain_s)
        streams.fail_all("paddock is stopping")
        await streams.drained(_SETTLE_S)
        await self._runner.cleanup()
        self._runner = self._site = None

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        dialect = dialect_of(request.rel_url.raw_path)
        try:
            answer = await self._route(request)
        except Problem as problem:
            answer = problem.answer(dialect)
        except ExchangeFailed as failure:
            answer = Problem(failure.status, failure.message).answer(dialect)
        except ConnectionError:
            # The client went between two steps; nobody is left to be told.
            return Relayed(499, keep_alive=False)
        except Exception as error:
            log.error("request failed", path=request.rel_url.raw_path, exc_info=error)
            answer = Problem(500, "paddock failed; its log says more").answer(dialect)
        answer.headers.setdefault("Server", "paddock")
        return answer

    async def _route(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._stopping:
            headers = {"Retry-After": "1", "Connection": "close"}
            raise Problem(503, "paddock is stopping", headers=headers)
        path = request.rel_url.raw_path
        route = find_route(path)
        if route is None:
            raise Problem(404, f"{path} is not served here")
        if request.method not in route.methods:
            raise _not_allowed(request.method, route)
        return await self._dispatch(request, route)

    async def _dispatch(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        match route.kind:
            case Kind.STREAM:
                return await self._forwarder.stream(request, route)
            case Kind.READ | Kind.SHOW:
                return await self._forwarder.read(request, route)
            case Kind.CONTROL:
                return await self._control.answer(request, route.path)
            case Kind.STORE:
                raise Problem(
                    403,
                    f"{route.path} changes the store and is not served here: "
                    "edit models.yaml, and Paddock makes it so",
                )


def _not_allowed(method: str, route: Route) -> Problem:
    allowed = ", ".join(route.methods)
    message = f"{route.path} does not take {method}; it takes {allowed}"
    return Problem(405, message, headers={"Allow": allowed})
