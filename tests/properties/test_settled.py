"""A plan that stands says what a fresh one would: what is remembered never hides what is to do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from paddock.core.conditions import date_transitions
from paddock.core.desired import Desired
from paddock.core.model_status import Cycle
from paddock.core.observed import Observed
from paddock.core.planner import make_plan, plan_again
from paddock.core.settled import Last, stands
from paddock.core.summarize import retold, summarize
from properties.strategies import Event, Models, events, models, worlds
from properties.test_planner import ANYTHING, usual
from worlds import World, desire


def _looked(world: World, declared: Models) -> tuple[Desired, Observed]:
    desired = world.locate(desire(declared))
    return desired, world.observe(desired)


@usual
@given(worlds(), models(), st.lists(events(ANYTHING), max_size=3))
def test_a_plan_that_stands_is_the_one_that_would_be_made_afresh(
    world: World, declared: Models, happen: list[Event]
) -> None:
    world.converge(desire(declared))
    desired, observed = _looked(world, declared)
    last = Last(desired, observed, make_plan(desired, observed))
    world.look(desired, last.plan)
    for event in happen:
        event(world)
    now, seen = _looked(world, declared)
    if stands(last, now, seen):
        assert plan_again(last.plan, now, seen) == make_plan(now, seen)


@usual
@given(worlds(), models(), st.lists(events(ANYTHING), max_size=3))
def test_a_status_that_is_not_told_anew_would_say_the_same(
    world: World, declared: Models, happen: list[Event]
) -> None:
    world.converge(desire(declared))
    desired, observed = _looked(world, declared)
    before = Cycle(desired, world.at, observed, make_plan(desired, observed))
    told = summarize(before)
    for event in happen:
        event(world)
    desired, observed = _looked(world, declared)
    now = Cycle(desired, world.at, observed, make_plan(desired, observed))
    assert retold(told, before, now) == date_transitions(summarize(now), told)
