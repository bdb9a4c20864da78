"""Paddock's own routes: status, plan, reconcile, health.

Owns who may ask for a cycle: root, the daemon's uid, and the uids that the settings add. Reads are
for whoever may open the socket. Decides nothing; `Host` does.
"""

from __future__ import annotations

import os

from aiohttp import web

from paddock.endpoint.answers import Problem, answer_json
from paddock.endpoint.peer import peer_uid
from paddock.endpoint.ports import Host


class Control:
    """The routes that Paddock answers itself."""

    def __init__(self, host: Host, admins: frozenset[int]) -> None:
        self._host = host
        self._admins = admins | {0, os.geteuid()}

    async def answer(self, request: web.BaseRequest, path: str) -> web.Response:
        """Answers one of the control routes. Raises Problem."""
        match path:
            case "/paddock/status":
                return answer_json(self._host.status())
            case "/paddock/plan":
                return self._plan()
            case "/paddock/reconcile":
                return await self._reconcile(request)
            case "/healthz":
                return _health(self._host.healthy(), "the daemon makes no progress")
            case "/readyz":
                return _health(*self._host.ready())
            case _:
                raise Problem(404, f"{path} is not served here")

    def _plan(self) -> web.Response:
        plan = self._host.plan()
        if plan is None:
            raise Problem(503, "there is no plan yet", headers={"Retry-After": "1"})
        return answer_json(plan)

    async def _reconcile(self, request: web.BaseRequest) -> web.Response:
        uid = peer_uid(request.transport)
        if uid not in self._admins:
            who = "this connection" if uid is None else f"uid {uid}"
            raise Problem(403, f"{who} may not ask for a cycle; add it to the setting ADMINS")
        return answer_json(await self._host.reconcile())


def _health(good: bool, message: str) -> web.Response:
    if good:
        return answer_json({"status": "ok"})
    return answer_json({"status": "unavailable", "message": message}, status=503)
