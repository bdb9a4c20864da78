"""What is told of memory: the condition `Loaded`, windows in the status, and in `explain`."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from condition_lint import lint
from paddock.core.conditions import ModelStatus, condition
from paddock.core.explain import Told, explain
from paddock.core.model_status import Cycle
from paddock.core.names import Name
from paddock.core.settled import Last, stands
from paddock.core.summarize import retold, summarize
from worlds import World, desire

A, B = Name.parse("a"), Name.parse("b")
GGUF = {"source": {"gguf": "/m/a.gguf"}}
OTHER = {"source": {"gguf": "/m/b.gguf"}}
PIN = {"a": GGUF | {"preload": True}}
# It is a Friday, 03:04:05.
NIGHT = {"days": "fri", "from": "03:00", "to": "04:00", "preload": True}
SCHEDULED = {"a": GGUF | {"schedule": [NIGHT]}}


@pytest.fixture
def world() -> World:
    world = World()
    world.put("/m/a.gguf", "A")
    world.put("/m/b.gguf", "B")
    return world


def cycle(world: World, models: dict[str, Any], **top: Any) -> Cycle:
    desired = desire(models, **top)
    return Cycle(desired, world.at, world.observe(desired), world.plan(desired))


def model(world: World, models: dict[str, Any], name: str = "a", **top: Any) -> ModelStatus:
    status = summarize(cycle(world, models, **top))
    assert lint(status, world.at) == []
    found = status.model(name)
    assert found is not None
    return found


def told(found: ModelStatus, kind: str = "Loaded") -> tuple[str, str, str]:
    it = condition(found.conditions, kind)
    return it.status, it.reason, it.message


def test_in_a_window_its_end_is_told(world: World) -> None:
    world.converge(desire(SCHEDULED))
    found = model(world, SCHEDULED)
    expected = "for ever, in a window that closes on Fri 04:00 UTC"
    assert told(found) == ("True", "Running", expected)
    assert (found.keep_alive, found.to_json()["window_until"]) == (
        "for ever",
        "2026-01-02T04:00:00Z",
    )


def test_outside_of_its_windows_a_model_may_be_away(world: World) -> None:
    world.converge(desire(SCHEDULED))
    world.at += timedelta(hours=1)
    world.evict()
    found = model(world, SCHEDULED)
    expected = "not in memory: the schedule changes on Fri 03:00 UTC"
    assert told(found) == ("False", "OutsideSchedule", expected)
    assert told(found, "Ready")[0] == "True"
    assert (found.keep_alive, found.window_until) == (None, None)


def test_a_window_that_opens_or_closes_is_told_although_nothing_else_changed(
    world: World,
) -> None:
    models = {"a": GGUF | {"preload": True, "schedule": [NIGHT]}}
    world.converge(desire(models))
    before = cycle(world, models)
    status = summarize(before)
    later = replace(before, at=before.at + timedelta(minutes=10))
    assert retold(status, before, later) is status
    closed = replace(before, at=before.at + timedelta(hours=1))
    assert retold(status, before, closed).models[0].window_until is None


def test_a_pin_that_lost_its_keep_alive_says_so(world: World) -> None:
    world.converge(desire(PIN))
    world.load(A, 300.0)
    status, reason, message = told(model(world, PIN))
    assert (status, reason) == ("True", "Unpinned")
    assert message.endswith("set keep_alive for ever (it was: until 03:09:05 UTC)")


def test_a_pin_without_a_place_needs_a_person(world: World) -> None:
    models = PIN | {"b": OTHER | {"preload": True, "priority": 1}}
    limit: dict[str, Any] = {"residency": {"memory_limit": "1500MB"}}
    world.converge(desire(models, **limit))
    found = model(world, models, **limit)
    assert told(found)[1] == "DoesNotFit"
    assert told(found, "Stalled")[:2] == ("True", "DoesNotFit")
    assert told(found, "Ready")[:2] == ("False", "DoesNotFit")
    assert told(model(world, models, "b", **limit), "Ready")[0] == "True"


def test_a_plan_with_pins_that_have_no_place_stands(world: World) -> None:
    """It is the store's part that stands; memory is planned anew in each cycle."""
    models = PIN | {"b": OTHER | {"preload": True, "priority": 1}}
    desired = desire(models, residency={"memory_limit": "1500MB"})
    world.converge(desired)
    observed, plan = world.observe(desired), world.plan(desired)
    assert plan.blocked
    assert stands(Last(desired, observed, plan), desired, observed)


def test_explain_tells_windows_and_bounds_in_words(world: World) -> None:
    models = {"a": GGUF | {"schedule": [NIGHT], "client_keep_alive": {"max": "1h"}}}
    wanted = explain(A, cycle(world, models), Told())["wanted"]
    assert wanted["residency"]["schedule"] == ["fri 03:00 to 04:00: preload, keep_alive for ever"]
    assert wanted["residency"]["clients"] == "0 (unload after use) to 1h"
