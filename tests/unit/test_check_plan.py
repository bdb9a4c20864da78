"""The rules of a plan: each one is told when a plan breaks it, and by its action."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from paddock.core.check_plan import check_plan
from paddock.core.digest import digest_of
from paddock.core.names import Name
from paddock.core.observed import RegularBlob, Unknown
from paddock.core.plan import (
    Action,
    LinkBlob,
    LoadModel,
    Plan,
    PullModel,
    RemoveManifest,
    RemoveScratch,
    UnlinkBlob,
    UnloadModel,
    WriteBlob,
    WriteManifest,
)
from worlds import World, desire, gguf

MODELS: dict[str, Any] = {"a": {"source": {"gguf": "/m/a.gguf"}, "preload": True}}
A, MINE = Name.parse("a"), Name.parse("mine")
WORDS: dict[str, Any] = {"reason": "Test", "message": "test", "symbol": "~"}


@pytest.fixture
def world() -> World:
    """`a` is new, hashed and probed; `mine` is somebody's, and loaded."""
    world = World()
    world.put("/m/a.gguf", "A")
    world.create(MINE, "X")
    world.load(MINE, None)
    for _ in range(2):
        world.apply(world.plan(desire(MODELS)))
    return world


def check(world: World, *actions: Action, models: dict[str, Any] | None = None) -> list[str]:
    desired = desire(MODELS if models is None else models)
    plan = Plan(desired.generation, desired.file, 1, actions)
    return check_plan(plan, desired, world.observe(desired))


def made(world: World) -> tuple[Action, ...]:
    return world.plan(desire(MODELS)).actions


def remove(world: World, name: Name) -> RemoveManifest:
    return RemoveManifest(name=name, **WORDS, digest=world.digest(name))


def test_a_plan_of_the_planner_breaks_no_rule(world: World) -> None:
    actions = made(world)
    assert len(actions) == 5
    assert check(world, *actions) == []


def test_every_order_but_one_is_wrong(world: World) -> None:
    actions = made(world)
    assert "WriteManifest a: comes after LoadModel a" in check(world, *reversed(actions))


def test_a_manifest_without_its_blobs_is_told(world: World) -> None:
    only = [action for action in made(world) if isinstance(action, WriteManifest)]
    told = check(world, *only)
    assert len(told) == 3
    assert all("is not in the store yet" in line for line in told)


def test_a_manifest_that_is_not_what_its_action_says_is_told(world: World) -> None:
    actions = [
        replace(a, needs=frozenset(), digest=digest_of(b"")) if isinstance(a, WriteManifest) else a
        for a in made(world)
    ]
    assert check(world, *actions) == [
        "WriteManifest a: its content has another digest",
        "WriteManifest a: needs other blobs than its content names",
    ]


def test_a_stranger_is_not_changed(world: World) -> None:
    write = next(action for action in made(world) if isinstance(action, WriteBlob))
    unload = UnloadModel(
        name=MINE, **WORDS, running=MINE, manifest_digest=world.running[0].manifest_digest
    )
    told = check(world, replace(write, name=MINE), unload, remove(world, MINE))
    for kind in ("WriteBlob", "UnloadModel", "RemoveManifest"):
        assert f"{kind} mine: is neither declared nor ours" in told
        assert f"{kind} mine: mine is there and not ours" in told
    assert "RemoveManifest mine: is not declared absent, and its source not gone" in told


def test_a_declared_model_that_is_not_ours_is_not_removed(world: World) -> None:
    told = check(world, remove(world, MINE), models={"mine": {"state": "absent"}})
    assert told == [
        "RemoveManifest mine: mine is there and not ours",
        "mine: stays in memory, and no name will reach it",
    ]


def test_a_pull_does_not_overwrite_a_stranger_nor_fetch_what_nobody_declared(world: World) -> None:
    told = check(world, PullModel(name=A, **WORDS, reference=MINE))
    assert told == [
        "PullModel a: no model has the source mine",
        "PullModel a: mine is there and not ours",
    ]


def test_a_model_that_is_not_declared_is_not_loaded(world: World) -> None:
    world.converge(desire(MODELS))
    told = check(world, LoadModel(name=A, **WORDS, keep_alive=None), models={})
    assert told == ["LoadModel a: nobody wants it"]


def test_a_real_file_is_not_linked_over(world: World) -> None:
    link = next(action for action in made(world) if isinstance(action, LinkBlob))
    world.blobs[gguf("A")] = RegularBlob(1)
    assert check(world, link) == [f"LinkBlob a: {gguf('A')[:19]}… is a real file"]


def test_a_link_that_a_stranger_needs_stays(world: World) -> None:
    link = next(action for action in made(world) if isinstance(action, LinkBlob))
    world.put("/m/other.gguf", "A")
    world.create(MINE, "A")
    world.blobs[gguf("A")] = "/m/other.gguf"
    assert check(world, link) == ["LinkBlob a: a model that is not ours needs the link as it is"]
    world.blobs[gguf("A")] = "/gone"
    assert check(world, link) == []


def test_a_blob_that_is_named_or_not_ours_is_not_removed(world: World) -> None:
    world.converge(desire(MODELS))
    named = UnlinkBlob(name=A, **WORDS, digest=gguf("A"))
    theirs = UnlinkBlob(name=A, **WORDS, digest=gguf("X"))
    short = {digest: f"{digest[:19]}…" for digest in (gguf("A"), gguf("X"))}
    assert check(world, named, theirs) == [
        f"UnlinkBlob a: {short[gguf('X')]} is not ours",
        f"UnlinkBlob a: {short[gguf('A')]} is named by a manifest",
        f"UnlinkBlob a: {short[gguf('X')]} is named by a manifest",
    ]


def test_a_runner_that_no_name_will_reach_is_told(world: World) -> None:
    world.converge(desire(MODELS))
    absent = {"a": {"state": "absent"}}
    assert check(world, remove(world, A), models=absent) == [
        "a: stays in memory, and no name will reach it"
    ]
    assert check(world, *world.plan(desire(absent)).actions, models=absent) == []


def test_a_scratch_model_must_be_one_of_ours(world: World) -> None:
    told = check(world, RemoveScratch(name=MINE, **WORDS))
    assert told == ["RemoveScratch mine: is no scratch model of ours"]


def test_a_blocked_model_is_left_alone(world: World) -> None:
    desired = desire(MODELS)
    plan = world.plan(desired)
    from paddock.core.plan import Blocked

    plan = replace(plan, blocked=(Blocked(A, "Test", "test"),))
    told = check_plan(plan, desired, world.observe(desired))
    assert told[0] == "WriteBlob a: is blocked or waits"
    assert len(told) == len(plan.actions)


@pytest.mark.parametrize("part", ["tags", "running"])
def test_nothing_is_destroyed_on_half_a_look(world: World, part: str) -> None:
    world.converge(desire(MODELS))
    absent = {"a": {"state": "absent"}}
    actions = world.plan(desire(absent)).actions
    world.unknown[part] = Unknown("Test", "test")
    told = check(world, *actions, models=absent)
    assert "RemoveManifest a: destroys, and not every part was observed" in told
    assert "UnloadModel a: destroys, and not every part was observed" in told


def test_nothing_moves_to_another_gguf_on_half_a_look(world: World) -> None:
    world.converge(desire(MODELS))
    world.put("/m/a.gguf", "B")
    for _ in range(2):
        world.apply(world.plan(desire(MODELS)))
    actions = made(world)
    world.unknown["tags"] = Unknown("Test", "test")
    told = check(world, *actions)
    assert "WriteManifest a: destroys, and not every part was observed" in told


@pytest.mark.parametrize("part", ["manifests", "blobs", "ledger"])
def test_nothing_is_planned_without_a_look_at_the_store(world: World, part: str) -> None:
    actions = made(world)
    world.unknown[part] = Unknown("Test", "test")
    assert len(check(world, *actions)) == len(actions)
    assert check(world) == []
