"""The condition `Loaded` of a model: what memory holds of it, against what the file wants now.

Pure. The reason of an action, or of a model that has no place, is told as the plan gives it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, tzinfo

from paddock.core.conditions import Fact
from paddock.core.observed import Running
from paddock.core.plan import Action, Blocked, LoadModel, SetKeepAlive, Waiting
from paddock.core.policy import Policy

# A model with one of these is as the file says, although it is not in memory.
MAY_BE_AWAY = frozenset({"NotWanted", "OutsideSchedule", "Expired"})


def loaded(policy: Policy, running: Running, actions: Sequence[Action], zone: tzinfo) -> Fact:
    """What is told of a model that is in memory."""
    expiry = running.expires_at
    how_long = "for ever" if expiry is None else f"until {expiry:%H:%M:%S} UTC"
    if policy.closes is not None:
        how_long = f"{how_long}, in a window that closes {clock(policy.closes, zone)}"
    asserted = next((action for action in actions if isinstance(action, SetKeepAlive)), None)
    if asserted is not None:
        return "True", asserted.reason, f"{how_long}: {asserted.message}"
    return "True", "Running", how_long


def not_loaded(
    policy: Policy,
    held_back: Blocked | Waiting | None,
    actions: Sequence[Action],
    zone: tzinfo,
    *,
    rests: bool,
) -> Fact:
    """What is told of one that is not; `rests`: nobody is going to load it."""
    if not policy.preload and policy.until is not None:
        what = f"not in memory: the schedule changes {clock(policy.until, zone)}"
        return "False", "OutsideSchedule", what
    if not policy.preload:
        return "False", "NotWanted", "not in memory"
    if held_back is not None:
        return "False", held_back.reason, f"not in memory: {held_back.message}"
    load = next((action for action in actions if isinstance(action, LoadModel)), None)
    if load is not None:
        return "False", load.reason, "not in memory"
    if rests:
        return "False", "Expired", "not in memory: its keep_alive has run out"
    return "False", "NotLoaded", "not in memory"


def clock(at: datetime, zone: tzinfo) -> str:
    """A time by the clock that schedules go by."""
    local = at.astimezone(zone)
    return f"on {local:%a %H:%M} {local.tzname()}"
