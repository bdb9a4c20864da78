"""Suspended models: what their status says, and what no plan may do to them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from condition_lint import lint
from paddock.cli.views import applied_text, plan_text, status_text
from paddock.core.check_plan import check_plan
from paddock.core.conditions import Status, condition
from paddock.core.model_status import Cycle
from paddock.core.names import Name
from paddock.core.observed import Ledger, Owned, Unknown
from paddock.core.plan import LoadModel, Plan, PullModel, UnlinkBlob
from paddock.core.plan_json import plan_to_json
from paddock.core.planner import make_plan
from paddock.core.questions import unverified
from paddock.core.spec_check import read_spec
from paddock.core.spec_merge import with_defaults
from paddock.core.summarize import summarize
from paddock.core.suspend import find, left_alone, report, suspended
from paddock.endpoint.hidden import only_seen
from paddock.errors import InvalidName, PaddockError
from worlds import World, desire, gguf

A, B = Name.parse("a"), Name.parse("b")
GGUF: dict[str, Any] = {"source": {"gguf": "/m/a.gguf"}}
ALONE: dict[str, Any] = {"a": GGUF | {"suspend": True}}
WORDS: dict[str, Any] = {"reason": "Test", "message": "test", "symbol": "~"}


@pytest.fixture
def world() -> World:
    world = World()
    world.put("/m/a.gguf", "A")
    return world


def pause(world: World, *names: str) -> None:
    world.ledger = replace(world.ledger, paused=frozenset(map(Name.parse, names)))


def status(world: World, models: dict[str, Any]) -> Status:
    desired = desire(models)
    found = summarize(Cycle(desired, world.at, world.observe(desired), world.plan(desired)))
    assert lint(found, world.at) == []
    return found


def told(found: Status, name: str = "a") -> dict[str, tuple[str, str]]:
    model = found.model(name)
    assert model is not None
    return {c.type: (c.status, c.reason) for c in model.conditions}


def test_of_a_model_that_is_there_nobody_says_whether_it_is_as_declared(world: World) -> None:
    world.converge(desire({"a": GGUF}))
    found = status(world, ALONE)
    assert told(found) == {
        "Ready": ("Unknown", "Suspended"),
        "Reconciling": ("False", "Suspended"),
        "Stalled": ("False", "Suspended"),
        "Suspended": ("True", "SuspendedInFile"),
        "SourceAvailable": ("True", "FileFound"),
        "BlobsPresent": ("True", "AllPresent"),
        "ManifestCurrent": ("Unknown", "Suspended"),
        "Loaded": ("False", "NotWanted"),
    }
    message = condition(found.models[0].conditions, "Suspended").message
    assert message == "left alone, as models.yaml says suspend: true"


def test_what_a_look_tells_is_told(world: World) -> None:
    assert told(status(world, ALONE))["Ready"] == ("False", "ManifestMissing")
    world.converge(desire({"a": GGUF}))
    del world.blobs[gguf("A")]
    assert told(status(world, ALONE))["Ready"] == ("False", "BlobsMissing")
    del world.files["/m/a.gguf"]
    assert told(status(world, ALONE))["Ready"] == ("False", "SourceMissing")


def test_an_absent_model_that_is_left_alone_is_as_declared_where_it_is_not_there(
    world: World,
) -> None:
    absent = {"a": {"state": "absent", "suspend": True}}
    assert told(status(world, absent))["Ready"] == ("True", "AsDeclared")
    world.converge(desire({"a": GGUF}))
    assert told(status(world, absent))["Ready"] == ("False", "Present")


def test_the_host_is_ready_whatever_is_left_alone(world: World) -> None:
    found = status(world, ALONE)
    assert found.ready
    ready = condition(found.conditions, "Ready")
    assert ready.message == "0 models are as the file says, 1 left alone"
    both = status(world, ALONE | {"b": GGUF})
    assert not both.ready
    message = condition(both.conditions, "Ready").message
    assert message == "1 of 1 models not ready: b, 1 left alone"


def test_a_pause_holds_for_any_spelling_of_the_name(world: World) -> None:
    world.converge(desire({"a": GGUF}))
    pause(world, "A")
    found = status(world, {"a": GGUF | {"preload": True}})
    assert told(found)["Suspended"] == ("True", "Paused")
    assert world.plan(desire({"a": {"state": "absent"}})).actions == ()


def test_what_the_file_suspends_is_known_before_the_first_look() -> None:
    desired = desire(ALONE)
    down = Unknown("OllamaUnreachable", "nobody answers")
    for cycle in (Cycle(desired, World().at), Cycle(desired, World().at, trouble=down)):
        found = summarize(cycle)
        assert lint(found, World().at) == []
        assert told(found)["Suspended"] == ("True", "SuspendedInFile")
        assert told(found)["Ready"] == ("Unknown", "Suspended")


def test_a_model_that_the_file_suspends_is_not_blocked_by_a_store_that_cannot_be_read(
    world: World,
) -> None:
    world.unknown["ledger"] = Unknown("LedgerUnreadable", "cannot read it")
    desired = desire(ALONE | {"b": GGUF})
    plan = make_plan(desired, world.observe(desired))
    assert [blocked.name for blocked in plan.blocked] == [B]


def test_every_way_to_touch_what_is_left_alone_breaks_a_rule(world: World) -> None:
    world.converge(desire({"a": GGUF}))
    pause(world, "paused")
    desired = desire(ALONE | {"b": {"source": {"registry": "paused"}}})
    load = LoadModel(name=A, **WORDS, keep_alive=None)
    pull = PullModel(name=B, **WORDS, reference=Name.parse("Paused"))
    plan = Plan("g", "models.yaml", 1, (pull, load))
    broken = check_plan(plan, desired, world.observe(desired))
    assert "LoadModel a: a is suspended" in broken
    assert "PullModel b: Paused is suspended" in broken
    unlink = UnlinkBlob(name=A, **WORDS, digest=gguf("A"))
    plan = Plan("g", "models.yaml", 1, (unlink,))
    broken = check_plan(plan, desired, world.observe(desired))
    assert not [line for line in broken if "suspended" in line]


def test_nothing_of_it_is_hashed_in_the_background(world: World) -> None:
    digest = gguf("A").removeprefix("sha256:")
    source = {"gguf": {"path": "/m/a.gguf", "sha256": digest, "trust": "name"}}
    for suspend, count in ((False, 1), (True, 0)):
        desired = desire({"a": {"source": source, "suspend": suspend}})
        assert len(unverified(desired, world.observe(desired))) == count


def test_the_defaults_suspend_every_model_and_a_model_may_say_otherwise(world: World) -> None:
    defaults = {"suspend": True}
    models: dict[str, Any] = {
        "a": GGUF,
        "b": GGUF | {"suspend": False},
        "c": GGUF | {"suspend": None},
        "gone": {"state": "absent"},
        "r": {"source": {"registry": "r"}},
    }
    found = suspended(desire(models, defaults=defaults), world.ledger)
    assert sorted(map(str, found)) == ["a", "gone", "r"]
    spec = read_spec({"version": 1, "models": models, "defaults": defaults}).spec
    assert with_defaults(spec)["gone"].spec.suspend is True


def test_the_generation_tells_a_suspended_model_from_another() -> None:
    assert desire(ALONE).generation != desire({"a": GGUF}).generation


def test_names_are_found_in_any_case_and_what_nobody_knows_is_told() -> None:
    ours, paused = Name.parse("Ours"), Name.parse("PAUSED")
    ledger = Ledger(owned={ours: Owned()}, paused=frozenset({paused}))
    desired = desire(ALONE)
    assert find(["A", "ours", "paused:latest", "a"], desired, ledger) == (A, ours, paused)
    with pytest.raises(PaddockError) as caught:
        find(["a", "x", "y"], desired, ledger)
    assert caught.value.message.startswith("x, y: not declared in models.yaml, and not made by ")
    with pytest.raises(InvalidName):
        find(["a b"], desired, ledger)


def test_the_report_says_what_changed() -> None:
    before, after = Ledger(), Ledger(paused=frozenset({Name.parse("A")}))
    assert report([A, B], desire(ALONE), before, after)["models"] == [
        {"name": "a", "paused": True, "changed": True, "suspended_in_file": True},
        {"name": "b", "paused": False, "changed": False, "suspended_in_file": False},
    ]
    assert left_alone(desire(ALONE), after) == {A, Name.parse("A")}


def test_people_are_told_in_the_plan_after_an_apply_and_in_the_status(world: World) -> None:
    world.converge(desire({"a": GGUF}))
    document = plan_to_json(world.plan(desire(ALONE)))
    note = "note: a is left alone, as models.yaml says suspend: true"
    assert plan_text(document, 0, verbose=False).splitlines() == [
        note,
        "No changes. 0 models match models.yaml.",
    ]
    found = status(world, ALONE).to_json()
    assert applied_text([], found).splitlines()[0] == note
    line = "SuspendedInFile: left alone, as models.yaml says suspend: true"
    assert status_text(found).splitlines()[1].endswith(line)
    del world.blobs[gguf("A")]
    shown = status_text(status(world, ALONE).to_json()).splitlines()[1]
    assert f"{line} (BlobsMissing: 1 missing or broken: sha256:" in shown


def test_who_has_no_access_does_not_see_what_is_left_alone(world: World) -> None:
    document = plan_to_json(world.plan(desire(ALONE)))
    assert [told["name"] for told in document["suspended"]] == ["a"]
    assert only_seen(document, lambda _: False)["suspended"] == []
