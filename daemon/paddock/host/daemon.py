"""The daemon, as the endpoint knows it: answers from what the loop knows, and asks it for cycles.

Owns the decision about each request (`admit`), put together from who may (`rules`) and what can
(`readiness`). Changes nothing itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from paddock.core.access import Peer, Policy
from paddock.core.conditions import condition
from paddock.core.desired import State
from paddock.core.explain import Told, explain, find_name
from paddock.core.names import Name
from paddock.core.plan_json import plan_to_json
from paddock.core.progress import line
from paddock.edges.specfile.declared import declared_at
from paddock.endpoint.ports import Admission, StreamCounts
from paddock.engine.loop import Loop
from paddock.engine.pause import pause, resume
from paddock.engine.world import World
from paddock.errors import InvalidName
from paddock.host.metrics import Metrics
from paddock.host.nudge import Nudge
from paddock.host.policies import Policies
from paddock.host.pulse import Pulse
from paddock.host.readiness import LINK_BROKEN, Found, Readiness, Trouble
from paddock.host.rules import Rules

NOT_READY_S = 2
MOST_RETRY_S = 600
# A link is made anew in a few hundredths of a second: a request waits for that unasked.
MENDING_S = 2.0
# What a cycle that is under way says of a link that it mends.
MENDING = frozenset({"LinkMissing", "LinkMended"})
MAX_KEPT_CHARS = 256


class Daemon:
    """What the endpoint may ask of the daemon (`endpoint/ports.py` Host)."""

    def __init__(
        self,
        loop: Loop,
        world: World,
        *,
        metrics: Metrics | None = None,
        pulse: Pulse | None = None,
        allow_undeclared: bool = True,
    ):
        self._loop = loop
        self._world = world
        self._rules = Rules(lambda: loop.wanted.now, world.store, allow_undeclared=allow_undeclared)
        self._readiness = Readiness(loop, world)
        self._policies = Policies()
        self._nudge = Nudge(loop.wake.set)
        self._metrics = metrics or Metrics()
        self._pulse = pulse or Pulse()
        world.progress.listen(self._pulse.beat, self._pulse.beat)

    def status(self) -> Mapping[str, Any]:
        """The status as JSON."""
        return self._loop.status_now.to_json()

    def plan(self) -> Mapping[str, Any] | None:
        """The last plan as JSON."""
        return None if self._loop.plan is None else plan_to_json(self._loop.plan)

    def healthy(self) -> bool:
        """Whether the cycles get on: they end, their actions end, or bytes move."""
        self._pulse.see((self._loop.cycles, self._loop.event_log.last_id))
        return self._pulse.beats

    def ready(self) -> tuple[bool, str]:
        """Whether the first cycle is done and Ollama answers."""
        reachable = condition(self._loop.status.conditions, "OllamaReachable")
        return reachable.status == "True" and self._loop.cycles > 0, reachable.message

    async def reconcile(self, *, prune: bool = False) -> Mapping[str, Any]:
        """Ask for a cycle and wait for its end."""
        finished = await self._loop.ask(prune=prune)
        outcomes = [outcome.to_json() for outcome in finished.outcomes]
        return {"outcomes": outcomes, "status": finished.status.to_json()}

    def wake(self, *, prune: bool = False) -> None:
        """Ask for a cycle."""
        self._loop.wake_up(prune=prune)

    async def events(self, after: int) -> Sequence[Mapping[str, Any]]:
        """The events after an id, as JSON; waits until there is one."""
        return [event.to_json() for event in await self._loop.events(after)]

    def events_so_far(self, after: int) -> Sequence[Mapping[str, Any]]:
        """The events after an id that there are now; all of them for an id that is ahead of ours,
        as those of another host are."""
        log = self._loop.event_log
        return [event.to_json() for event in log.after(after if after <= log.last_id else 0)]

    def last_event_id(self) -> int:
        """The id of the last event."""
        return self._loop.event_log.last_id

    async def pause(self, models: Sequence[str]) -> Mapping[str, Any]:
        """Leave models alone; once this returns, no cycle goes on with them."""
        told = await asyncio.to_thread(pause, self._world.state, self._loop.wanted.now, models)
        await self._loop.turn()
        return told

    async def resume(self, models: Sequence[str]) -> Mapping[str, Any]:
        """Care for models again."""
        told = await asyncio.to_thread(resume, self._world.state, self._loop.wanted.now, models)
        self._loop.wake_up()
        return told

    async def explain(self, model: str) -> Mapping[str, Any] | None:
        """All that is known of a model, as of the last cycle."""
        loop = self._loop
        name = find_name(model, loop.cycle)
        if name is None:
            return None
        events, file = self.events_so_far(0), Path(loop.cycle.desired.file)
        place = await asyncio.to_thread(declared_at, file, os.environ, name)
        return explain(name, loop.cycle, Told(loop.status_now, events, place))

    async def changed(self, timeout_s: float) -> None:
        """Wait for the next change, or for that long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._loop.changed()

    async def policy(self) -> Policy:
        """The judge of who may see what, the remote models of the store known to it."""
        return await self._rules.with_remote()

    def metrics(self, counts: StreamCounts) -> str:
        """The text of `/metrics`."""
        moved = self._world.progress.moved_bytes
        return self._metrics.render(self._loop.status, counts, moved)

    async def admit(self, model: str, peer: Peer | None) -> Admission:
        """Decide on one request."""
        policy = self._rules.current() or await self._rules.policy()
        # Names are a client's to invent, and what is kept of them must be small.
        name = _parsed(model) if len(model) <= MAX_KEPT_CHARS else _parse(model)
        found = None if name is None else self._readiness.find(name)
        if name is None or found is None:
            policy = await self._rules.with_remote()
            seen = policy.sees_text(peer, model)
            return Admission(model, "serve" if seen else "not_found")
        if not policy.sees(peer, name):
            return Admission(model, "not_found")
        if found.suspended:
            return Admission(model, "serve")
        if found.model.state is State.ABSENT:
            return Admission(model, "not_found", "Absent", f'model "{model}" is declared absent')
        trouble = found.trouble or await found.check()
        if trouble is not None:
            return self._not_ready(model, found, trouble)
        residency = found.model.residency
        policy_now = self._policies.of(found.model, self._loop.wanted.now.timezone)
        return Admission(model, "serve", residency=residency, keep_alive=policy_now.keep_alive)

    def used(self, model: str) -> None:
        """Look at memory soon, where a use that carried no keep_alive has loaded the model: to one
        that was loaded it changes nothing (`ollama:server/sched.go` useLoadedRunner)."""
        name = _parse(model)
        found = None if name is None else self._readiness.find(name)
        if found is None or found.suspended or found.loaded:
            return
        residency = found.model.residency
        if residency.schedule or residency.keep_alive is not None:
            self._nudge.give()

    def _not_ready(self, model: str, found: Found, trouble: Trouble) -> Admission:
        """Tell how far it is, and when to come again."""
        self._nudge.give()
        reason, message = trouble
        broke_now = found.trouble is None and reason == LINK_BROKEN
        is_mending = found.stalled is None and (broke_now or reason in MENDING)
        name, left_s = found.model.name.display, None
        under_way = [told for told in self._world.progress.under_way if told.name == name]
        if under_way:
            message, left_s = f"{name} is being made: {line(under_way[0])}", under_way[0].left_s
        return Admission(
            model,
            "not_ready",
            reason,
            message,
            retry_after_s=NOT_READY_S if left_s is None else min(math.ceil(left_s), MOST_RETRY_S),
            mending_s=MENDING_S if is_mending else 0.0,
        )


def _parse(model: str) -> Name | None:
    try:
        return Name.parse_request(model)
    except InvalidName:
        return None


_parsed = lru_cache(maxsize=4096)(_parse)
