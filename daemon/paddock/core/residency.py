"""Residency: what memory shall hold, and how long, against what ps shows.

Pure; the time and what earlier polls saw come in as arguments. The last request that carries a
keep_alive wins (ollama:server/sched.go useLoadedRunner): so a pin is asserted whenever it was lost,
and a finite keep_alive once a use. Who has a place at all says `core/residency_room.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

from paddock.core.desired import Bounds
from paddock.core.digest import Digest
from paddock.core.keep_alive import UNLOAD, KeepAlive
from paddock.core.names import Name
from paddock.core.observed import Memory, Running
from paddock.core.plan import Blocked, LoadModel, SetKeepAlive, Waiting
from paddock.core.policy import length_s
from paddock.core.residency_cases import (
    TOLERANCE,
    Case,
    Moment,
    Runner,
    Want,
    cases_of,
    is_due,
    is_told,
)
from paddock.core.residency_memory import opened, remember
from paddock.core.residency_room import Room, room_for
from paddock.core.residency_use import Use, use_of, with_coming

Act: TypeAlias = LoadModel | SetKeepAlive


@dataclass(frozen=True, slots=True)
class Residence:
    """What memory needs: actions, at most one for each GGUF; the models that have no place, or wait
    for one; and what the next look has to know of this one."""

    actions: tuple[Act, ...]
    blocked: tuple[Blocked, ...]
    waiting: tuple[Waiting, ...]
    memory: Memory


def plan_residency(
    wants: Sequence[Want], runners: Sequence[Runner], memory: Memory, moment: Moment
) -> Residence:
    """What memory needs now."""
    memory, moment = with_coming(opened(wants, memory), moment)
    cases = cases_of(wants, runners)
    use = use_of(cases, runners, memory, moment)
    room = room_for(cases, runners, memory, use, moment)
    acts = {case.digest: _act(case, room, memory, moment) for case in cases}
    actions = {digest: action for digest, action in acts.items() if action is not None}
    idle = [case for case in cases if case.digest not in actions]
    return Residence(
        actions=tuple(actions.values()),
        blocked=tuple(_blocked(idle, room)),
        waiting=tuple(_waiting(idle, room, use, cases)),
        memory=remember(wants, runners, use.kept(memory), moment, actions.keys()),
    )


def _act(case: Case, room: Room, memory: Memory, moment: Moment) -> Act | None:
    if case.digest in room.yields:
        return _let_go(case, "DoesNotFit", moment)
    if is_due(case, memory, moment.at):
        return None if case.digest in room.waits else _load(case, memory)
    if case.alive is None:
        return None
    preloads = case.speaker.policy.preload
    if not preloads and any(want.name in memory.held for want in case.wants):
        return _release(case, moment)
    if not preloads and is_told(case.alive, moment.at):
        return None
    return _keep(case, case.alive, memory, moment)


def _keep(case: Case, runner: Running, memory: Memory, moment: Moment) -> Act | None:
    """Set the keep_alive of the first that says one, where another holds."""
    for want in case.wants:
        if (keep_alive := want.policy.keep_alive) is not None:
            holds = _in_policy(keep_alive, case.digest, runner, memory, moment)
            holds = holds or _is_clients(want, runner, memory, moment)
            return None if holds else _assert(case, want, keep_alive)
    return None


def _release(case: Case, moment: Moment) -> Act | None:
    """The file kept it in memory, and does so no more."""
    scheduled = any(want.policy.until is not None for want in case.wants)
    return _let_go(case, "WindowClosed" if scheduled else "NotPreloaded", moment)


def _let_go(case: Case, reason: str, moment: Moment) -> Act | None:
    """Ask a runner to go after its last request: once."""
    if case.alive is None or is_told(case.alive, moment.at):
        return None
    return SetKeepAlive(
        name=case.speaker.name,
        reason=reason,
        message="let it leave memory after its last request",
        symbol="~",
        keep_alive=UNLOAD.wire,
        running=_asked_by(case),
        num_ctx=case.alive.num_ctx,
    )


def _in_policy(
    keep_alive: KeepAlive, digest: Digest, runner: Running, memory: Memory, moment: Moment
) -> bool:
    """Whether what a runner shows is as the file says, or says nothing: a busy one shows the expiry
    that it had before, until its requests end (ollama:server/sched.go processCompleted)."""
    expires_at = runner.expires_at
    if digest in memory.asserted and memory.asserted[digest] == runner.stamp:
        return True
    if keep_alive.seconds is None or expires_at is None:
        return expires_at is None and _goes_in_turn(keep_alive, runner, memory, moment)
    if expires_at <= moment.at or memory.expires.get(digest) == expires_at:
        return True  # busy, or judged already
    used_at = expires_at - timedelta(seconds=keep_alive.seconds)
    since = memory.polled_at
    is_new = since is None or since - TOLERANCE <= used_at
    return is_new and used_at <= moment.at + TOLERANCE


def _goes_in_turn(keep_alive: KeepAlive, runner: Running, memory: Memory, moment: Moment) -> bool:
    """Whether a pin is one, and where memory is known to be short would go in its turn."""
    if memory.full is None or runner.stamp is None:
        return keep_alive.is_forever
    return keep_alive.is_shown((runner.stamp - moment.at).total_seconds())


def _is_clients(want: Want, runner: Running, memory: Memory, moment: Moment) -> bool:
    """Whether what a runner shows is what the file lets a client ask for: within bounds, some time
    that they hold explains the expiry by a use since the last poll."""
    clients, expires_at, since = want.clients, runner.expires_at, memory.polled_at
    if not isinstance(clients, Bounds):
        return clients == "allow"
    if expires_at is None:
        return clients.most.is_forever
    if expires_at <= moment.at or memory.expires.get(want.digest) == expires_at:
        return True  # busy, or judged already
    shortest = (expires_at - moment.at - TOLERANCE).total_seconds()
    longest = math.inf if since is None else (expires_at - since + TOLERANCE).total_seconds()
    return shortest <= length_s(clients.most) and length_s(clients.least) <= longest


def _load(case: Case, memory: Memory) -> LoadModel:
    want, keep_alive = case.speaker, case.speaker.policy.keep_alive
    how_long = "" if keep_alive is None else f", keep_alive {keep_alive.display}"
    return LoadModel(
        name=want.name,
        reason=_why_load(case, memory),
        message=f"load{how_long}",
        symbol="~",
        keep_alive=None if keep_alive is None else keep_alive.wire,
        num_ctx=want.num_ctx,
    )


def _why_load(case: Case, memory: Memory) -> str:
    want = case.speaker
    if case.runner is not None:
        return "RunnerDied"
    if (want.name, want.digest) in memory.loaded:
        return "Evicted"
    return "NotLoaded" if want.policy.window is None else "WindowOpened"


def _assert(case: Case, want: Want, keep_alive: KeepAlive) -> SetKeepAlive:
    assert case.alive is not None
    expires_at = case.alive.expires_at
    was = "it was: for ever" if expires_at is None else f"it was: until {expires_at:%H:%M:%S} UTC"
    if expires_at is None and keep_alive.is_forever:
        was = "it was out of its turn"
    return SetKeepAlive(
        name=want.name,
        reason="Unpinned" if keep_alive.is_forever and expires_at else "KeepAliveChanged",
        message=f"set keep_alive {keep_alive.display} ({was})",
        symbol="~",
        keep_alive=keep_alive.wire,
        running=_asked_by(case),
        num_ctx=case.alive.num_ctx,
    )


def _asked_by(case: Case) -> Name:
    """The name that a runner was loaded by has its options; by another it might be reloaded."""
    if case.runner is not None and case.runner.reached:
        return case.runner.running.name
    return case.speaker.name


def _blocked(cases: Iterable[Case], room: Room) -> Iterator[Blocked]:
    """Each name that is to be preloaded and has no place."""
    for case in cases:
        why = room.yields.get(case.digest)
        for want in case.wants:
            if why is not None and want.policy.preload:
                yield Blocked(want.name, "DoesNotFit", why)


def _waiting(
    cases: Sequence[Case], room: Room, use: Use, every: Sequence[Case]
) -> Iterator[Waiting]:
    going = [str(c.speaker.name) for c in every if c.digest in room.leaving | use.busy]
    message = f"load, once {', '.join(going) or 'another model'} has left memory"
    for case in cases:
        name = case.speaker.name
        if case.digest in room.waits and case.digest in room.left:
            yield Waiting(name, "JustLeft", "load, unless a client does so at this moment", "~")
        elif case.digest in room.waits:
            yield Waiting(name, "MemoryInUse", message, "~")
