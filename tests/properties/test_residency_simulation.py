"""Residency over whole days of clients, crashes and restarts, and what holds at every look.

The environment is a model of Ollama's scheduler (tests/scheduling.py), in simulated time; the real
one is asked in tests/integration. `tests/bench/bench_residency.py` prints the figures of more days.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddock.core.digest import Digest, digest_of
from paddock.core.keep_alive import FOREVER, UNLOAD, KeepAlive
from paddock.core.names import Name
from paddock.core.observed import Full, Load, Memory, Running, Went
from paddock.core.plan import LoadModel
from paddock.core.policy import Policy
from paddock.core.residency import Residence, plan_residency
from paddock.core.residency_cases import Moment, Runner, Want
from resident_days import Day
from resident_scenes import crowded, limited, quiet, roomy, tight
from resident_tally import Tally
from worlds import NOW

MOST_REQUESTS = 2.0  # for each thing that others do
SEEDS = st.integers(1, 8)  # the days of which docs/performance.md gives the figures


@given(SEEDS)
@settings(max_examples=3, deadline=None)
def test_where_all_fit_a_pin_is_in_memory_for_all_but_a_thousandth_of_a_day(seed: int) -> None:
    """Counted as lost is all but the loads (2 s each) of what others took. With them it depends on
    how often others do so: some fifteen times a day and pin make a load of 0.04 % of it."""
    tally = told(roomy, seed)
    assert set(tally.fits_s) == {"a", "b", "c"}
    assert all(tally.fits_s[name] == pytest.approx(tally.seconds) for name in "abc")
    assert all(tally.held(name) > 0.999 for name in "abc")
    assert all(tally.resident(name) > 0.998 for name in "abc")


@given(SEEDS)
@settings(max_examples=3, deadline=None)
def test_within_a_limit_the_higher_pins_stay_and_the_last_is_not_loaded(seed: int) -> None:
    day = limited(seed)
    tally = told(lambda _: day, seed)
    assert all(tally.held(name) > 0.999 for name in "ab")
    assert all(tally.resident(name) > 0.998 for name in "ab")
    assert not [line for line in day.paddock.log if "LoadModel c" in line]


def test_pins_that_cannot_all_fit_are_settled_and_stay_settled() -> None:
    """One of them is tried again ever more rarely; a try costs three requests."""
    tally = quiet(1).run()
    assert all(tally.resident(name) > 0.999 for name in "ab"), tally.line()
    assert tally.requests <= 6 + 3 * 6, tally.line()


@pytest.mark.timeout(400)
@pytest.mark.parametrize("scene", [tight, crowded])
@given(seed=SEEDS)
@settings(max_examples=2, deadline=None)
def test_where_clients_want_more_than_fits_pins_are_back_soon_and_nobody_fights(
    scene: Callable[[int], Day], seed: int
) -> None:
    """A pin may go for a client's load hundreds of times a day, and a load takes two seconds."""
    tally = told(scene, seed)
    pins = [name for name, fits_s in tally.fits_s.items() if fits_s > tally.seconds / 100]
    assert {"a", "b"} <= set(pins)
    assert tally.disturbances > 500
    assert all(tally.held(name) > 0.99 for name in pins)
    assert all(tally.resident(name) > 0.98 for name in pins)


def told(scene: Callable[[int], Day], seed: int) -> Tally:
    """A day, told with its seed."""
    tally = scene(seed).run()
    print(f"seed {seed}\n{tally.line()}")
    assert tally.each <= MOST_REQUESTS
    return tally


# At every look.

DIGESTS = [digest_of(letter.encode()) for letter in "wxyz"]
NAMES = [Name.parse(letter) for letter in "abcdef"]
GIB = 1 << 30
keep_alives = st.sampled_from([None, UNLOAD, KeepAlive(300.0), FOREVER])
expiries = st.sampled_from([None, *(NOW + timedelta(seconds=s) for s in (-30, 1, 290, 3600))])


@st.composite
def wants(draw: st.DrawFn) -> Want:
    keep_alive = draw(keep_alives)
    preload = draw(st.booleans()) and keep_alive not in (None, UNLOAD)
    return Want(
        draw(st.sampled_from(NAMES)),
        draw(st.sampled_from(DIGESTS)),
        Policy(preload, keep_alive),
        draw(st.integers(-1, 1)),
        draw(st.integers(1, 8)) * GIB,
    )


@st.composite
def runners(draw: st.DrawFn) -> Runner:
    digest = draw(st.sampled_from([*DIGESTS, None]))
    name = draw(st.sampled_from(NAMES))
    size, alive = draw(st.integers(1, 8)) * GIB, draw(st.booleans())
    manifest = digest_of(f"{name}{digest}".encode())
    running = Running(name, manifest, draw(expiries), size, 4096, alive)
    return Runner(running, digest, draw(st.booleans()))


@st.composite
def memories(draw: st.DrawFn) -> Memory:
    some = st.frozensets(st.sampled_from(DIGESTS))
    until = NOW + timedelta(minutes=draw(st.integers(-30, 30)))
    full = Full(draw(st.integers(1, 20)) * GIB, NOW - timedelta(minutes=30), until, "g")
    return Memory(
        polled_at=NOW - timedelta(seconds=10),
        expires={digest: draw(expiries) for digest in draw(some)},
        loaded=frozenset((draw(st.sampled_from(NAMES)), digest) for digest in draw(some)),
        shown={digest: draw(runners()).running for digest in draw(some)},
        loads={digest: Load(draw(st.booleans())) for digest in draw(some)},
        loading=draw(some),
        asserted={digest: draw(expiries) for digest in draw(some)},
        sizes={(digest, None): draw(st.integers(1, 9)) * GIB for digest in draw(some)},
        held=draw(st.frozensets(st.sampled_from(NAMES))),
        busy={digest: draw(expiries) for digest in draw(some)},
        fresh=draw(some),
        released=draw(some),
        went={digest: Went(NOW, draw(runners()).running) for digest in draw(some)},
        came=draw(some),
        most_bytes=draw(st.integers(0, 20)) * GIB,
        full=draw(st.none() | st.just(full)),
    )


limits = st.none() | st.integers(1, 20).map(lambda gib: gib * GIB)
looks = st.tuples(
    st.lists(wants(), max_size=6, unique_by=lambda want: want.name),
    st.lists(runners(), max_size=4, unique_by=lambda runner: runner.digest),
    memories(),
    limits,
)
Look = tuple[list[Want], list[Runner], Memory, int | None]


def look_at(found: Look) -> Residence:
    said, there, memory, limit = found
    return plan_residency(said, there, memory, Moment(NOW, "g", limit))


def digest_of_name(said: Sequence[Want], name: Name) -> Digest:
    return next(want.digest for want in said if want.name == name)


@given(looks)
def test_a_gguf_has_one_action_at_most_and_a_blocked_model_none(found: Look) -> None:
    residence = look_at(found)
    acted = [digest_of_name(found[0], action.name) for action in residence.actions]
    assert len(acted) == len(set(acted))
    held = {told.name for told in residence.blocked} | {told.name for told in residence.waiting}
    assert not held & {action.name for action in residence.actions}
    blocked = {told.name for told in residence.blocked}
    assert not blocked & {told.name for told in residence.waiting}


@given(looks, st.randoms())
def test_the_order_of_what_is_told_does_not_matter(found: Look, random: st.DataObject) -> None:
    said, there, memory, limit = found
    shuffled = list(said), list(there), memory, limit
    random.shuffle(shuffled[0])  # type: ignore[attr-defined]
    random.shuffle(shuffled[1])  # type: ignore[attr-defined]
    assert look_at(shuffled) == look_at(found)


@given(looks)
def test_nobody_is_asked_about_a_model_that_the_file_does_not_name(found: Look) -> None:
    names = {want.name for want in found[0]}
    residence = look_at(found)
    assert {action.name for action in residence.actions} <= names
    assert {told.name for told in residence.blocked} <= names
    assert {told.name for told in residence.waiting} <= names


@given(looks)
def test_nothing_is_loaded_that_is_there_or_that_is_not_wanted(found: Look) -> None:
    alive = {runner.digest for runner in found[1] if runner.running.alive}
    preloads = {want.digest for want in found[0] if want.policy.preload}
    for action in look_at(found).actions:
        if isinstance(action, LoadModel):
            assert digest_of_name(found[0], action.name) in preloads - alive


@given(looks)
@settings(max_examples=200)
def test_what_is_loaded_fits_into_the_limit_beside_all_that_is_there(found: Look) -> None:
    said, there, memory, limit = found
    residence = look_at(found)
    loads = {a.name for a in residence.actions if isinstance(a, LoadModel)}
    fresh = {digest_of_name(said, name) for name in loads} - memory.loading
    if limit is None or not fresh:
        return
    alive = sum(runner.running.size_bytes for runner in there if runner.running.alive)
    sizes = {
        want.digest: min(w.size_bytes for w in said if w.digest == want.digest) for want in said
    }
    known = {digest: memory.sizes.get((digest, None), sizes[digest]) for digest in fresh}
    assert alive + sum(known.values()) <= limit
