"""The planner: what a plan says of itself. Cases of what it decides are in tests/cases."""

from __future__ import annotations

from typing import Any

import pytest

from paddock.core.names import Name
from paddock.core.observed import Unknown
from paddock.core.plan import HashSource, Plan, PullModel, UnloadModel
from worlds import World, desire, gguf

GGUF = {"source": {"gguf": "/m/a.gguf"}}
MODELS: dict[str, Any] = {
    "a": GGUF,
    "child": {"source": {"model": "a"}, "system": "s"},
    "pulled": {"source": {"registry": "pulled"}},
    "missing": {"source": {"gguf": "/m/missing.gguf"}},
    "old": {"state": "absent"},
}


@pytest.fixture
def world() -> World:
    world = World()
    world.put("/m/a.gguf", "A")
    world.put("/m/old.gguf", "O")
    world.offer(Name.parse("pulled"), "P")
    world.converge(desire({"old": {"source": {"gguf": "/m/old.gguf"}}}))
    return world


def symbols(plan: Plan) -> dict[str, str]:
    return {str(name): symbol for name, symbol in plan.symbols.items()}


def test_a_plan_counts_each_model_once(world: World) -> None:
    plan = world.plan(desire(MODELS))
    assert symbols(plan) == {"a": "+", "child": "+", "pulled": "+", "missing": "!", "old": "-"}
    assert plan.summary == {"add": 3, "change": 0, "remove": 1, "blocked": 1}
    assert plan.models == 5


def test_a_new_file_counts_as_linked_before_it_is_hashed(world: World) -> None:
    found = {type(action): action for action in world.plan(desire(MODELS)).actions}
    assert (found[HashSource].linked_bytes, found[HashSource].copied_bytes) == (10**9, 0)
    assert (found[PullModel].linked_bytes, found[PullModel].copied_bytes) == (0, None)


def test_a_file_that_was_linked_before_counts_no_bytes(world: World) -> None:
    world.converge(desire({"a": GGUF}))
    world.hashed.clear()
    (action,) = world.plan(desire({"a": GGUF})).actions
    assert (action.symbol, action.linked_bytes) == ("~", 0)
    assert action.message == "hash /m/a.gguf"


def test_a_plan_knows_what_its_models_are_made_of(world: World) -> None:
    desired = desire(MODELS)
    world.converge(desired)
    made_of = {str(name): digest for name, digest in world.plan(desired).made_of.items()}
    assert made_of == {"a": gguf("A"), "child": gguf("A"), "pulled": gguf("P")}


def test_bases_come_before_what_is_derived_from_them() -> None:
    world = World()
    world.put("/m/a.gguf", "A")
    models = {"z": GGUF, "y": {"source": {"model": "z"}}, "x": {"source": {"model": "y"}}}
    for _ in range(2):
        world.apply(world.plan(desire(models)))
    written = [str(a.name) for a in world.plan(desire(models)).actions if a.rank == 6]
    assert written == ["z", "y", "x"]


def test_a_loaded_model_of_another_manifest_is_known_by_the_ledger(world: World) -> None:
    """ps tells the manifest of the load; an edit of the system replaces it, and not the GGUF."""
    pinned = {"a": GGUF | {"preload": True}}
    world.converge(desire(pinned))
    edited = {"a": GGUF | {"preload": True, "system": "s"}}
    world.converge(desire(edited))
    assert world.running[0].manifest_digest != world.digest(Name.parse("a"))
    assert world.plan(desire(edited)).actions == ()


def test_one_unload_for_each_name_of_a_runner_that_goes() -> None:
    world = World()
    world.put("/m/a.gguf", "A")
    names = ["a", "b", "c"]
    world.converge(desire({name: GGUF | {"preload": True} for name in names}))
    plan = world.plan(desire({name: {"state": "absent"} for name in names}))
    unloads = [action for action in plan.actions if isinstance(action, UnloadModel)]
    assert [(str(a.name), str(a.running)) for a in unloads] == [(n, n) for n in names]
    assert {a.manifest_digest for a in unloads} == {world.running[0].manifest_digest}


def test_an_unknown_store_blocks_every_model_and_says_why(world: World) -> None:
    world.unknown["ledger"] = Unknown("LedgerCorrupt", "the ledger is damaged")
    plan = world.plan(desire(MODELS))
    assert plan.actions == ()
    assert [(str(b.name), b.reason) for b in plan.blocked] == [
        (name, "LedgerCorrupt") for name in sorted(MODELS)
    ]


def test_an_empty_file_plans_nothing_and_removes_nothing(world: World) -> None:
    plan = world.plan(desire({}))
    assert (plan.actions, plan.blocked, plan.models) == ((), (), 0)
