"""Carries one request to Ollama and its answer back.

Owns the order: admission, keep_alive, forwarding, and then the relay or, for reads, the whole
answer. Judges nothing by itself: `Host.admit` does.
"""

from __future__ import annotations

import time
from collections.abc import Coroutine
from typing import Any

import structlog
from aiohttp import web
from multidict import CIMultiDict

from paddock.core.access import Peer
from paddock.endpoint.admitting import Admitting
from paddock.endpoint.announcing import Announcer, is_event_stream
from paddock.endpoint.answers import Answer, Problem
from paddock.endpoint.bodies import Bodies
from paddock.endpoint.collecting import collect
from paddock.endpoint.connection import peer_of
from paddock.endpoint.dialects import not_found_message
from paddock.endpoint.exchange import Exchange, ExchangeFailed, open_exchange
from paddock.endpoint.framing import Head
from paddock.endpoint.headers import forwarded_headers
from paddock.endpoint.hidden import names_scratch, without_hidden
from paddock.endpoint.ports import Admission, EndpointLimits, Host
from paddock.endpoint.pump import Ending
from paddock.endpoint.relay import passed_on, relay
from paddock.endpoint.requests import BadRequest, Body, parse_body
from paddock.endpoint.routes import KEEP_ALIVE, LISTS, Kind, Route, model_of
from paddock.endpoint.stopping import Stopping
from paddock.endpoint.streams import Streams
from paddock.endpoint.upstream import Upstream
from paddock.endpoint.waiting import wait_of, without_wait

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
        self._bodies = Bodies(limits)
        self._admitting = Admitting(host, stopping)

    def stream(
        self, request: web.BaseRequest, route: Route
    ) -> Coroutine[Any, Any, web.StreamResponse]:
        """Serves one of the streams. Raises Problem and ExchangeFailed before the first byte."""
        query, limit_s = request.rel_url.raw_query_string, self._limits.max_wait_s
        wait_s = wait_of(query, request.headers, limit_s=limit_s)
        if wait_s > 0:
            return self._announced(request, route, wait_s)
        return self._stream(request, route)

    async def _announced(
        self, request: web.BaseRequest, route: Route, wait_s: float
    ) -> web.StreamResponse:
        announcer = Announcer(request, wait_s=wait_s, heartbeat_s=self._limits.heartbeat_s)
        try:
            return await self._stream(request, route, announcer)
        except Problem as problem:
            if not announcer.begun:
                raise
            return announcer.end(problem.status, problem.message, problem.code)
        except ExchangeFailed as failure:
            if not announcer.begun:
                raise
            return announcer.end(failure.status, failure.message)

    async def _stream(
        self, request: web.BaseRequest, route: Route, announcer: Announcer | None = None
    ) -> web.StreamResponse:
        began_s, counts = time.monotonic(), self.streams.counts
        peer = peer_of(request)
        with self.streams.slot(None if peer is None else peer.uid) as slot:
            model, exchange = await self._ask(request, route, peer, announcer)
            slot.put(exchange)
            try:
                begun = announcer is not None and announcer.begun
                if announcer is not None and begun:
                    head = await exchange.head(self._limits.first_answer_s)
                    if not is_event_stream(head):
                        rest = await self._rest(exchange, head)
                        return announcer.end_with(announcer.refused(rest))
                relayed, ending = await relay(
                    request,
                    exchange,
                    path=route.path,
                    limits=self._limits,
                    headed=lambda: counts.first_byte.observe(time.monotonic() - began_s),
                    begun=begun,
                )
            finally:
                # Only Ollama's own dialect has a keep_alive; what the others use is looked at.
                if route.path not in KEEP_ALIVE:
                    self._host.used(model)
            self._count(ending, relayed.chunks)
            log.debug("stream ended", path=route.path, status=relayed.status, ending=ending.value)
            return relayed

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
        head, answer = await self._whole_answer(sent)
        if route.path in LISTS and head.status == 200:
            answer = without_hidden(answer, await self._host.policy(), peer)
        return _whole(head, answer)

    async def _whole_answer(self, sent: bytes) -> tuple[Head, bytes]:
        try:
            exchange = await open_exchange(self._upstream, sent, connect_s=self._limits.connect_s)
            with self.streams.behind(exchange):
                head = await exchange.head(self._limits.read_s)
                return head, await self._rest(exchange, head)
        except ExchangeFailed:
            self.streams.counts.failures += 1
            raise

    async def _rest(self, exchange: Exchange, head: Head) -> bytes:
        size, time_s = self._limits.max_answer_bytes, self._limits.read_s
        return await collect(exchange, head, max_bytes=size, timeout_s=time_s)

    async def _ask(
        self, request: web.BaseRequest, route: Route, peer: Peer | None, announcer: Announcer | None
    ) -> tuple[str, Exchange]:
        async with self._bodies.read(request) as data:
            body = _parse(data)
            if announcer is not None:
                announcer.allow(body, route.path)
            admission = await self._admitting.admitted(body.model, route, peer, announcer)
            if route.path in KEEP_ALIVE:
                body = _with_keep_alive(body, admission)
            sent = self._request(request, route, method="POST", body=body.encode())
            connect_s = self._limits.connect_s
            return body.model, await open_exchange(self._upstream, sent, connect_s=connect_s)

    def _count(self, ending: Ending, chunks: int) -> None:
        counts = self.streams.counts
        counts.chunks += chunks
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

    def _request(
        self, request: web.BaseRequest, route: Route, *, method: str, body: bytes
    ) -> bytes:
        query = without_wait(request.rel_url.raw_query_string)
        target = f"{route.path}?{query}" if query else route.path
        return self._upstream.request(method, target, forwarded_headers(request), body)


def _parse(data: bytes, *, model_keys: tuple[str, ...] = ("model",)) -> Body:
    try:
        return parse_body(data, model_keys=model_keys)
    except BadRequest as error:
        raise Problem(400, str(error)) from None


def _with_keep_alive(body: Body, admission: Admission) -> Body:
    try:
        return body.with_keep_alive(admission)
    except BadRequest as error:
        raise Problem(400, str(error)) from None


def _whole(head: Head, body: bytes) -> web.Response:
    headers: CIMultiDict[str] = CIMultiDict()
    for name, value in passed_on(head):
        headers.add(name.decode("latin-1"), value.decode("latin-1"))
    return Answer(status=head.status, body=body, headers=headers)
