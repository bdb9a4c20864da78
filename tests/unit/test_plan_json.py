"""The plan and the status as documents: they fit the schemas, with every kind of thing in them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from paddock.core.documents import plan_from_json
from paddock.core.model_status import Cycle
from paddock.core.names import Name
from paddock.core.plan_json import plan_to_json
from paddock.core.schema import schema_of
from paddock.core.summarize import summarize
from paddock.errors import PaddockError
from worlds import World, desire

MODELS: dict[str, Any] = {
    "a": {"source": {"gguf": "/m/a.gguf"}, "preload": True, "keep_alive": "5m"},
    "b": {"source": {"model": "a"}, "system": "s"},
    "c": {"source": {"registry": "c"}},
    "d": {"source": {"gguf": "/m/missing.gguf"}},
    "e": {"state": "absent"},
}


@pytest.fixture
def world() -> World:
    world = World()
    world.put("/m/a.gguf", "A")
    world.offer(Name.parse("c"), "C")
    return world


def round_trip(document: dict[str, Any]) -> Any:
    return json.loads(json.dumps(document, allow_nan=False))


def test_the_document_of_a_plan_says_all_of_it(world: World) -> None:
    document = round_trip(plan_to_json(world.plan(desire(MODELS))))
    generation = document.pop("generation")
    assert generation == desire(MODELS).generation
    assert document == {
        "format_version": 1,
        "file": "models.yaml",
        "actions": [
            {
                "action": "PullModel",
                "symbol": "+",
                "name": "c",
                "reason": "NotPulled",
                "message": "pull c",
                "linked_bytes": 0,
                "copied_bytes": None,
            },
            {
                "action": "HashSource",
                "symbol": "+",
                "name": "a",
                "reason": "SourceNew",
                "message": "hash and link /m/a.gguf",
                "linked_bytes": 1_000_000_000,
                "copied_bytes": 0,
            },
        ],
        "waiting": [
            {
                "symbol": "+",
                "name": "b",
                "reason": "BaseNotReady",
                "message": "derive from a (known after apply)",
            }
        ],
        "blocked": [
            {
                "name": "d",
                "reason": "SourceMissing",
                "message": 'source "/m/missing.gguf" does not exist; '
                "create it or set state: absent",
            }
        ],
        "suspended": [],
        "notes": [],
        "summary": {"add": 3, "change": 0, "remove": 0, "blocked": 1},
    }


def test_the_documents_fit_their_schemas_from_the_first_round_to_the_last(world: World) -> None:
    schemas = {kind: Draft202012Validator(schema_of(kind)) for kind in ("plan", "status")}
    desired = desire(MODELS)
    kinds = set()
    for _ in range(6):
        plan = world.plan(desired)
        kinds |= {type(action).__name__ for action in plan.actions}
        schemas["plan"].validate(round_trip(plan_to_json(plan)))
        status = summarize(Cycle(desired, world.at, world.observe(desired), plan))
        schemas["status"].validate(round_trip(status.to_json()))
        world.apply(plan)
    assert kinds >= {"PullModel", "HashSource", "ProbeModel", "WriteBlob", "LinkBlob", "LoadModel"}


@pytest.mark.parametrize("kind", ["plan", "status"])
def test_a_document_with_another_key_does_not_fit(world: World, kind: str) -> None:
    desired = desire(MODELS)
    plan = world.plan(desired)
    documents = {
        "plan": plan_to_json(plan),
        "status": summarize(Cycle(desired, world.at, world.observe(desired), plan)).to_json(),
    }
    schema = Draft202012Validator(schema_of(kind))
    assert not list(schema.iter_errors(round_trip(documents[kind])))
    assert list(schema.iter_errors(round_trip(documents[kind] | {"surprise": 1})))
    del documents[kind]["generation"]
    assert list(schema.iter_errors(round_trip(documents[kind])))


def test_what_is_no_plan_is_refused_with_the_first_thing_that_is_wrong(world: World) -> None:
    document = round_trip(plan_to_json(world.plan(desire(MODELS))))
    assert plan_from_json(document).model_dump() == document
    wrong: dict[str, Any] = {
        "actions.0.symbol": {**document, "actions": [{**document["actions"][0], "symbol": "?"}]},
        "format_version": {**document, "format_version": 2},
        "surprise": {**document, "surprise": 1},
        "the document": [],
    }
    for where, value in wrong.items():
        with pytest.raises(PaddockError, match=f"^not a plan of format version 1: {where}: "):
            plan_from_json(value)
