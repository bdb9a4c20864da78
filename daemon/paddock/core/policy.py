"""Policy: what the file says of a model's memory at a time, and of its clients' keep_alive.

Pure; the time and the zone come in as arguments. A window opens by the wall clock of the zone: a
local time that a change of clocks skips is the next valid minute, one that it doubles is the first
of the two, so that each window opens once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import TypeAlias, assert_never

from paddock.core.desired import Bounds, Desired, Residency, Window
from paddock.core.keep_alive import KeepAlive

_DAY = timedelta(days=1)
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WEEK_MINUTES = 7 * 24 * 60
# A week behind, for windows that touch each other; ahead also what a change of date line may skip.
_BEHIND_DAYS, _AHEAD_DAYS = 8, 11
_HORIZON = timedelta(days=9)

_Span: TypeAlias = tuple[datetime, datetime]
_Minutes: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds at a time, until `until` (None: for good). `window` is the one that is open, from
    `since` (None: it never closes) to `closes`; outside of any, all three are None."""

    preload: bool
    keep_alive: KeepAlive | None
    window: Window | None = None
    since: datetime | None = None
    closes: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Opening:
    """The window that is open (None: outside), from when to when, and when that changes."""

    window: Window | None = None
    since: datetime | None = None
    closes: datetime | None = None
    until: datetime | None = None


def policy_at(residency: Residency, zone: tzinfo, at: datetime) -> Policy:
    """The policy of a model at an aware time: of the first window that is open, else its own."""
    if not residency.schedule:
        return Policy(residency.preload, residency.keep_alive)
    now = _opening(residency.schedule, zone, at)
    holds = residency if now.window is None else now.window
    return Policy(holds.preload, holds.keep_alive, now.window, now.since, now.closes, now.until)


def next_change(desired: Desired, at: datetime) -> datetime | None:
    """When the policy of a model changes next; None where none does."""
    schedules = {model.residency for model in desired.models.values() if model.residency.schedule}
    found = (policy_at(residency, desired.timezone, at).until for residency in schedules)
    return min((until for until in found if until is not None), default=None)


def client_wire(
    residency: Residency, keep_alive: KeepAlive | None, asked: KeepAlive | None
) -> int | float | None:
    """The keep_alive of a client's request, as sent on: `asked` is the client's own (None: it gave
    none, or null), `keep_alive` that of the policy which holds. None: the request carries none."""
    rule = residency.clients or ("allow" if keep_alive is None else "deny")
    match rule:
        case "allow":
            given = asked
        case "deny":
            given = None
        case Bounds():
            given = None if asked is None else _within(asked, rule)
        case _:
            assert_never(rule)
    sent = keep_alive if given is None else given
    return None if sent is None else sent.wire


def window_words(window: Window) -> str:
    """A window as people say it: `mon, tue 08:00 to 19:00: preload, keep_alive for ever`."""
    days = (
        "daily" if len(window.days) == 7 else ", ".join(_DAYS[day] for day in sorted(window.days))
    )
    says = ["preload" if window.preload else "no preload"]
    says += [] if window.keep_alive is None else [f"keep_alive {window.keep_alive.display}"]
    end = "24:00" if window.end == time(0) else f"{window.end:%H:%M}"
    return f"{days} {window.start:%H:%M} to {end}: {', '.join(says)}"


def length_s(keep_alive: KeepAlive) -> float:
    """Seconds that can be compared: for ever is infinite."""
    return float("inf") if keep_alive.seconds is None else keep_alive.seconds


def _within(asked: KeepAlive, bounds: Bounds) -> KeepAlive:
    return min(max(asked, bounds.least, key=length_s), bounds.most, key=length_s)


@lru_cache(maxsize=256)
def _opening(schedule: tuple[Window, ...], zone: tzinfo, at: datetime) -> _Opening:
    """Many models share a schedule, and one cycle asks of one time."""
    today = at.astimezone(zone).date()
    days = [today + number * _DAY for number in range(-_BEHIND_DAYS, _AHEAD_DAYS)]
    spans = [(window, _spans(window, zone, days)) for window in schedule]
    edges = {edge for _, found in spans for span in found for edge in span}
    edges = {edge for edge in edges if at < edge < at + _HORIZON}
    window, span = _open_at(spans, at)
    until = next((e for e in sorted(edges) if _open_at(spans, e)[0] is not window), None)
    if span is None:
        return _Opening(until=until)
    is_endless = span[1] - span[0] > (_BEHIND_DAYS + _AHEAD_DAYS - 2) * _DAY
    return _Opening(window, None if is_endless else span[0], None if is_endless else span[1], until)


def _open_at(
    spans: Sequence[tuple[Window, Sequence[_Span]]], at: datetime
) -> tuple[Window | None, _Span | None]:
    for window, found in spans:
        for span in found:
            if span[0] <= at < span[1]:
                return window, span
    return None, None


def _spans(window: Window, zone: tzinfo, days: Sequence[date]) -> list[_Span]:
    """The times that a window is open; where it closes and opens at once, it stays open."""
    found: list[_Span] = []
    for opens, closes in (_span(window, zone, d) for d in days if d.weekday() in window.days):
        if found and opens <= found[-1][1]:
            found[-1] = found[-1][0], max(closes, found[-1][1])
        elif opens < closes:
            found.append((opens, closes))
    return found


@lru_cache(maxsize=4096)
def _span(window: Window, zone: tzinfo, day: date) -> _Span:
    last = day if window.end > window.start else day + _DAY
    return _instant(day, window.start, zone), _instant(last, window.end, zone)


def _instant(day: date, clock: time, zone: tzinfo) -> datetime:
    """The time at which the clocks of a zone first show this, or would have."""
    wall = datetime.combine(day, clock, zone)
    found = wall.astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None) == wall.replace(tzinfo=None):
        return found
    return _end_of_gap(wall.replace(fold=1).astimezone(UTC), found, zone)


def _end_of_gap(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """The second at which the clocks are put forward, which is between these two times."""
    old = before.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = (before + (after - before) / 2).replace(microsecond=0)
        if middle.astimezone(zone).utcoffset() == old:
            before = middle
        else:
            after = middle
    return after


def overlapping(schedule: Sequence[Window]) -> Iterator[tuple[int, int]]:
    """The windows, by number, of which the earlier hides a part of the later."""
    minutes = [_minutes(window) for window in schedule]
    for late, later in enumerate(minutes):
        for early, earlier in enumerate(minutes[:late]):
            if any(_meet(one, other) for one in earlier for other in later):
                yield early, late


def _minutes(window: Window) -> list[_Minutes]:
    """When a window is open, in minutes of the week, cut at the week's end."""
    found = []
    for day in sorted(window.days):
        opens = day * 24 * 60 + window.start.hour * 60 + window.start.minute
        closes = day * 24 * 60 + window.end.hour * 60 + window.end.minute
        closes += 0 if window.end > window.start else 24 * 60
        found.append((opens, min(closes, _WEEK_MINUTES)))
        if closes > _WEEK_MINUTES:
            found.append((0, closes - _WEEK_MINUTES))
    return found


def _meet(one: _Minutes, other: _Minutes) -> bool:
    return one[0] < other[1] and other[0] < one[1]
