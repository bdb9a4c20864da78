"""Residency: what is loaded, kept and left alone, against what ps shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, time, timedelta

import pytest

from paddock.core.desired import Window
from paddock.core.digest import Digest, digest_of
from paddock.core.keep_alive import FOREVER, UNLOAD, KeepAlive
from paddock.core.names import Name
from paddock.core.observed import Full, Load, Memory, Running, Went
from paddock.core.outcome import Outcome
from paddock.core.plan import LoadModel, SetKeepAlive
from paddock.core.policy import Policy
from paddock.core.residency import Act, Residence, plan_residency
from paddock.core.residency_cases import Moment, Runner, Want
from paddock.core.residency_memory import learned, restarted, under_way
from worlds import NOW

A, B, C = Name.parse("a"), Name.parse("b"), Name.parse("c")
X, Y, Z = digest_of(b"x"), digest_of(b"y"), digest_of(b"z")
FIVE = KeepAlive(300.0)
POLL = timedelta(seconds=10)
GIB = 1 << 30
Ps = Sequence[tuple[Running, Digest | None]]


def running(name: Name = A, expires_at: datetime | None = None, size: int = 1) -> Running:
    return Running(name, digest_of(name.full.encode()), expires_at, size, 4096)


def want(
    name: Name = A, digest: Digest = X, *, preload: bool = False, keep: KeepAlive | None
) -> Want:
    return Want(name, digest, Policy(preload, keep))


def residence(
    *wants: Want, ps: Ps, memory: Memory | None = None, limit: int | None = None
) -> Residence:
    runners = [Runner(runner, digest) for runner, digest in ps]
    return plan_residency(wants, runners, memory or Memory(), Moment(NOW, "g", limit))


def plan(*wants: Want, ps: Ps, memory: Memory | None = None) -> tuple[Act, ...]:
    return residence(*wants, ps=ps, memory=memory).actions


def told(*wants: Want, ps: Ps, memory: Memory | None = None, limit: int | None = None) -> list[str]:
    found = residence(*wants, ps=ps, memory=memory, limit=limit)
    acts = [f"{type(action).__name__} {action.name} {action.reason}" for action in found.actions]
    blocked = [f"{blocked.name} {blocked.reason}" for blocked in found.blocked]
    waiting = [f"{waiting.name} {waiting.reason}" for waiting in found.waiting]
    return [*acts, *blocked, *waiting]


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
    assert plan(want(keep=FOREVER), ps=[]) == ()


def test_a_model_without_a_keep_alive_is_left_to_its_clients() -> None:
    unpinned = [(running(expires_at=NOW + timedelta(hours=1)), X)]
    assert plan(want(preload=True, keep=None), ps=unpinned) == ()


def test_a_pin_that_holds_needs_nothing() -> None:
    assert plan(PIN, ps=[(running(), X)]) == ()


def test_a_pin_that_a_client_took_is_asserted_by_the_name_that_the_file_gives() -> None:
    (action,) = plan(PIN, ps=[(running(B, NOW + timedelta(minutes=1)), X)])
    assert isinstance(action, SetKeepAlive)
    assert (action.name, action.running, action.keep_alive) == (A, B, -1)
    assert action.num_ctx == 4096, "another one would reload it"
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
    assert (found == ()) is in_policy


def test_an_expiry_that_was_judged_is_not_judged_again() -> None:
    expires = NOW + timedelta(minutes=2)
    memory = Memory(polled_at=NOW - POLL, expires={X: expires})
    assert plan(want(keep=FIVE), ps=[(running(expires_at=expires), X)], memory=memory) == ()


def test_a_busy_model_has_a_stale_expiry_that_says_nothing() -> None:
    late = NOW - timedelta(seconds=1)
    memory = Memory(polled_at=NOW - POLL)
    assert plan(want(keep=FIVE), ps=[(running(expires_at=late), X)], memory=memory) == ()


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
    assert plan(FINITE, ps=[], memory=memory) == ()


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
    ps = [(running(A, NOW + timedelta(minutes=1)), X)]
    assert told(*wants, ps=ps) == ["SetKeepAlive b Unpinned"]


def test_two_ggufs_are_two_matters() -> None:
    wants = PIN, want(B, Y, preload=True, keep=FOREVER)
    assert told(*wants, ps=[(running(), X)]) == ["LoadModel b NotLoaded"]


def test_a_runner_of_an_unknown_gguf_is_nobodys() -> None:
    assert told(PIN, ps=[(running(), None)]) == ["LoadModel a NotLoaded"]


def test_a_poll_remembers_what_ran_and_what_ran_before() -> None:
    before = Memory(NOW - POLL, {Y: NOW}, frozenset({(B, Y)}), {Y: Y})
    runner = running(expires_at=NOW + timedelta(minutes=1))
    ps = [(runner, X), (running(B), None)]
    used = want(keep=KeepAlive(60.0))
    after = residence(used, want(B, Y, keep=None), ps=ps, memory=before).memory
    assert after == Memory(
        NOW,
        {X: runner.expires_at, Y: NOW},
        frozenset({(A, X), (B, Y)}),
        {runner.manifest_digest: X},
        shown={X: runner},
        sizes={(X, 4096): 1},
        fresh=frozenset({X}),
        most_bytes=1,
    )


def test_an_expiry_that_is_being_asserted_is_judged_again_if_that_fails() -> None:
    long = running(expires_at=NOW + timedelta(hours=2))
    memory = Memory(NOW - POLL)
    found = residence(FINITE, ps=[(long, X)], memory=memory)
    assert [action.reason for action in found.actions] == ["KeepAliveChanged"]
    assert told(FINITE, ps=[(long, X)], memory=found.memory) == ["SetKeepAlive a KeepAliveChanged"]
    assert (A, X) in found.memory.loaded


def test_a_busy_runner_that_was_asked_is_not_asked_again_until_it_shows_another_expiry() -> None:
    ps = [(running(expires_at=NOW + timedelta(minutes=4)), X)]
    found = residence(PIN, ps=ps, memory=Memory(NOW - POLL))
    done = [Outcome(action, "done", 0.0) for action in found.actions]
    memory = learned(found.memory, done, {A: X})
    after = residence(PIN, ps=ps, memory=memory)
    assert after.actions == ()
    used = [(running(expires_at=NOW + timedelta(minutes=5)), X)]
    assert told(PIN, ps=used, memory=after.memory) == ["SetKeepAlive a Unpinned"]


def test_a_name_that_does_not_reach_the_runner_any_more_is_not_asked() -> None:
    runner = Runner(running(B, NOW + timedelta(minutes=1)), X, reached=False)
    (action,) = plan_residency([PIN], [runner], Memory(), Moment(NOW)).actions
    assert isinstance(action, SetKeepAlive)
    assert action.running == A


def test_a_dead_runner_of_a_pin_is_loaded_again() -> None:
    dead = replace(running(), alive=False)
    assert told(PIN, ps=[(dead, X)]) == ["LoadModel a RunnerDied"]


def test_a_dead_runner_that_nobody_wants_is_let_be() -> None:
    dead = replace(running(), alive=False)
    assert told(want(keep=FIVE), ps=[(dead, X)]) == []


# Windows.


def office(*, preload: bool = True, keep: KeepAlive | None = FOREVER, ago_s: float = 5) -> Want:
    window = Window(frozenset(range(7)), time(8), time(19), preload, keep)
    since = NOW - timedelta(seconds=ago_s)
    closes = NOW + timedelta(hours=1)
    return Want(A, X, Policy(preload, keep, window, since, closes, closes))


def outside(keep: KeepAlive | None = None) -> Want:
    return Want(A, X, Policy(False, keep, until=NOW + timedelta(hours=13)))


def test_a_window_that_opens_loads() -> None:
    assert told(office(), ps=[], memory=Memory(NOW - POLL)) == ["LoadModel a WindowOpened"]


def test_a_finite_preload_is_loaded_once_at_each_opening_of_its_window() -> None:
    expired = Memory(NOW - POLL, {X: NOW - timedelta(hours=9)}, frozenset({(A, X)}))
    assert told(office(keep=FIVE), ps=[], memory=expired) == ["LoadModel a WindowOpened"]
    assert told(office(keep=FIVE, ago_s=60), ps=[], memory=expired) == []
    again = residence(office(keep=FIVE), ps=[], memory=expired).memory
    assert told(office(keep=FIVE), ps=[], memory=again) == ["LoadModel a WindowOpened"], "it failed"


def test_a_window_that_closes_lets_its_model_go_once() -> None:
    held = residence(office(), ps=[(running(), X)], memory=Memory(NOW - POLL)).memory
    assert held.held == {A}
    found = residence(outside(), ps=[(running(), X)], memory=held)
    (action,) = found.actions
    assert (action.reason, action.keep_alive) == ("WindowClosed", 0)
    asked = [(running(expires_at=NOW - timedelta(seconds=1)), X)]
    after = residence(outside(), ps=asked, memory=found.memory)
    assert (after.actions, after.memory.held) == ((), frozenset()), "it goes after its requests"


def test_a_window_that_closes_over_a_preload_changes_nothing() -> None:
    held = residence(office(), ps=[(running(), X)], memory=Memory(NOW - POLL)).memory
    assert told(PIN, ps=[(running(), X)], memory=held) == []


def test_a_window_that_closes_leaves_the_model_to_another_name_that_keeps_it() -> None:
    held = Memory(NOW - POLL, held=frozenset({A}))
    other = want(B, X, preload=True, keep=FOREVER)
    assert told(outside(), other, ps=[(running(), X)], memory=held) == []


def test_a_model_that_is_kept_no_more_is_let_go() -> None:
    held = Memory(NOW - POLL, held=frozenset({A}))
    assert told(want(keep=None), ps=[(running(), X)], memory=held) == [
        "SetKeepAlive a NotPreloaded"
    ]
    assert told(want(keep=None), ps=[(running(), X)], memory=Memory(NOW - POLL)) == []


# Room.


def pins(**priorities: int) -> list[Want]:
    digests = {"a": X, "b": Y, "c": Z}
    return [
        Want(Name.parse(n), digests[n], Policy(True, FOREVER), p, 4 * GIB)
        for n, p in priorities.items()
    ]


def sized(name: Name, digest: Digest | None, gib: float) -> tuple[Running, Digest | None]:
    return running(name, size=int(gib * GIB)), digest


def test_within_the_limit_the_higher_priorities_are_loaded_and_the_others_say_why() -> None:
    found = residence(*pins(a=0, b=1, c=2), ps=[], limit=10 * GIB)
    assert [str(action.name) for action in found.actions] == ["c", "b"]
    (blocked,) = found.blocked
    assert (blocked.name, blocked.reason) == (A, "DoesNotFit")
    assert blocked.message == (
        "needs 4.8 GiB (estimated), and 409.6 MiB of the memory_limit of 10.0 GiB are left "
        "beside c, b; raise one of memory_limit and its priority"
    )


def test_among_equal_priorities_the_first_by_name_stays() -> None:
    found = residence(*pins(c=0, b=0, a=0), ps=[], limit=5 * GIB)
    assert [str(action.name) for action in found.actions] == ["a"]


def test_what_nobody_declared_counts_and_is_let_be() -> None:
    ps = [sized(C, None, 6)]
    assert told(*pins(a=0, b=0), ps=ps, limit=11 * GIB) == ["LoadModel a NotLoaded", "b DoesNotFit"]
    assert told(*pins(a=0), ps=ps, limit=5 * GIB) == ["a DoesNotFit"]


def test_a_size_that_was_seen_counts_more_than_the_file() -> None:
    memory = Memory(NOW - POLL, sizes={(X, 8192): 9 * GIB, (X, None): 2 * GIB})
    assert told(*pins(a=0), ps=[], memory=memory, limit=3 * GIB) == ["LoadModel a NotLoaded"]
    large = Memory(NOW - POLL, sizes={(X, 8192): 9 * GIB})
    assert told(*pins(a=0), ps=[], memory=large, limit=8 * GIB) == ["a DoesNotFit"]


def test_a_load_teaches_the_size_at_the_num_ctx_of_the_file() -> None:
    memory = Memory(NOW - POLL, loads={X: Load(True, None)})
    found = residence(*pins(a=0), ps=[sized(A, X, 3)], memory=memory)
    assert found.memory.sizes == {(X, 4096): 3 * GIB, (X, None): 3 * GIB}


def test_the_lower_priority_leaves_first_and_the_higher_waits_for_its_place() -> None:
    ps = [sized(B, Y, 4)]
    wants = pins(a=1, b=0)
    assert told(*wants, ps=ps, limit=6 * GIB) == [
        "SetKeepAlive b DoesNotFit",
        "a MemoryInUse",
    ]
    asked = [(running(B, NOW - timedelta(seconds=1), 4 * GIB), Y)]
    assert told(*wants, ps=asked, limit=6 * GIB) == ["b DoesNotFit", "a MemoryInUse"]
    assert told(*wants, ps=[], limit=6 * GIB) == ["LoadModel a NotLoaded", "b DoesNotFit"]


def test_a_model_in_use_that_is_declared_yields_to_a_pin_within_the_limit() -> None:
    used = Want(B, Y, Policy(False, None))
    ps = [(running(B, NOW + timedelta(minutes=5), 4 * GIB), Y)]
    assert told(used, *pins(a=0), ps=ps, limit=6 * GIB) == [
        "SetKeepAlive b DoesNotFit",
        "a MemoryInUse",
    ]
    assert told(used, *pins(a=0), ps=ps) == ["LoadModel a NotLoaded"], "there is no limit"


def test_a_pin_larger_than_the_limit_is_never_loaded() -> None:
    (blocked,) = residence(*pins(a=0), ps=[], limit=GIB).blocked
    assert "and the memory_limit is 1.0 GiB;" in blocked.message


# What loads teach, where there is no limit.


def after_loading(*digests: Digest, gone: Mapping[Digest, Name]) -> Memory:
    """These were loaded by us, and those were there before, for ever, and are gone."""
    loads = {digest: Load(True) for digest in digests}
    went = {d: Went(NOW - POLL, running(name, size=4 * GIB)) for d, name in gone.items()}
    return Memory(NOW - POLL, loads=loads, went=went, loaded=frozenset({(A, X)}))


def test_the_lower_of_two_that_evict_each_other_gives_up_its_place() -> None:
    memory = after_loading(Y, gone={X: A})
    assert told(*pins(a=0, b=1), ps=[sized(B, Y, 4)], memory=memory) == ["a DoesNotFit"]
    assert told(*pins(a=1, b=0), ps=[sized(B, Y, 4)], memory=memory) == [
        "SetKeepAlive b DoesNotFit",
        "a MemoryInUse",
    ]


def test_of_equal_priorities_the_later_name_gives_up() -> None:
    memory = after_loading(X, gone={Y: B})
    assert told(*pins(a=0, b=0), ps=[sized(A, X, 4)], memory=memory) == ["b DoesNotFit"]


def test_a_runner_that_died_while_another_was_loaded_did_not_yield() -> None:
    memory = replace(after_loading(Y, gone={}), shown={X: running()})
    dead = replace(running(), alive=False)
    assert told(*pins(a=0, b=0), ps=[sized(B, Y, 4), (dead, X)], memory=memory) == [
        "LoadModel a RunnerDied"
    ]


def test_what_was_told_to_go_did_not_yield_to_what_came() -> None:
    memory = replace(after_loading(Y, gone={}), shown={X: running(size=4 * GIB)})
    asked = SetKeepAlive(
        name=A, reason="x", message="", symbol="~", keep_alive=0, running=A, num_ctx=None
    )
    memory = learned(memory, [Outcome(asked, "done", 0.1)], {A: X})
    ps = [sized(B, Y, 4)]
    found = residence(*pins(a=0, b=0), ps=ps, memory=memory)
    assert ([a.reason for a in found.actions], found.memory.full) == (["Evicted"], None)


def test_what_went_once_although_it_had_room_before_may_be_chance() -> None:
    memory = replace(after_loading(Y, gone={X: A}), most_bytes=8 * GIB)
    found = residence(*pins(a=0, b=0), ps=[sized(B, Y, 4)], memory=memory)
    assert [str(action.name) for action in found.actions] == ["a"]
    assert (found.memory.full, found.memory.most_bytes) == (None, 4 * GIB)
    twice = replace(memory, most_bytes=found.memory.most_bytes)
    assert told(*pins(a=0, b=1), ps=[sized(B, Y, 4)], memory=twice) == ["a DoesNotFit"]


FULL = Full(8 * GIB, NOW - timedelta(minutes=5), NOW + timedelta(minutes=25), "g")


def full(**changes: object) -> Memory:
    """Two of the pins do not fit; it is known how large they are."""
    known = replace(FULL, **changes)  # type: ignore[arg-type]
    names = {X: A, Y: B, Z: C}
    return Memory(
        NOW - POLL,
        shown={digest: running(name) for digest, name in names.items()},
        released=frozenset(names),
        sizes={(digest, None): 4 * GIB for digest in names},
        full=known,
    )


def test_what_gave_up_its_place_stays_out_and_what_holds_it_is_loaded_again() -> None:
    assert told(*pins(a=0, b=0), ps=[sized(A, X, 4)], memory=full()) == ["b DoesNotFit"]
    assert told(*pins(a=0, b=0), ps=[], memory=full()) == ["LoadModel a NotLoaded", "b DoesNotFit"]


@pytest.mark.parametrize(
    "changes",
    [
        {"since": NOW - timedelta(minutes=30), "until": NOW},
        {"generation": "an older file"},
        {"size_bytes": 8 * GIB + 1},
    ],
)
def test_what_gave_up_its_place_is_tried_again_once_something_has_changed(
    changes: Mapping[str, object],
) -> None:
    memory = full(**changes)
    assert told(*pins(a=0, b=0), ps=[sized(A, X, 4)], memory=memory) == ["LoadModel b NotLoaded"]


def test_what_runs_beside_all_others_after_all_has_a_place() -> None:
    ps = [sized(A, X, 4), sized(B, Y, 4)]
    found = residence(*pins(a=0, b=0), ps=ps, memory=full())
    assert (found.actions, found.blocked, found.memory.full) == ((), (), None)


def test_a_client_that_loads_what_gave_up_its_place_does_not_keep_it_there() -> None:
    ps = [(running(B, NOW + timedelta(minutes=5), 4 * GIB), Y)]
    assert told(*pins(a=0, b=0), ps=ps, memory=full()) == [
        "SetKeepAlive b DoesNotFit",
        "a MemoryInUse",
    ]


def test_what_a_client_keeps_for_ever_takes_the_place_of_the_last() -> None:
    ps = [sized(A, X, 4), sized(Name.parse("stranger"), Z, 4)]
    assert told(*pins(a=0, b=0), ps=ps, memory=full(size_bytes=12 * GIB)) == ["b DoesNotFit"]


def test_each_try_that_fails_doubles_the_time_to_the_next() -> None:
    since, until = NOW - timedelta(minutes=31), NOW - timedelta(minutes=1)
    memory = replace(after_loading(Y, gone={X: A}), full=replace(FULL, since=since, until=until))
    found = residence(*pins(a=1, b=0), ps=[sized(B, Y, 4)], memory=memory)
    assert found.memory.full == Full(8 * GIB, NOW, NOW + timedelta(hours=1), "g")


def test_what_a_client_found_out_again_does_not() -> None:
    since, until = NOW - timedelta(minutes=31), NOW - timedelta(minutes=1)
    memory = replace(
        after_loading(gone={X: A}),
        full=replace(FULL, since=since, until=until),
        shown={},
    )
    found = residence(*pins(a=1, b=0), ps=[sized(C, Z, 4)], memory=memory)
    assert found.memory.full == Full(8 * GIB, NOW, NOW + timedelta(minutes=30), "g")


def test_of_three_the_one_that_comes_last_gives_up_whatever_ollama_put_out() -> None:
    memory = replace(after_loading(Y, gone={X: A}), shown={Z: running(C, size=4 * GIB)})
    ps = [sized(B, Y, 4), sized(C, Z, 4)]
    assert told(*pins(a=3, b=2, c=1), ps=ps, memory=memory) == [
        "LoadModel a Evicted",
        "SetKeepAlive c DoesNotFit",
    ]


# Others in use.

SOON = NOW + timedelta(minutes=5)


def stranger(expires_at: datetime | None, gib: int = 4) -> tuple[Running, Digest | None]:
    return running(Name.parse("stranger"), expires_at, gib * GIB), Z


def test_a_pin_that_went_for_a_model_in_use_waits_for_the_end_of_that() -> None:
    seen = {X: running(size=4 * GIB), Y: running(B, size=4 * GIB)}
    memory = Memory(NOW - POLL, shown=seen, loaded=frozenset({(A, X), (B, Y)}))
    wants, there = pins(a=1, b=0), sized(A, X, 4)
    came = residence(*wants, ps=[there, stranger(SOON)], memory=memory)
    assert [f"{w.name} {w.reason}" for w in came.waiting] == ["b MemoryInUse"]
    assert came.memory.full is not None
    assert came.memory.full.size_bytes == 12 * GIB

    def later(seconds: float, expires_at: datetime, before: Residence) -> Residence:
        runners = [Runner(*there), Runner(*stranger(expires_at))]
        at = NOW + timedelta(seconds=seconds)
        return plan_residency(wants, runners, before.memory, Moment(at, "g"))

    used = later(2, SOON + timedelta(seconds=2), came)
    assert [f"{w.name} {w.reason}" for w in used.waiting] == ["b MemoryInUse"]
    assert used.waiting[0].message == "load, once another model has left memory"
    idle = later(12, SOON + timedelta(seconds=7), used)
    assert [f"{action.name} {action.reason}" for action in idle.actions] == ["b Evicted"]


def test_what_ollama_would_have_put_out_first_was_in_use_and_is_until_it_shows_another_expiry() -> (
    None
):
    """The stranger was used before; a newcomer took the place of b, and so the other was busy."""
    newcomer = digest_of(b"newcomer")
    seen = {X: running(size=4 * GIB), Z: stranger(SOON)[0]}
    went = {Y: Went(NOW - POLL, running(B, size=4 * GIB), {Z: SOON})}
    memory = Memory(NOW - POLL, shown=seen, went=went, loaded=frozenset({(A, X), (B, Y)}))
    other = (running(C, None, 4 * GIB), newcomer)
    found = residence(*pins(a=1, b=0), ps=[sized(A, X, 4), stranger(SOON), other], memory=memory)
    assert found.memory.busy == {Z: SOON}
    assert found.memory.fresh == {newcomer}
    idle = replace(found.memory, fresh=frozenset())
    ps = [sized(A, X, 4), stranger(SOON), other]
    assert told(*pins(a=1, b=0), ps=ps, memory=idle) == ["b MemoryInUse"]
    ps = [sized(A, X, 4), stranger(SOON + POLL), other]
    assert told(*pins(a=1, b=0), ps=ps, memory=idle) == ["LoadModel b Evicted"]


def test_a_higher_pin_takes_the_place_of_a_lower_one_at_once_where_a_third_is_in_use() -> None:
    memory = replace(full(size_bytes=12 * GIB), busy={Z: SOON})
    ps = [sized(B, Y, 4), stranger(SOON)]
    assert told(*pins(a=1, b=0), ps=ps, memory=memory) == ["LoadModel a NotLoaded"]
    assert told(*pins(a=0, b=1), ps=ps, memory=memory) == ["a MemoryInUse"]


def test_within_the_limit_a_lower_pin_at_rest_goes_for_a_higher_one_while_a_third_is_in_use() -> (
    None
):
    used = (running(C, NOW - timedelta(seconds=1), 4 * GIB), Z)
    wants = pins(a=2, b=1, c=0)
    assert told(*wants, ps=[sized(B, Y, 4), used], limit=10 * GIB) == [
        "SetKeepAlive b DoesNotFit",
        "c DoesNotFit",
        "a MemoryInUse",
    ]
    assert told(*wants, ps=[sized(A, X, 4), used], limit=10 * GIB) == [
        "c DoesNotFit",
        "b MemoryInUse",
    ]


def test_what_went_waits_while_somebody_elses_load_is_under_way() -> None:
    memory = Memory(NOW - POLL, went={X: Went(NOW - POLL, running())})
    moment = Moment(NOW, "g", coming=frozenset({Y}))
    found = plan_residency([PIN], [], memory, moment)
    assert [w.reason for w in found.waiting] == ["MemoryInUse"]
    long_ago = replace(memory, coming={Y: NOW - timedelta(minutes=5)})
    assert plan_residency([PIN], [], long_ago, moment).actions, "it may be another Ollama's"


# Turns.


def lasting(years: float) -> tuple[Running, Digest | None]:
    at = NOW + timedelta(days=365 * years)
    return replace(running(), lasts_to=at), X


def test_pins_of_a_lower_priority_go_first_and_are_put_right_where_memory_is_short() -> None:
    lower = replace(PIN, policy=Policy(True, FOREVER.below(2)))
    (load,) = plan(lower, ps=[])
    assert isinstance(load, LoadModel)
    assert load.keep_alive == 9_223_372_036 - 2 * 365 * 86_400
    assert plan(lower, ps=[lasting(292.4)]) == (), "there is room"
    memory = Memory(NOW - POLL, full=replace(FULL, size_bytes=9 * GIB))
    assert plan(lower, ps=[lasting(290.3)], memory=memory) == ()
    (action,) = plan(lower, ps=[lasting(292.4)], memory=memory)
    assert (action.reason, action.keep_alive) == ("KeepAliveChanged", load.keep_alive)
    assert action.message == "set keep_alive for ever (it was out of its turn)"


def test_what_has_just_left_is_loaded_a_second_later_unless_a_client_does_so() -> None:
    seen = residence(PIN, ps=[(running(), X)], memory=Memory(NOW - POLL)).memory
    found = residence(PIN, ps=[], memory=seen)
    assert (found.actions, [w.reason for w in found.waiting]) == ((), ["JustLeft"])
    later = Moment(NOW + timedelta(seconds=1), "g")
    (action,) = plan_residency([PIN], [], found.memory, later).actions
    assert action.reason == "Evicted"


def test_a_load_that_failed_for_want_of_memory_is_not_tried_again_at_once() -> None:
    action = LoadModel(name=A, reason="NotLoaded", message="", symbol="~", keep_alive=-1)
    what = "Ollama did not load a: 500 model requires more system memory (9 GiB) than is available"
    memory = learned(Memory(NOW - POLL), [Outcome(action, "failed", 1.0, "x", what)], {A: X})
    assert told(*pins(a=0), ps=[], memory=memory) == ["a DoesNotFit"]
    other = Outcome(action, "failed", 1.0, "x", "Ollama did not load a: 500 no such file")
    assert learned(Memory(), [other], {A: X}).loads == {}


def test_while_one_is_being_loaded_what_goes_waits_and_is_judged_at_its_end() -> None:
    wants = pins(a=0, b=1)
    first = residence(*wants, ps=[sized(A, X, 4)], memory=Memory(NOW - POLL)).memory
    busy = under_way(first, [B], {A: X, B: Y})
    meanwhile = residence(*wants, ps=[], memory=busy)
    assert [str(action.name) for action in meanwhile.actions] == ["b"], "it goes on"
    assert [str(waiting.name) for waiting in meanwhile.waiting] == ["a"]
    load = LoadModel(name=B, reason="NotLoaded", message="", symbol="~", keep_alive=-1)
    done = learned(meanwhile.memory, [Outcome(load, "done", 1.0)], {A: X, B: Y})
    ended = under_way(done, [], {A: X, B: Y})
    assert told(*wants, ps=[sized(B, Y, 4)], memory=ended) == ["a DoesNotFit"]


def test_nothing_that_was_learnt_of_room_outlives_ollama() -> None:
    memory = replace(full(), loads={X: Load(True)}, busy={Y: None}, held=frozenset({A}))
    after = restarted(memory)
    assert (after.full, after.loads, after.busy) == (None, {}, {})
    assert after.held == {A}
