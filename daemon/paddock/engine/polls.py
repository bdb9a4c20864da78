"""Polls: when the next look is due where nothing asks for one before.

Most of what changes is told at once: files by their watches, the end of a runner by the kernel, the
end of Ollama by its connection. What another client says to Ollama is told by nobody, so ps is
asked now and then: more seldom where the file says nothing of memory, and in time for what is known
to come (an expiry, a window's edge, the next attempt).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from paddock.core.desired import Desired, Residency
from paddock.core.failures import backoff_s, next_attempt
from paddock.core.layouts import SETTLED_S
from paddock.core.model_status import Cycle
from paddock.core.observed import Unknown
from paddock.core.policy import next_change
from paddock.core.residency_plan import is_moving

SOONEST_S = 0.05
# Where nothing is said of memory, so many polls are one.
SELDOM = 3
# What comes and goes in memory may do so unseen.
MOVES_S = 1.0
# After its expiry a runner takes a moment to go.
_GOES = timedelta(seconds=0.2)


def pause_s(cycle: Cycle, now: datetime, *, poll_s: float, troubles: int, jitter: float) -> float:
    """Seconds from now to the next look, after `troubles` cycles in a row that could not go on."""
    if troubles:
        return min(backoff_s(troubles, jitter), poll_s)
    if cycle.plan is not None and is_moving(cycle.plan):
        return min(MOVES_S, poll_s)
    longest_s = poll_s if _is_needed(cycle) else SELDOM * poll_s
    rest_s = min(((at - now).total_seconds() for at in _due(cycle, now)), default=longest_s)
    return min(max(rest_s, SOONEST_S), longest_s)


def _is_needed(cycle: Cycle) -> bool:
    """Whether a poll can find what nobody tells of."""
    said = (model.residency != Residency() for model in cycle.desired.models.values())
    return cycle.observed is None or bool(cycle.unwatched) or any(said)


def is_written(desired: Desired) -> bool:
    """Whether a file in a folder of models was being written at the last look: its last write may
    be over already, and then nobody tells that it has settled."""
    return any(out.reason == "StillWritten" for out in desired.found.notes)


def _due(cycle: Cycle, now: datetime) -> Iterator[datetime]:
    """When something is known to change, or to be tried again."""
    known = [next_attempt(cycle.failures), next_change(cycle.desired, now)]
    if cycle.plan is not None:
        known += [blocked.withdraw_at for blocked in cycle.plan.blocked]
    yield from (at for at in known if at is not None)
    if is_written(cycle.desired):
        yield max(cycle.at + timedelta(seconds=SETTLED_S), now)
    running = None if cycle.observed is None else cycle.observed.running
    for runner in () if running is None or isinstance(running, Unknown) else running:
        if runner.expires_at is not None and runner.expires_at + _GOES > now:
            yield runner.expires_at + _GOES
