"""When the last plan stands: only while all that it was made of is the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

import pytest

from paddock.core.model_status import Cycle
from paddock.core.names import Name
from paddock.core.observed import Known, Observed, Tag, Unknown
from paddock.core.plan import SetKeepAlive
from paddock.core.planner import make_plan, plan_again
from paddock.core.settled import Last, stands
from paddock.core.summarize import retold, summarize
from worlds import World, desire, facts_of, gguf

T = TypeVar("T")

A, B = Name.parse("a"), Name.parse("b")
MODELS = {"a": {"source": {"gguf": "/m/a.gguf"}, "preload": True}}
UNKNOWN = Unknown("StoreUnreadable", "cannot read it")


@pytest.fixture
def world() -> World:
    world = World()
    world.put("/m/a.gguf", "A")
    world.converge(desire(MODELS))
    return world


def _last(world: World) -> Last:
    desired = desire(MODELS)
    observed = world.observe(desired)
    return Last(desired, observed, make_plan(desired, observed))


def test_time_and_memory_leave_it_standing_and_memory_is_planned_anew(world: World) -> None:
    last = _last(world)
    assert last.plan.actions == ()
    world.at += timedelta(hours=1)
    world.load(A, 60.0)
    observed = world.observe(last.desired)
    assert stands(last, last.desired, observed)
    [pin] = plan_again(last.plan, last.desired, observed).actions
    assert isinstance(pin, SetKeepAlive)


CHANGES: dict[str, Callable[[Observed], Observed]] = {
    "tags": lambda seen: replace(seen, tags={**_known(seen.tags), B: Tag(gguf("B"), 1)}),
    "manifests": lambda seen: replace(seen, manifests={}),
    "blobs": lambda seen: replace(seen, blobs={}),
    "ledger": lambda seen: replace(
        seen, ledger=replace(_known(seen.ledger), paused=frozenset({A}))
    ),
    "sources": lambda seen: replace(seen, sources={}),
    "facts": lambda seen: replace(seen, facts={gguf("B"): facts_of("B")}),
    "probes": lambda seen: replace(seen, probes={}),
    "version": lambda seen: replace(seen, version="0.99.0"),
    "unknown": lambda seen: replace(seen, blobs=UNKNOWN),
    "unknown memory": lambda seen: replace(seen, running=UNKNOWN),
}


def _known(part: Known[T]) -> T:
    assert not isinstance(part, Unknown)
    return part


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_any_other_change_ends_it(world: World, change: Callable[[Observed], Observed]) -> None:
    last = _last(world)
    assert stands(last, last.desired, last.observed)
    assert not stands(last, last.desired, change(last.observed))


def test_another_wish_ends_it(world: World) -> None:
    last = _last(world)
    assert not stands(last, desire({}), last.observed)
    assert not stands(last, last.desired.pruning(), last.observed)


def test_a_plan_with_something_to_do_never_stands(world: World) -> None:
    world.put("/m/b.gguf", "B")
    desired = desire({"b": {"source": {"gguf": "/m/b.gguf"}}})
    observed = world.observe(desired)
    last = Last(desired, observed, make_plan(desired, observed))
    assert last.plan.actions
    assert not stands(last, desired, observed)


def test_a_plan_that_is_blocked_or_waits_never_stands(world: World) -> None:
    desired = desire({"b": {"source": {"gguf": "/m/away.gguf"}}})
    observed = world.observe(desired)
    last = Last(desired, observed, make_plan(desired, observed))
    assert last.plan.blocked
    assert not stands(last, desired, observed)


def test_a_status_of_which_only_the_time_differs_is_the_same_object(world: World) -> None:
    last = _last(world)
    before = Cycle(last.desired, world.at, last.observed, last.plan)
    told = summarize(before)
    later = world.at + timedelta(minutes=1)
    seen = replace(last.observed, at=later)
    assert retold(told, before, replace(before, at=later, observed=seen)) is told


def test_a_status_is_told_anew_when_memory_changed_or_the_clock_went_back(world: World) -> None:
    last = _last(world)
    before = Cycle(last.desired, world.at, last.observed, last.plan)
    told = summarize(before)
    assert told.models[0].loaded
    gone = replace(before, observed=replace(last.observed, running=()))
    assert not retold(told, before, gone).models[0].loaded
    earlier = replace(before, at=world.at - timedelta(days=1))
    assert retold(told, before, earlier) is not told
