"""Resolve: names and sources become nouns, and the same meaning the same generation."""

from __future__ import annotations

from typing import Any

import pytest

from paddock.core.desired import (
    DesiredModel,
    File,
    FromFile,
    FromModel,
    FromRegistry,
    Message,
    Overrides,
    Residency,
    State,
)
from paddock.core.keep_alive import FOREVER, KeepAlive
from paddock.core.names import Name
from worlds import desire

GGUF = {"source": {"gguf": "/m/a.gguf"}}


def one(model: dict[str, Any], **top: Any) -> DesiredModel:
    (found,) = desire({"a": model}, **top).models.values()
    return found


def test_a_name_is_completed() -> None:
    assert list(desire({"a": GGUF}).models) == [
        Name("registry.ollama.ai", "library", "a", "latest")
    ]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ({"gguf": "/m/a.gguf"}, FromFile(File("/m/a.gguf"))),
        ({"model": "b"}, FromModel(Name.parse("b"))),
        ({"registry": "b:8b"}, FromRegistry(Name.parse("b:8b"))),
        (
            {"registry": "b", "digest": "sha256-" + "A" * 64, "insecure": True},
            FromRegistry(Name.parse("b"), "sha256:" + "a" * 64, insecure=True),  # type: ignore[arg-type]
        ),
    ],
)
def test_a_source_becomes_a_noun(source: dict[str, Any], found: object) -> None:
    assert one({"source": source}).source == found


def test_what_the_file_says_over_a_source_is_kept_whole() -> None:
    model = one(
        GGUF
        | {
            "template": "t",
            "system": "s",
            "parameters": {"num_ctx": 8, "stop": ["x", "y"]},
            "messages": [{"role": "user", "content": "hi"}],
            "license": ["l"],
        }
    )
    assert model.overrides == Overrides(
        template="t",
        system="s",
        parameters={"num_ctx": 8, "stop": ("x", "y")},
        messages=(Message("user", "hi"),),
        license=("l",),
    )


@pytest.mark.parametrize("said", [{}, {"parameters": {}}, {"license": []}, {"messages": []}])
def test_a_model_that_says_nothing_has_no_overrides(said: dict[str, Any]) -> None:
    assert not one(GGUF | said).overrides


@pytest.mark.parametrize("said", [{"template": ""}, {"system": ""}])
def test_an_empty_text_is_an_override(said: dict[str, Any]) -> None:
    assert one(GGUF | said).overrides


def test_residency_is_the_models_and_then_the_defaults() -> None:
    assert one(GGUF, defaults={"keep_alive": "5m"}).residency == Residency(
        preload=False, keep_alive=KeepAlive(300.0)
    )
    assert one(GGUF | {"preload": True}).residency == Residency(preload=True, keep_alive=FOREVER)


def test_an_absent_model_has_no_source() -> None:
    model = one({"state": "absent"})
    assert (model.state, model.source) == (State.ABSENT, None)


def test_the_same_meaning_has_the_same_generation() -> None:
    one = desire({"a": GGUF | {"parameters": {"seed": 1, "top_k": 2}}, "b": GGUF})
    two = desire(
        {"b:latest": GGUF, "library/a": GGUF | {"parameters": {"top_k": 2}}},
        defaults={"parameters": {"seed": 1}, "labels": {"team": "x"}},
    )
    three = desire({"b": GGUF, "a": GGUF | {"parameters": {"top_k": 2, "seed": 1}}})
    assert one.generation == three.generation
    assert one.generation != two.generation  # b has a seed, too
    assert len(one.generation) == 12


@pytest.mark.parametrize(
    "other",
    [
        {"a": {"source": {"gguf": "/m/b.gguf"}}},
        {"a": {"source": {"registry": "b"}}},
        {"a": {"source": {"model": "b"}}},
        {"a": GGUF | {"system": ""}},
        {"a": GGUF | {"preload": True}},
        {"a": GGUF | {"keep_alive": 0}},
        {"a": {"state": "absent"}},
        {"b": GGUF},
        {},
    ],
)
def test_another_meaning_has_another_generation(other: dict[str, Any]) -> None:
    assert desire(other).generation != desire({"a": GGUF}).generation


def test_a_registry_and_a_base_of_one_name_are_two_meanings() -> None:
    registry = desire({"a": {"source": {"registry": "b"}}})
    assert registry.generation != desire({"a": {"source": {"model": "b"}}}).generation


def test_bases_are_those_that_are_declared_next_first() -> None:
    desired = desire(
        {
            "a": GGUF,
            "b": {"source": {"model": "a"}},
            "c": {"source": {"model": "b"}},
            "d": {"source": {"model": "installed"}},
        }
    )
    bases = {str(name): [str(base) for base in desired.bases(name)] for name in desired.models}
    assert bases == {"a": [], "b": ["a"], "c": ["b", "a"], "d": []}
    assert desired.depth == 2
    assert desire({}).depth == 0


def test_the_bases_of_a_circle_end() -> None:
    desired = desire({"a": {"source": {"model": "b"}}, "b": {"source": {"model": "a"}}})
    assert [str(base) for base in desired.bases(Name.parse("a"))] == ["b"]


def test_pins_of_a_lower_priority_are_the_first_that_ollama_puts_out() -> None:
    pin = GGUF | {"preload": True}
    window = {"from": "08:00", "to": "19:00", "preload": True}
    models = {"low": pin, "high": pin | {"priority": 5}, "late": GGUF | {"schedule": [window]}}
    found = {name.model: model.residency for name, model in desire(models).models.items()}
    years = (9_223_372_036 - found["low"].keep_alive.wire) / (365 * 86_400)  # type: ignore[union-attr]
    assert (found["high"].keep_alive.wire, years) == (-1, 1)  # type: ignore[union-attr]
    assert found["late"].schedule[0].keep_alive.wire == found["low"].keep_alive.wire  # type: ignore[union-attr]
    assert desire({"low": pin}).models[Name.parse("low")].residency.keep_alive == FOREVER
