"""Explain: what is told of a model, in every state that one can be in."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from paddock.cli.explain import text
from paddock.core.explain import MAX_TOLD, Told, explain, find_name
from paddock.core.failures import learn
from paddock.core.model_status import Cycle
from paddock.core.names import Name
from paddock.core.observed import Unknown
from paddock.core.outcome import Outcome
from paddock.errors import Retry
from worlds import NOW, World, desire, gguf

A = Name.parse("a")
GGUF: dict[str, Any] = {"source": {"gguf": "/m/a.gguf"}}


@pytest.fixture
def world() -> World:
    world = World()
    world.put("/m/a.gguf", "A")
    return world


def cycle(world: World, models: dict[str, Any], **more: Any) -> Cycle:
    desired = desire(models)
    return Cycle(desired, world.at, world.observe(desired), world.plan(desired), **more)


def document(of: Cycle, name: Name = A, **more: Any) -> Any:
    found = explain(name, of, Told(**more))
    assert text(found)
    return json.loads(json.dumps(found))


def test_what_is_wanted_is_told_without_what_was_not_said(world: World) -> None:
    said = {"keep_alive": "5m", "system": "Hi.", "parameters": {"stop": ["x"]}}
    access = {"users": ["alice"]}
    wanted = document(cycle(world, {"a": {**GGUF, **said, "access": access}}))["wanted"]
    assert wanted["source"] == "gguf: /m/a.gguf"
    assert wanted["overrides"] == {"system": "Hi.", "parameters": {"stop": ["x"]}}
    assert wanted["residency"]["keep_alive"] == "5m"
    assert wanted["access"] == {"users": ["alice"]}
    assert wanted["declared_at"] is None


def test_each_blob_is_told_with_what_is_in_its_place(world: World) -> None:
    world.converge(desire({"a": GGUF}))
    blobs = {b["what"]: b for b in document(cycle(world, {"a": GGUF}))["found"]["blobs"]}
    assert set(blobs) == {"model", "template", "config"}
    assert (blobs["model"]["kind"], blobs["model"]["target"]) == ("link", "/m/a.gguf")
    assert (blobs["config"]["kind"], blobs["config"]["target"]) == ("file", None)
    world.blobs[gguf("A")] = "/gone"
    broken = document(cycle(world, {"a": GGUF}))["found"]["blobs"][0]
    assert (broken["kind"], broken["readable"]) == ("link", False)
    assert "a link to /gone (broken)" in text(explain(A, cycle(world, {"a": GGUF}), Told()))
    del world.blobs[gguf("A")]
    assert document(cycle(world, {"a": GGUF}))["found"]["blobs"][0]["kind"] == "missing"


def test_the_runner_is_told_by_whatever_name_it_was_loaded(world: World) -> None:
    models = {"a": GGUF, "b": {"source": {"model": "a"}}}
    world.converge(desire(models))
    assert document(cycle(world, models))["found"]["running"] is None
    world.load(Name.parse("b"), None)
    running = document(cycle(world, models))["found"]["running"]
    assert (running["as"], running["expires_at"]) == ("b", None)


def test_a_failure_is_told_with_its_attempts_and_when_the_next_is(world: World) -> None:
    plan = world.plan(desire({"a": GGUF}))
    failures: Any = {}
    for _ in range(2):
        failed = [Outcome(plan.actions[0], "failed", 0.1, "Odd", "one\ntwo", Retry.BACKOFF)]
        failures = learn(failures, plan, failed, NOW, 1.0)
    found = document(cycle(world, {"a": GGUF}, failures=failures))
    assert found["failure"] == {
        "reason": "Odd",
        "message": "one two",
        "attempts": 2,
        "next_at": "2026-01-02T03:04:07Z",
    }
    for_good = {A: replace(failures[A], next_at=None)}
    found = document(cycle(world, {"a": GGUF}, failures=for_good))
    assert found["failure"]["next_at"] is None
    assert "not before something changes" in text(found)


def test_only_its_own_part_of_the_plan_and_of_the_events_is_told(world: World) -> None:
    world.put("/m/b.gguf", "B")
    models = {"a": GGUF, "b": {"source": {"gguf": "/m/b.gguf"}}, "c": {"source": {"model": "a"}}}
    events = [
        {"id": n, "at": "2026-01-02T03:04:05Z", "model": model, "kind": "Ready", "result": result}
        | {"reason": "Test", "message": f"{n}"}
        for n in range(40)
        for model, result in (("a", "True"), ("b", "True"), ("a", "progress"), (None, "True"))
    ]
    found = document(cycle(world, models), events=events)
    assert [action["name"] for action in found["next"]["actions"]] == ["a"]
    assert [event["id"] for event in found["events"]] == list(range(40 - MAX_TOLD, 40))
    waiting = document(cycle(world, models), Name.parse("c"))["next"]["waiting"]
    assert [told["name"] for told in waiting] == ["c"]


def test_while_ollama_is_away_the_wish_and_the_trouble_are_told() -> None:
    down = Unknown("OllamaUnreachable", "nobody answers")
    found = document(Cycle(desire({"a": GGUF}), NOW, trouble=down))
    assert (found["found"], found["next"], found["events"]) == (None, None, None)
    assert found["conditions"][0]["reason"] == "OllamaUnreachable"


def test_a_model_that_nobody_declared_is_explained_as_far_as_it_is_there(world: World) -> None:
    world.create(Name.parse("Mine"), "X")
    of = cycle(world, {"a": GGUF})
    name = find_name("mine", of)
    assert name == Name.parse("Mine")
    found = document(of, name)
    assert (found["wanted"], found["conditions"]) == (None, [])
    assert found["found"]["owned"] is False
    assert text(found).startswith("Mine: not declared\n")
    assert find_name("nobody", of) is None
    assert find_name("a", Cycle(desire({"a": GGUF}), NOW)) == A


def test_a_paused_and_an_absent_model_say_so(world: World) -> None:
    world.ledger = replace(world.ledger, paused=frozenset({A}))
    found = document(cycle(world, {"a": {"state": "absent"}}))
    assert found["found"]["paused"] is True
    assert found["wanted"]["state"] == "absent"
    assert found["next"]["suspended"][0]["reason"] == "Paused"
    assert "state     absent" in text(found)


def test_a_long_text_is_shown_by_its_beginning(world: World) -> None:
    found = document(cycle(world, {"a": {**GGUF, "system": "word\n" * 100}}))
    (line,) = [row for row in text(found).splitlines() if row.startswith("  system")]
    assert line.endswith("… (500 characters)")
    assert found["wanted"]["overrides"]["system"] == "word\n" * 100
