"""What waits when the wall clock is set goes on to wait, and the windows follow the new time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from paddock.core.digest import digest_of
from paddock.core.failures import postponed
from paddock.core.names import Name
from paddock.core.observed import Full, Memory, Running, Went
from paddock.core.outcome import Failure
from paddock.core.planner import make_plan
from paddock.core.policy import Policy
from paddock.core.remembered import moved
from paddock.core.residency_cases import Want
from paddock.core.residency_memory import opened
from paddock.engine import reconcile
from paddock.engine.clock import Clock
from paddock.engine.observe import Wish
from paddock.engine.planning import Look
from paddock.engine.reconcile import Recall
from worlds import NOW, World, desire

A, X = Name.parse("a"), digest_of(b"x")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Hands:
    """Two clocks, as a test sets them."""

    wall_s = 1e9
    monotonic_s = 50.0

    def clock(self) -> Clock:
        return Clock(lambda: self.wall_s, lambda: self.monotonic_s)


@pytest.mark.parametrize(
    ("wall_s", "monotonic_s", "moved_s"),
    [
        (10, 10, 0),
        (10.5, 10, 0),
        (86_410, 10, 86_400),
        (-86_390, 10, -86_400),
        (8 * 3600, 1, 8 * 3600 - 1),
    ],
    ids=["runs", "is slewed", "is put on", "is put back", "the host slept"],
)
def test_the_clock_tells_by_how_much_it_was_moved_and_tells_it_once(
    wall_s: float, monotonic_s: float, moved_s: float
) -> None:
    hands = Hands()
    clock = hands.clock()
    hands.wall_s += wall_s
    hands.monotonic_s += monotonic_s
    assert clock.moved_by() == timedelta(seconds=moved_s)
    assert clock.moved_by() == timedelta()


@pytest.mark.parametrize("by", [DAY, -DAY])
def test_what_waits_waits_for_as_long_as_before(by: timedelta) -> None:
    full = Full(1, NOW, NOW + HOUR, "g")
    went = Went(NOW, Running(A, X, None, 1))
    memory = Memory(polled_at=NOW, gone={A: NOW}, went={X: went}, coming={X: NOW}, full=full)
    after = moved(memory, by)
    assert after.gone[A] == after.went[X].at == after.coming[X] == NOW + by
    assert after.full == replace(full, since=NOW + by, until=NOW + by + HOUR)
    assert (after.polled_at, after.went[X].shown) == (NOW, went.shown)
    held = Failure(A, "Refused", "no", 3, NOW + HOUR, ())
    stalled = replace(held, next_at=None)
    assert postponed({A: held}, by)[A].next_at == NOW + by + HOUR
    assert postponed({A: stalled}, by)[A] == stalled


async def test_a_clock_that_is_set_during_a_look_withdraws_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, hands, desired = World(), Hands(), desire({"a": {"source": {"gguf": "/m/a.gguf"}}})
    world.put("/m/a.gguf", "A")
    world.converge(desired)
    del world.files["/m/a.gguf"]
    world.memory = Memory(gone={A: world.at})
    recall = Recall(world.memory, clock=hands.clock())

    async def look(_: object, wish: Wish, memory: Memory, _last: object) -> Look:
        hands.wall_s = Hands.wall_s + DAY.total_seconds()
        observed = replace(world.observe(wish()), at=world.at + DAY, memory=memory)
        return Look(wish(), observed, make_plan(wish(), observed))

    assert world.plan(desired).actions == ()
    monkeypatch.setattr(reconcile, "look", look)
    cycle, actions = await reconcile._round(None, desired, recall)  # type: ignore[arg-type]
    assert actions == ()
    assert cycle.plan is not None
    assert [blocked.reason for blocked in cycle.plan.blocked] == ["SourceMissing"]


@pytest.mark.parametrize(
    ("polled_at", "is_new"),
    [(NOW - HOUR, True), (NOW, False), (NOW + HOUR, False), (NOW + DAY, True)],
    ids=["before it opened", "in it", "in it, later", "after it, before the clock was put back"],
)
def test_a_window_that_was_not_open_at_the_last_poll_is_new(
    polled_at: object, is_new: bool
) -> None:
    policy = Policy(True, None, since=NOW - HOUR / 2, closes=NOW + 2 * HOUR)
    memory = Memory(polled_at=polled_at, loaded=frozenset({(A, X)}))  # type: ignore[arg-type]
    assert (not opened([Want(A, X, policy)], memory).loaded) is is_new
