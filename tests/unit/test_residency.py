"""Residency: what is loaded, kept and left alone, against what ps shows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from paddock.core.desired import Residency
from paddock.core.digest import Digest, digest_of
from paddock.core.keep_alive import FOREVER, UNLOAD, KeepAlive
from paddock.core.names import Name
from paddock.core.observed import Memory, Running
from paddock.core.plan import LoadModel, SetKeepAlive
from paddock.core.residency import Want, plan_residency, remember
from worlds import NOW

A, B = Name.parse("a"), Name.parse("b")
X, Y = digest_of(b"x"), digest_of(b"y")
FIVE = KeepAlive(300.0)
POLL = timedelta(seconds=10)
Ps = Sequence[tuple[Running, Digest | None]]


def running(name: Name = A, expires_at: datetime | None = None) -> Running:
    return Running(name, digest_of(name.full.encode()), expires_at, 1)


def want(
    name: Name = A, digest: Digest = X, *, preload: bool = False, keep: KeepAlive | None
) -> Want:
    return Want(name, digest, Residency(preload, keep))


def plan(*wants: Want, ps: Ps, memory: Memory | None = None) -> list[LoadModel | SetKeepAlive]:
    return list(plan_residency(wants, ps, memory or Memory(), NOW))


def told(*wants: Want, ps: Ps, memory: Memory | None = None) -> list[str]:
    found = plan(*wants, ps=ps, memory=memory)
    return [f"{type(action).__name__} {action.name} {action.reason}" for action in found]


PIN = want(preload=True, keep=FOREVER)
FINITE = want(preload=True, keep=FIVE)


def test_a_preload_that_is_not_in_memory_is_loaded_with_its_keep_alive() -> None:
    (action,) = plan(PIN, ps=[])
    assert isinstance(action, LoadModel)
    assert (action.keep_alive, action.reason) == (-1, "NotLoaded")
    assert action.message == "load, keep_alive for ever"


def test_a_preload_without_a_keep_alive_leaves_the_time_to_ollama() -> None:
    (action,) = plan(want(preload=True, keep=None), ps=[])
    assert isinstance(action, LoadModel)
    assert (action.keep_alive, action.message) == (None, "load")


def test_nothing_is_loaded_that_is_not_preloaded() -> None:
    assert plan(want(keep=FOREVER), ps=[]) == []


def test_a_model_without_a_keep_alive_is_left_to_its_clients() -> None:
    unpinned = [(running(expires_at=NOW + timedelta(hours=1)), X)]
    assert plan(want(preload=True, keep=None), ps=unpinned) == []


def test_a_pin_that_holds_needs_nothing() -> None:
    assert plan(PIN, ps=[(running(), X)]) == []


def test_a_pin_that_a_client_took_is_asserted_by_the_name_that_the_file_gives() -> None:
    (action,) = plan(PIN, ps=[(running(B, NOW + timedelta(minutes=1)), X)])
    assert isinstance(action, SetKeepAlive)
    assert (action.name, action.running, action.keep_alive) == (A, B, -1)
    assert action.reason == "Unpinned"
    assert action.message == "set keep_alive for ever (it was: until 03:05:05 UTC)"


def test_a_pin_in_the_place_of_a_finite_time_is_drift() -> None:
    assert told(want(keep=FIVE), ps=[(running(), X)]) == ["SetKeepAlive a KeepAliveChanged"]


@pytest.mark.parametrize(
    ("used_ago_s", "polled_ago_s", "in_policy"),
    [
        (5, 10, True),
        (0, 10, True),
        (11, 10, True),
        (13, 10, False),
        (-1, 10, True),
        (-60, 10, False),
    ],
)
def test_a_finite_time_is_in_policy_when_a_use_since_the_last_poll_explains_it(
    used_ago_s: int, polled_ago_s: int, in_policy: bool
) -> None:
    expires = NOW - timedelta(seconds=used_ago_s) + timedelta(seconds=300)
    memory = Memory(polled_at=NOW - timedelta(seconds=polled_ago_s))
    found = plan(want(keep=FIVE), ps=[(running(expires_at=expires), X)], memory=memory)
    assert (found == []) is in_policy


def test_an_expiry_that_was_judged_is_not_judged_again() -> None:
    expires = NOW + timedelta(minutes=2)
    memory = Memory(polled_at=NOW - POLL, expires={X: expires})
    assert plan(want(keep=FIVE), ps=[(running(expires_at=expires), X)], memory=memory) == []


def test_a_busy_model_has_a_stale_expiry_that_says_nothing() -> None:
    late = NOW - timedelta(seconds=1)
    memory = Memory(polled_at=NOW - POLL)
    assert plan(want(keep=FIVE), ps=[(running(expires_at=late), X)], memory=memory) == []


def test_a_keep_alive_of_nothing_unloads_what_a_client_keeps() -> None:
    (action,) = plan(
        want(keep=UNLOAD),
        ps=[(running(expires_at=NOW + timedelta(minutes=5)), X)],
        memory=Memory(polled_at=NOW - POLL),
    )
    assert isinstance(action, SetKeepAlive)
    assert action.keep_alive == 0


def test_a_finite_preload_that_ran_out_stays_out() -> None:
    memory = Memory(NOW - POLL, {X: NOW - timedelta(seconds=3)}, frozenset({(A, X)}))
    assert plan(FINITE, ps=[], memory=memory) == []


@pytest.mark.parametrize("expires_at", [None, NOW + timedelta(minutes=3)])
def test_a_finite_preload_that_left_before_its_time_is_loaded_again(
    expires_at: datetime | None,
) -> None:
    memory = Memory(NOW - POLL, {X: expires_at}, frozenset({(A, X)}))
    assert told(FINITE, ps=[], memory=memory) == ["LoadModel a Evicted"]


def test_a_finite_preload_of_a_new_digest_is_loaded() -> None:
    memory = Memory(NOW - POLL, {Y: NOW - timedelta(minutes=1)}, frozenset({(A, Y)}))
    assert told(FINITE, ps=[], memory=memory) == ["LoadModel a NotLoaded"]


def test_a_pin_is_loaded_again_whatever_expired() -> None:
    memory = Memory(NOW - POLL, {X: NOW - timedelta(minutes=1)}, frozenset({(A, X)}))
    assert told(PIN, ps=[], memory=memory) == ["LoadModel a Evicted"]


def test_one_name_speaks_for_a_gguf_and_a_preload_before_the_others() -> None:
    wants = want(A, X, keep=FIVE), want(B, X, preload=True, keep=FOREVER)
    assert told(*wants, ps=[]) == ["LoadModel b NotLoaded"]
    unpinned = [(running(A, NOW + timedelta(minutes=5)), X)]
    assert told(*wants, ps=unpinned) == ["SetKeepAlive b Unpinned"]


def test_a_name_that_asks_for_nothing_does_not_speak() -> None:
    wants = want(A, X, keep=None), want(B, X, keep=FOREVER)
    assert told(*wants, ps=[(running(A, NOW), X)]) == ["SetKeepAlive b Unpinned"]


def test_two_ggufs_are_two_matters() -> None:
    wants = PIN, want(B, Y, preload=True, keep=FOREVER)
    assert told(*wants, ps=[(running(), X)]) == ["LoadModel b NotLoaded"]


def test_a_runner_of_an_unknown_gguf_is_nobodys() -> None:
    assert told(PIN, ps=[(running(), None)]) == ["LoadModel a NotLoaded"]


def test_a_poll_remembers_what_ran_and_what_ran_before() -> None:
    before = Memory(NOW - POLL, {Y: NOW}, frozenset({(B, Y)}), {Y: Y})
    runner = running(expires_at=NOW + timedelta(minutes=1))
    after = remember(before, [(A, X), (B, Y)], [(runner, X), (running(B), None)], NOW)
    assert after == Memory(
        NOW,
        {X: runner.expires_at, Y: NOW},
        frozenset({(A, X), (B, Y)}),
        {runner.manifest_digest: X},
    )


def test_an_expiry_that_is_being_asserted_is_judged_again_if_that_fails() -> None:
    long = running(expires_at=NOW + timedelta(hours=2))
    memory = Memory(NOW - POLL)
    assert told(FINITE, ps=[(long, X)], memory=memory) == ["SetKeepAlive a KeepAliveChanged"]
    after = remember(memory, [(A, X)], [(long, X)], NOW, {X})
    assert told(FINITE, ps=[(long, X)], memory=after) == ["SetKeepAlive a KeepAliveChanged"]
    assert (A, X) in after.loaded
