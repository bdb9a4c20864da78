"""What a client may ask for is no drift: the rule `client_keep_alive`, against what ps shows."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from paddock.core.desired import Bounds, Clients
from paddock.core.digest import digest_of
from paddock.core.keep_alive import FOREVER, KeepAlive
from paddock.core.names import Name
from paddock.core.observed import Memory, Running
from paddock.core.policy import Policy
from paddock.core.residency import plan_residency
from paddock.core.residency_cases import Moment, Runner, Want
from worlds import NOW

A, X = Name.parse("a"), digest_of(b"x")
POLLED = NOW - timedelta(seconds=10)
HOUR = KeepAlive(3600.0)
SOME = Bounds(KeepAlive(60.0), KeepAlive(7200.0))


def holds(
    clients: Clients, keep: KeepAlive, expires_at: datetime | None, memory: Memory | None = None
) -> bool:
    """Whether nothing is set anew on a runner that shows this expiry."""
    want = Want(A, X, Policy(preload=False, keep_alive=keep), clients=clients)
    running = Running(A, digest_of(b"manifest"), expires_at, 1, 4096)
    memory = memory or Memory(polled_at=POLLED)
    return not plan_residency([want], [Runner(running, X)], memory, Moment(NOW)).actions


def used(ago_s: float, keep_alive_s: float) -> datetime:
    """The expiry after a use that long ago with that keep_alive."""
    return NOW + timedelta(seconds=keep_alive_s - ago_s)


@pytest.mark.parametrize("keep", [HOUR, FOREVER])
@pytest.mark.parametrize("asked_s", [0.5, 300, 90_000])
def test_a_time_that_a_client_gave_stands_only_where_the_file_allows_it(
    keep: KeepAlive, asked_s: float
) -> None:
    assert holds("allow", keep, used(0, asked_s))
    assert not holds("deny", keep, used(0, asked_s))
    assert not holds(None, keep, used(0, asked_s))


@pytest.mark.parametrize("keep", [HOUR, FOREVER])
@pytest.mark.parametrize(
    ("asked_s", "ago_s", "within"),
    [
        (60, 5, True),
        (7200, 5, True),
        (7200, 0, True),
        (30, 5, False),
        (7300, 5, False),
        (90_000, 5, False),
    ],
)
def test_a_time_within_bounds_stands(
    keep: KeepAlive, asked_s: float, ago_s: float, within: bool
) -> None:
    assert holds(SOME, keep, used(ago_s, asked_s)) is within


def test_for_ever_stands_where_the_bounds_have_no_end() -> None:
    assert not holds(SOME, HOUR, None)
    assert holds(Bounds(), HOUR, None)


def test_what_was_judged_stands_until_its_end_though_less_and_less_is_left() -> None:
    expires_at = used(7190, 7200)  # ten seconds are left
    judged = Memory(polled_at=POLLED, expires={X: expires_at})
    assert holds(SOME, FOREVER, expires_at, judged)
    assert not holds(SOME, FOREVER, expires_at)


def test_a_busy_runner_is_let_be() -> None:
    assert holds(SOME, FOREVER, NOW - timedelta(seconds=1))


def test_before_the_first_poll_a_long_use_may_explain_it() -> None:
    assert holds(SOME, FOREVER, used(3600, 3700), Memory())
