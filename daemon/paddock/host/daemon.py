"""The daemon, as the endpoint knows it: answers from what the loop knows, and asks it for cycles.

Owns the decision about each request (`admit`), put together from who may (`rules`) and what can
(`readiness`). Changes nothing itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from paddock.core.access import Peer, Policy
from paddock.core.conditions import condition
from paddock.core.desired import State
from paddock.core.names import Name
from paddock.core.plan_json import plan_to_json
from paddock.endpoint.ports import Admission, StreamCounts, Verdict
from paddock.engine.loop import Loop
from paddock.engine.world import World
from paddock.errors import InvalidName
from paddock.host.metrics import Metrics
from paddock.host.readiness import Readiness
from paddock.host.rules import Rules

NOT_READY_S = 2
MAX_KEPT_CHARS = 256


class Daemon:
    """What the endpoint may ask of the daemon (`endpoint/ports.py` Host)."""

    def __init__(
        self,
        loop: Loop,
        world: World,
        *,
        metrics: Metrics | None = None,
        allow_undeclared: bool = True,
    ):
        self._loop = loop
        self._rules = Rules(lambda: loop.desired, world.store, allow_undeclared=allow_undeclared)
        self._readiness = Readiness(loop, world)
        self._metrics = metrics or Metrics()

    def status(self) -> Mapping[str, Any]:
        """The status as JSON."""
        return self._loop.status.to_json()

    def plan(self) -> Mapping[str, Any] | None:
        """The last plan as JSON."""
        return None if self._loop.plan is None else plan_to_json(self._loop.plan)

    def healthy(self) -> bool:
        """Whether the loop lives: it ends only with the process."""
        return True

    def ready(self) -> tuple[bool, str]:
        """Whether the first cycle is done and Ollama answers."""
        reachable = condition(self._loop.status.conditions, "OllamaReachable")
        return reachable.status == "True" and self._loop.cycles > 0, reachable.message

    async def reconcile(self) -> Mapping[str, Any]:
        """Ask for a cycle and wait for its end."""
        finished = await self._loop.ask()
        outcomes = [outcome.to_json() for outcome in finished.outcomes]
        return {"outcomes": outcomes, "status": finished.status.to_json()}

    def wake(self) -> None:
        """Ask for a cycle."""
        self._loop.wake.set()

    async def events(self, after: int) -> Sequence[Mapping[str, Any]]:
        """The events after an id, as JSON; waits until there is one."""
        return [event.to_json() for event in await self._loop.events(after)]

    async def changed(self, timeout_s: float) -> None:
        """Wait for the next event, or for that long."""
        known = await self._loop.events(-1)  # does not wait
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._loop.events(known[-1].id if known else 0)

    async def policy(self) -> Policy:
        """The judge of who may see what, the remote models of the store known to it."""
        return await self._rules.with_remote()

    def metrics(self, counts: StreamCounts) -> str:
        """The text of `/metrics`."""
        return self._metrics.render(self._loop.status, counts)

    async def admit(self, model: str, peer: Peer | None) -> Admission:
        """Decide on one request."""
        policy = self._rules.current() or await self._rules.policy()
        # Names are a client's to invent, and what is kept of them must be small.
        name = _parsed(model) if len(model) <= MAX_KEPT_CHARS else _parse(model)
        found = None if name is None else self._readiness.find(name)
        if name is None or found is None:
            policy = await self._rules.with_remote()
            seen = policy.sees_text(peer, model)
            return _as_it_is(model) if seen else _refused(model, "not_found", "", "")
        if not policy.sees(peer, name):
            return _refused(model, "not_found", "", "")
        if found.model.state is State.ABSENT:
            return _refused(model, "not_found", "Absent", f'model "{model}" is declared absent')
        trouble = found.trouble
        if trouble is None and found.link is not None:
            trouble = found.link.check() if found.link.is_local else await found.link.check_slowly()
        if trouble is not None:
            self._loop.wake.set()
            return _refused(model, "not_ready", *trouble)
        keep_alive = found.model.residency.keep_alive
        wire = None if keep_alive is None else keep_alive.wire
        return Admission(
            model, "serve", "", "", 0, wire, client_keep_alive_allowed=keep_alive is None
        )


def _parse(model: str) -> Name | None:
    try:
        return Name.parse_request(model)
    except InvalidName:
        return None


_parsed = lru_cache(maxsize=4096)(_parse)


def _as_it_is(model: str) -> Admission:
    return Admission(model, "serve", "", "", 0, None, client_keep_alive_allowed=True)


def _refused(model: str, verdict: Verdict, reason: str, message: str) -> Admission:
    return Admission(
        model, verdict, reason, message, NOT_READY_S, None, client_keep_alive_allowed=False
    )
