"""Paddock's own routes: status, plan, explain, events, reconcile, pause, health, metrics.

Owns who may ask for a cycle or pause a model: root, the daemon's uid, and the uids that the
settings add. Reads are for whoever may open the socket, without the models that do not exist for
that peer. Decides nothing; `Host` does.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from aiohttp import web

from paddock.core.access import Sees
from paddock.core.metrics import CONTENT_TYPE
from paddock.endpoint.answers import Answer, Problem, answer_json
from paddock.endpoint.bodies import Bodies
from paddock.endpoint.connection import peer_of
from paddock.endpoint.followers import Followers
from paddock.endpoint.hidden import only_seen
from paddock.endpoint.ports import EndpointLimits, Host, StreamCounts
from paddock.endpoint.stopping import Stopping
from paddock.errors import InvalidName, PaddockError

Switch: TypeAlias = Callable[[Sequence[str]], Coroutine[Any, Any, Mapping[str, Any]]]


class Control:
    """The routes that Paddock answers itself."""

    def __init__(
        self,
        host: Host,
        admins: frozenset[int],
        *,
        limits: EndpointLimits,
        counts: StreamCounts,
        stopping: Stopping,
    ) -> None:
        self._host = host
        self._admins = admins | {0, os.geteuid()}
        self._counts = counts
        self._stopping = stopping
        self._bodies = Bodies(limits)
        self._followers = Followers(host, limits, counts, stopping)

    async def answer(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        """Answers one of the control routes. Raises Problem."""
        match path:
            case "/paddock/status":
                return answer_json(only_seen(self._host.status(), await self._sees(request)))
            case "/paddock/plan":
                return await self._plan(request)
            case "/paddock/events":
                return await self._followers.follow(request, await self._sees(request))
            case "/paddock/explain":
                return await self._explain(request)
            case "/paddock/reconcile" | "/paddock/pause" | "/paddock/resume":
                return await self._change(request, path)
            case _:
                return self.public(path)

    def public(self, path: str) -> web.Response:
        """Answers what says nothing of any one model. Raises Problem."""
        match path:
            case "/healthz":
                return _health(self._host.healthy(), "the daemon makes no progress")
            case "/readyz":
                return _health(*self._host.ready())
            case "/metrics":
                text = self._host.metrics(self._counts)
                return Answer(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})
            case _:
                raise Problem(404, f"{path} is not served here")

    async def _sees(self, request: web.BaseRequest) -> Sees:
        peer = peer_of(request)
        if peer is not None and peer.uid in self._admins:
            return lambda _: True
        return partial((await self._host.policy()).sees_listed, peer)

    async def _plan(self, request: web.BaseRequest) -> web.Response:
        plan = self._host.plan()
        if plan is None:
            raise Problem(503, "there is no plan yet", headers={"Retry-After": "1"})
        return answer_json(only_seen(plan, await self._sees(request)))

    async def _change(self, request: web.BaseRequest, path: str) -> web.Response:
        if path == "/paddock/reconcile":
            return await self._reconcile(request)
        self._require_admin(request, "pause or resume models")
        switch = self._host.pause if path == "/paddock/pause" else self._host.resume
        return await self._switch(request, switch)

    async def _reconcile(self, request: web.BaseRequest) -> web.Response:
        self._require_admin(request, "ask for a cycle")
        prune = _flag(request, "prune", "0")
        if not _flag(request, "wait", "1"):
            self._host.wake(prune=prune)
            return answer_json({"asked": True}, status=202)
        return answer_json(await self._stopping.unless(self._host.reconcile(prune=prune)))

    async def _switch(self, request: web.BaseRequest, switch: Switch) -> web.Response:
        async with self._bodies.read(request) as body:
            models = _models(body)
        try:
            return answer_json(await self._stopping.unless(switch(models)))
        except PaddockError as error:
            unknown = error.reason in {"NotDeclared", "InvalidName"}
            raise Problem(404 if unknown else 500, error.message) from error

    async def _explain(self, request: web.BaseRequest) -> web.Response:
        model, sees = request.rel_url.query.get("model", ""), await self._sees(request)
        try:
            told = await self._host.explain(model)
        except InvalidName as error:
            raise Problem(400, error.message) from error
        if told is None or not sees(told["name"]):
            raise Problem(404, f"{model}: neither declared nor installed; paddock status shows all")
        return answer_json(told)

    def _require_admin(self, request: web.BaseRequest, what: str) -> None:
        peer = peer_of(request)
        if peer is None or peer.uid not in self._admins:
            who = "this connection" if peer is None else f"uid {peer.uid}"
            raise Problem(403, f"{who} may not {what}; add it to the setting ADMINS")


def _models(body: bytes) -> list[str]:
    try:
        models = json.loads(body)["models"]
    except (ValueError, TypeError, KeyError, RecursionError):
        models = None
    if not isinstance(models, list) or not all(isinstance(name, str) for name in models):
        raise Problem(400, 'the body must be {"models": ["NAME", ...]}')
    if not models:
        raise Problem(400, "name a model")
    return models


def _health(good: bool, message: str) -> web.Response:
    if good:
        return answer_json({"status": "ok"})
    return answer_json({"status": "unavailable", "message": message}, status=503)


def _flag(request: web.BaseRequest, key: str, usual: str) -> bool:
    match request.rel_url.query.get(key, usual):
        case "0":
            return False
        case "1":
            return True
        case _:
            raise Problem(400, f"{key} must be 0 or 1")
