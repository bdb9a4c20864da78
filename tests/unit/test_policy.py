"""Policy: windows by the wall clock, and what of a client's keep_alive goes on."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from paddock.core.desired import Bounds, Desired, DesiredModel, Residency, State, Window
from paddock.core.keep_alive import FOREVER, UNLOAD, KeepAlive
from paddock.core.names import Name
from paddock.core.policy import (
    Policy,
    client_wire,
    next_change,
    overlapping,
    policy_at,
    window_words,
)

PARIS = ZoneInfo("Europe/Paris")
EVERY = frozenset(range(7))
WEEKDAYS = frozenset(range(5))
FIVE, HOUR = KeepAlive(300.0), KeepAlive(3600.0)


def clock(text: str) -> time:
    return time.fromisoformat(text)


def window(start: str, end: str, days: frozenset[int] = EVERY) -> Window:
    return Window(days, clock(start), clock(end), preload=True, keep_alive=FOREVER)


def at(text: str) -> datetime:
    """A local time of Paris."""
    return datetime.fromisoformat(text).replace(tzinfo=PARIS)


def told(schedule: tuple[Window, ...], text: str) -> Policy:
    return policy_at(Residency(schedule=schedule), PARIS, at(text))


def opens(window: Window, start: datetime, hours: int) -> list[tuple[str, str]]:
    """When a window opens and closes in so many hours, in UTC, seen minute by minute."""
    residency = Residency(schedule=(window,))
    minutes = [start + timedelta(minutes=n) for n in range(hours * 60)]
    seen = [(m, policy_at(residency, PARIS, m).preload) for m in minutes]
    edges = [m.astimezone(UTC) for (_, was), (m, now) in pairwise(seen) if was is not now]
    texts = [f"{edge:%H:%M}" for edge in edges]
    return list(zip(texts[::2], texts[1::2], strict=True))


def test_without_a_schedule_the_models_own_policy_holds_for_good() -> None:
    assert policy_at(Residency(True, FIVE), PARIS, at("2026-03-02 12:00")) == Policy(True, FIVE)


def test_a_window_holds_from_its_start_and_not_at_its_end() -> None:
    office = (window("08:00", "19:00", WEEKDAYS),)
    assert not told(office, "2026-03-02 07:59:59").preload
    assert told(office, "2026-03-02 08:00").preload
    assert told(office, "2026-03-02 18:59:59").preload
    assert not told(office, "2026-03-02 19:00").preload
    assert not told(office, "2026-03-01 12:00").preload, "a Sunday"


def test_a_policy_tells_when_it_began_and_when_it_changes() -> None:
    office = window("08:00", "19:00", WEEKDAYS)
    found = told((office,), "2026-03-02 12:00")
    assert (found.window, found.since) == (office, at("2026-03-02 08:00"))
    assert (found.closes, found.until) == (at("2026-03-02 19:00"), at("2026-03-02 19:00"))
    outside = told((office,), "2026-03-06 20:00")
    assert (outside.window, outside.until) == (None, at("2026-03-09 08:00")), "after the weekend"


def test_a_window_goes_on_past_midnight() -> None:
    night = (window("22:00", "06:00", frozenset({4})),)
    assert told(night, "2026-03-06 23:00").preload, "Friday"
    assert told(night, "2026-03-07 05:59").preload, "the night to Saturday"
    assert not told(night, "2026-03-07 06:00").preload
    assert not told(night, "2026-03-06 05:00").preload, "the night to Friday is Thursday's"


def test_of_two_open_windows_the_first_holds_and_the_other_comes_back() -> None:
    lunch = Window(EVERY, clock("12:00"), clock("13:00"), preload=False)
    day = window("08:00", "18:00")
    assert told((lunch, day), "2026-03-02 12:30").window == lunch
    after = told((lunch, day), "2026-03-02 13:00")
    assert (after.window, after.since) == (day, at("2026-03-02 08:00")), "it did not open anew"
    assert told((lunch, day), "2026-03-02 09:00").until == at("2026-03-02 12:00")


def test_a_window_that_touches_itself_stays_open() -> None:
    working = (window("00:00", "00:00", WEEKDAYS),)
    found = told(working, "2026-03-06 12:00")
    assert (found.since, found.until) == (at("2026-03-02 00:00"), at("2026-03-07 00:00"))
    always = told((window("00:00", "00:00"),), "2026-03-06 12:00")
    assert (always.preload, always.since, always.closes, always.until) == (True, None, None, None)


def test_a_skipped_start_is_the_next_valid_minute() -> None:
    spring = at("2026-03-29 00:30")  # 02:00 becomes 03:00, which is 01:00 UTC
    assert opens(window("02:30", "05:00"), spring, 8) == [("01:00", "03:00")]
    assert opens(window("01:00", "02:30"), spring, 8) == [("00:00", "01:00")]
    assert opens(window("02:10", "02:50"), spring, 8) == [], "there is no such time on that day"


def test_a_doubled_time_counts_once() -> None:
    autumn = at("2026-10-24 23:30")  # 03:00 becomes 02:00, at 01:00 UTC
    assert opens(window("02:15", "02:45"), autumn, 9) == [("00:15", "00:45")]
    assert opens(window("02:30", "04:00"), autumn, 9) == [("00:30", "03:00")]
    assert opens(window("01:00", "02:30"), autumn, 9) == [("23:00", "00:30")]


def test_a_zone_that_skips_a_whole_day_opens_on_the_next() -> None:
    apia = ZoneInfo("Pacific/Apia")  # had no 30 December 2011
    friday = Residency(schedule=(window("08:00", "10:00", frozenset({4})),))
    before = datetime(2011, 12, 29, 12, tzinfo=apia)
    assert policy_at(friday, apia, before).until == datetime(2012, 1, 6, 8, tzinfo=apia)


def test_the_next_change_is_that_of_any_model() -> None:
    def model(name: str, *schedule: Window) -> DesiredModel:
        residency = Residency(schedule=schedule)
        return DesiredModel(Name.parse(name), State.PRESENT, None, residency=residency)

    models = [model("a", window("08:00", "09:00")), model("b", window("07:00", "09:00"))]
    desired = Desired({m.name: m for m in models}, "g", "f", timezone=PARIS)
    assert next_change(desired, at("2026-03-02 06:00")) == at("2026-03-02 07:00")
    assert next_change(Desired({}, "g", "f"), at("2026-03-02 06:00")) is None


def test_windows_overlap_by_the_week_not_by_the_day() -> None:
    sunday_night = window("22:00", "06:00", frozenset({6}))
    monday = window("05:00", "08:00", frozenset({0}))
    tuesday = window("05:00", "08:00", frozenset({1}))
    assert list(overlapping([sunday_night, tuesday, monday])) == [(0, 2)]
    assert list(overlapping([window("08:00", "12:00"), window("12:00", "14:00")])) == []


def test_a_window_is_told_as_people_say_it() -> None:
    office = window("08:00", "19:30", frozenset({0, 4}))
    assert window_words(office) == "mon, fri 08:00 to 19:30: preload, keep_alive for ever"
    shut = Window(EVERY, clock("00:00"), clock("00:00"))
    assert window_words(shut) == "daily 00:00 to 24:00: no preload"


BOUNDS = Bounds(FIVE, HOUR)


@pytest.mark.parametrize(
    ("clients", "keep_alive", "asked", "sent"),
    [
        (None, None, None, None),
        (None, None, HOUR, 3600),
        (None, FIVE, HOUR, 300),
        (None, FOREVER, UNLOAD, -1),
        (None, FIVE, None, 300),
        ("deny", None, HOUR, None),
        ("deny", FIVE, HOUR, 300),
        ("allow", FIVE, None, 300),
        ("allow", FIVE, FOREVER, -1),
        ("allow", FIVE, UNLOAD, 0),
        (BOUNDS, None, None, None),
        (BOUNDS, FOREVER, None, -1),
        (BOUNDS, FIVE, UNLOAD, 300),
        (BOUNDS, FIVE, FOREVER, 3600),
        (BOUNDS, None, KeepAlive(600.0), 600),
        (Bounds(), FIVE, FOREVER, -1),
    ],
)
def test_a_clients_keep_alive_counts_as_far_as_the_file_lets_it(
    clients: Bounds | None, keep_alive: KeepAlive | None, asked: KeepAlive | None, sent: int | None
) -> None:
    assert client_wire(Residency(clients=clients), keep_alive, asked) == sent
