"""Carries one request to Ollama and its answer back.

Owns the order: admission, keep_alive, forwarding, and then the relay or, for reads, the whole
answer. Judges nothing by itself: `Host.admit` does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import structlog
from aiohttp import web
from multidict import CIMultiDict

from paddock.core.access import Peer
from paddock.endpoint.answers import Answer, Problem
from paddock.endpoint.bodies import Bodies
from paddock.endpoint.connection import peer_of
from paddock.endpoint.dialects import dialect_of, not_found_message
from paddock.endpoint.exchange import Exchange, ExchangeFailed, collect, open_exchange
from paddock.endpoint.framing import Head
from paddock.endpoint.hidden import names_scratch, without_hidden
from paddock.endpoint.ports import Admission, EndpointLimits, Host
from paddock.endpoint.relay import HOP_BY_HOP, Ending, Relayed, passed_on, relay
from paddock.endpoint.requests import BadRequest, Body, parse_body
from paddock.endpoint.routes import KEEP_ALIVE, LISTS, Kind, Route, model_of
from paddock.endpoint.stopping import Stopping
from paddock.endpoint.streams import Streams
from paddock.endpoint.upstream import Upstream
from paddock.endpoint.waiting import HEADERS as WAIT_HEADERS
from paddock.endpoint.waiting import wait_of, without_wait
from paddock.errors import InvalidName, PaddockError

# Ollama sends plain bytes when nothing else is asked for, and lists can then be read here.
_NOT_FORWARDED = (
    HOP_BY_HOP | WAIT_HEADERS | {b"host", b"expect", b"accept-encoding", b"content-encoding"}
)

# A model may become ready without an event, as when a person mends its link.
_RECHECK_S = 1.0

log = structlog.get_logger()


class Forwarder:
    """The way to Ollama for all requests of one endpoint."""

    def __init__(
        self, host: Host, upstream: Upstream, limits: EndpointLimits, stopping: Stopping
    ) -> None:
        self.streams = Streams(limits)
        self._host = host
        self._upstream = upstream
        self._limits = limits
        self._stopping = stopping
        self._bodies = Bodies(limits)

    async def stream(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        """Serves one of the streams. Raises Problem and ExchangeFailed before the first byte."""
        began_s = asyncio.get_running_loop().time()
        peer = peer_of(request)
        with self._failures_counted(), self.streams.slot(None if peer is None else peer.uid):
            exchange = await self._ask(request, route, peer)
            with self.streams.behind(exchange):
                head = await exchange.head(self._limits.first_answer_s)
                self.streams.counts.first_byte.observe(asyncio.get_running_loop().time() - began_s)
                return await self._relay(request, route, exchange, head)

    async def read(self, request: web.BaseRequest, route: Route) -> web.Response:
        """Serves one of the reads: HEAD like GET, what does not exist for the peer left out."""
        peer = peer_of(request)
        method, body = "GET", b""
        if route.kind is Kind.SHOW:
            method, body = "POST", await self._show_body(request, route, peer)
        model = model_of(route.path)
        if model is not None:
            await self._check_exists(model, route, peer)
        sent = self._request(request, route, method=method, body=body)
        with self._failures_counted():
            head, answer = await self._whole_answer(sent)
        if route.path in LISTS and head.status == 200:
            answer = without_hidden(answer, await self._host.policy(), peer)
        return _whole(head, answer)

    async def _whole_answer(self, sent: bytes) -> tuple[Head, bytes]:
        exchange = await open_exchange(self._upstream, sent, connect_s=self._limits.connect_s)
        with self.streams.behind(exchange):
            head = await exchange.head(self._limits.read_s)
            size, time_s = self._limits.max_answer_bytes, self._limits.read_s
            return head, await collect(exchange, head, max_bytes=size, timeout_s=time_s)

    @contextlib.contextmanager
    def _failures_counted(self) -> Iterator[None]:
        try:
            yield
        except ExchangeFailed:
            self.streams.counts.failures += 1
            raise

    async def _ask(self, request: web.BaseRequest, route: Route, peer: Peer | None) -> Exchange:
        query, limit_s = request.rel_url.raw_query_string, self._limits.max_wait_s
        wait_s = wait_of(query, request.headers, limit_s=limit_s)
        async with self._bodies.read(request) as data:
            body = _parse(data)
            admission = await self._admitted(body.model, route, peer, wait_s=wait_s)
            if route.path in KEEP_ALIVE:
                body = body.with_keep_alive(admission)
            sent = self._request(request, route, method="POST", body=body.encode())
            return await open_exchange(self._upstream, sent, connect_s=self._limits.connect_s)

    async def _relay(
        self, request: web.BaseRequest, route: Route, exchange: Exchange, head: Head
    ) -> Relayed:
        dialect, limits = dialect_of(route.path), self._limits
        relayed, ending = await relay(request, exchange, head=head, dialect=dialect, limits=limits)
        self._count(ending)
        self.streams.counts.chunks += relayed.chunks
        log.debug("stream ended", path=route.path, status=head.status, ending=ending.value)
        return relayed

    def _count(self, ending: Ending) -> None:
        counts = self.streams.counts
        match ending:
            case Ending.FINISHED:
                counts.finished += 1
            case Ending.BROKEN:
                counts.broken += 1
                counts.failures += 1
            case Ending.CUT:
                counts.cut += 1

    async def _show_body(self, request: web.BaseRequest, route: Route, peer: Peer | None) -> bytes:
        async with self._bodies.read(request) as data:
            body = _parse(data, model_keys=("model", "name"))
            await self._check_exists(body.model, route, peer)
            return body.encode()

    async def _check_exists(self, model: str, route: Route, peer: Peer | None) -> None:
        policy = await self._host.policy()
        if names_scratch(model) or not policy.sees_text(peer, model):
            raise Problem(404, not_found_message(route.path, model))

    async def _admitted(
        self, model: str, route: Route, peer: Peer | None, *, wait_s: float
    ) -> Admission:
        if names_scratch(model):
            raise Problem(404, not_found_message(route.path, model))
        try:
            admission = await self._host.admit(model, peer)
            if admission.verdict == "not_ready" and wait_s > 0:
                admission = await self._stopping.unless(self._ready(model, peer, wait_s=wait_s))
        except InvalidName as error:
            raise Problem(400, error.message) from error
        except PaddockError as error:
            raise _not_ready(error.reason, error.message, retry_after_s=1) from error
        _check(admission, route)
        return admission

    async def _ready(self, model: str, peer: Peer | None, *, wait_s: float) -> Admission:
        """Asks again whenever something changed, until the model can be served or time is up."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + wait_s
        while True:
            admission = await self._host.admit(model, peer)
            left_s = until_s - loop.time()
            if admission.verdict != "not_ready" or left_s <= 0:
                return admission
            await self._host.changed(min(left_s, _RECHECK_S))

    def _request(
        self, request: web.BaseRequest, route: Route, *, method: str, body: bytes
    ) -> bytes:
        query = without_wait(request.rel_url.raw_query_string)
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


def _check(admission: Admission, route: Route) -> None:
    match admission.verdict:
        case "serve":
            return
        case "not_found":
            raise Problem(404, admission.message or not_found_message(route.path, admission.name))
        case "not_ready":
            raise _not_ready(
                admission.reason, admission.message, retry_after_s=admission.retry_after_s
            )


def _not_ready(reason: str, message: str, *, retry_after_s: int) -> Problem:
    headers = {"Retry-After": str(max(1, retry_after_s))}
    return Problem(503, f"{message} ({reason})", code="model_not_ready", headers=headers)


def _whole(head: Head, body: bytes) -> web.Response:
    headers: CIMultiDict[str] = CIMultiDict()
    for name, value in passed_on(head):
        headers.add(name.decode("latin-1"), value.decode("latin-1"))
    return Answer(status=head.status, body=body, headers=headers)
