"""Admission of one request: asks the host, and waits where the client would or where it is short.

Owns how long is waited and what refuses a request in which words. Decides nothing about models.
"""

from __future__ import annotations

import asyncio

from paddock.core.access import Peer
from paddock.endpoint.announcing import Announcer
from paddock.endpoint.answers import Problem
from paddock.endpoint.dialects import not_found_message
from paddock.endpoint.hidden import names_scratch
from paddock.endpoint.ports import Admission, Host
from paddock.endpoint.routes import Route
from paddock.endpoint.stopping import Stopping
from paddock.errors import InvalidName, PaddockError

# A model may become ready without an event, as when a person mends its link.
_RECHECK_S = 1.0


class Admitting:
    """Who is let through to Ollama."""

    def __init__(self, host: Host, stopping: Stopping) -> None:
        self._host = host
        self._stopping = stopping

    async def admitted(
        self, model: str, route: Route, peer: Peer | None, announcer: Announcer | None
    ) -> Admission:
        """Gives the admission of a model that can be served; who has an announcer waits for one.
        Raises Problem (400, 404, 503)."""
        if names_scratch(model):
            raise Problem(404, not_found_message(route.path, model))
        try:
            admission = await self._host.admit(model, peer)
            if admission.verdict == "not_ready":
                # Unasked a client is kept for a moment alone, and told nothing meanwhile.
                most_s = max(0.0 if announcer is None else announcer.wait_s, admission.mending_s)
                if most_s > 0:
                    waiting = self._ready(model, peer, wait_s=most_s, announcer=announcer)
                    admission = await self._stopping.unless(waiting)
        except InvalidName as error:
            raise Problem(400, error.message) from error
        except PaddockError as error:
            raise _not_ready(error.reason, error.message, retry_after_s=1) from error
        _check(admission, route)
        return admission

    async def _ready(
        self, model: str, peer: Peer | None, *, wait_s: float, announcer: Announcer | None
    ) -> Admission:
        """Asks again whenever something changed, until the model can be served or time is up."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + wait_s
        while True:
            admission = await self._host.admit(model, peer)
            left_s = until_s - loop.time()
            if admission.verdict != "not_ready" or left_s <= 0:
                return admission
            if announcer is not None:
                announcer.tell(admission.message)
            await self._host.changed(min(left_s, _RECHECK_S))


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
