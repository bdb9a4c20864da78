"""Carries one request to Ollama and its answer back.

Owns the order: admission, keep_alive, forwarding, and then the relay or, for reads, the whole
answer. Judges nothing by itself: `Host.admit` does.
"""

from __future__ import annotations

import structlog
from aiohttp import web
from multidict import CIMultiDict

from paddock.endpoint.answers import Problem
from paddock.endpoint.bodies import Bodies
from paddock.endpoint.dialects import dialect_of
from paddock.endpoint.exchange import Exchange, Upstream, collect, open_exchange
from paddock.endpoint.framing import Head
from paddock.endpoint.hidden import names_scratch, without_scratch
from paddock.endpoint.peer import peer_uid
from paddock.endpoint.ports import Admission, EndpointLimits, Host
from paddock.endpoint.relay import HOP_BY_HOP, Ending, Relayed, passed_on, relay
from paddock.endpoint.requests import BadRequest, Body, parse_body
from paddock.endpoint.routes import KEEP_ALIVE, LISTS, Kind, Route
from paddock.endpoint.streams import Streams
from paddock.errors import InvalidName, PaddockError

# Ollama sends plain bytes when nothing else is asked for, and lists can then be read here.
_NOT_FORWARDED = HOP_BY_HOP | {b"host", b"expect", b"accept-encoding", b"content-encoding"}

log = structlog.get_logger()


class Forwarder:
    """The way to Ollama for all requests of one endpoint."""

    def __init__(self, host: Host, upstream: Upstream, limits: EndpointLimits) -> None:
        self.streams = Streams(limits)
        self._host = host
        self._upstream = upstream
        self._limits = limits
        self._bodies = Bodies(limits)

    async def stream(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        """Serves one of the streams. Raises Problem and ExchangeFailed before the first byte."""
        with self.streams.slot(peer_uid(request.transport)):
            exchange = await self._ask(request, route)
            with self.streams.behind(exchange):
                head = await exchange.head(self._limits.first_answer_s)
                return await self._relay(request, route, exchange, head)

    async def read(self, request: web.BaseRequest, route: Route) -> web.Response:
        """Serves one of the reads: HEAD like GET, lists without the probe's models."""
        method, body = "GET", b""
        if route.kind is Kind.SHOW:
            method, body = "POST", await self._show_body(request)
        sent = self._request(request, route, method=method, body=body)
        exchange = await open_exchange(self._upstream, sent, connect_s=self._limits.connect_s)
        with self.streams.behind(exchange):
            head = await exchange.head(self._limits.read_s)
            size, time_s = self._limits.max_answer_bytes, self._limits.read_s
            answer = await collect(exchange, head, max_bytes=size, timeout_s=time_s)
        return _whole(head, without_scratch(answer) if route.path in LISTS else answer)

    async def _ask(self, request: web.BaseRequest, route: Route) -> Exchange:
        async with self._bodies.read(request) as data:
            body = await self._admitted(_parse(data), route)
            sent = self._request(request, route, method="POST", body=body.encode())
            return await open_exchange(self._upstream, sent, connect_s=self._limits.connect_s)

    async def _relay(
        self, request: web.BaseRequest, route: Route, exchange: Exchange, head: Head
    ) -> Relayed:
        dialect, limits = dialect_of(route.path), self._limits
        relayed, ending = await relay(request, exchange, head=head, dialect=dialect, limits=limits)
        self._count(ending)
        log.debug("stream ended", path=route.path, status=head.status, ending=ending.value)
        return relayed

    def _count(self, ending: Ending) -> None:
        counts = self.streams.counts
        match ending:
            case Ending.FINISHED:
                counts.finished += 1
            case Ending.BROKEN:
                counts.broken += 1
            case Ending.CUT:
                counts.cut += 1

    async def _show_body(self, request: web.BaseRequest) -> bytes:
        async with self._bodies.read(request) as data:
            body = _parse(data, model_keys=("model", "name"))
            _refuse_scratch(body.model)
            return body.encode()

    async def _admitted(self, body: Body, route: Route) -> Body:
        _refuse_scratch(body.model)
        try:
            admission = await self._host.admit(body.model)
        except InvalidName as error:
            raise Problem(400, error.message) from error
        except PaddockError as error:
            raise _not_ready(error.reason, error.message, retry_after_s=1) from error
        _check(admission)
        return body.with_keep_alive(admission) if route.path in KEEP_ALIVE else body

    def _request(
        self, request: web.BaseRequest, route: Route, *, method: str, body: bytes
    ) -> bytes:
        query = request.rel_url.raw_query_string
        target = f"{route.path}?{query}" if query else route.path
        named = {name.strip().lower() for name in request.headers.get("Connection", "").split(",")}
        dropped = _NOT_FORWARDED | {name.encode() for name in named}
        headers = [pair for pair in request.raw_headers if pair[0].lower() not in dropped]
        return self._upstream.request(method, target, headers, body)


def _parse(data: bytes, *, model_keys: tuple[str, ...] = ("model",)) -> Body:
    try:
        return parse_body(data, model_keys=model_keys)
    except BadRequest as error:
        raise Problem(400, str(error)) from None


def _check(admission: Admission) -> None:
    match admission.verdict:
        case "serve":
            return
        case "not_found":
            raise _not_found(admission.message or f"model '{admission.name}' not found")
        case "not_ready":
            raise _not_ready(
                admission.reason, admission.message, retry_after_s=admission.retry_after_s
            )


def _refuse_scratch(model: str) -> None:
    if names_scratch(model):
        raise _not_found(f"model '{model}' not found")


def _not_found(message: str) -> Problem:
    return Problem(404, message, code="model_not_found")


def _not_ready(reason: str, message: str, *, retry_after_s: int) -> Problem:
    headers = {"Retry-After": str(max(1, retry_after_s))}
    return Problem(503, f"{message} ({reason})", code="model_not_ready", headers=headers)


def _whole(head: Head, body: bytes) -> web.Response:
    headers: CIMultiDict[str] = CIMultiDict()
    for name, value in passed_on(head):
        headers.add(name.decode("latin-1"), value.decode("latin-1"))
    return web.Response(status=head.status, body=body, headers=headers)
