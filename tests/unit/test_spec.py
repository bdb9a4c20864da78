"""The spec: its keys and values, the checks between them, and what defaults give."""

from __future__ import annotations

from typing import Any

import pytest

from paddock.core.keep_alive import FOREVER, KeepAlive
from paddock.core.spec import Defaults, ModelSpec, Spec
from paddock.core.spec_check import cross_check, read_spec
from paddock.core.spec_merge import MergedModel, with_defaults
from paddock.core.spec_problems import suggest, where
from paddock.core.spec_sources import RegistrySource

GGUF = {"gguf": "/m.gguf"}


def read(models: dict[str, Any], **top: Any) -> Spec:
    checked = read_spec({"version": 1, "models": models, **top})
    assert checked.problems == ()
    return checked.spec


def problems(models: dict[str, Any], **top: Any) -> list[tuple[str, str]]:
    checked = read_spec({"version": 1, "models": models, **top})
    found = [*checked.problems, *cross_check(checked.spec)]
    return [(where(problem.loc), problem.what) for problem in found]


def merged(model: dict[str, Any], defaults: dict[str, Any]) -> MergedModel:
    return with_defaults(read({"m": {"source": GGUF} | model}, defaults=defaults))["m"]


def test_what_was_written_is_kept_apart_from_what_was_not() -> None:
    model = read({"m": {"source": GGUF, "preload": True}}).models["m"]
    assert model.model_fields_set == {"source", "preload"}


def test_a_source_is_told_by_its_key() -> None:
    spec = read({"m": {"source": {"registry": "llama3.2:3b"}}})
    assert spec.models["m"].source == RegistrySource(registry="llama3.2:3b")


def test_a_digest_takes_its_one_form() -> None:
    source = {"registry": "a", "digest": "sha256-" + "AB" * 32}
    spec = read({"m": {"source": source}})
    assert spec.models["m"].source == RegistrySource(registry="a", digest="sha256:" + "ab" * 32)


def test_a_lone_licence_is_a_list_of_one() -> None:
    assert read({"m": {"source": GGUF, "license": "MIT"}}).models["m"].license == ("MIT",)


@pytest.mark.parametrize("value", [True, 1.0, "1", 2, None])
def test_only_the_number_1_is_a_version(value: object) -> None:
    found = read_spec({"version": value, "models": {}}).problems
    assert [(where(p.loc), p.what) for p in found] == [
        ("version", "must be 1, the one version there is")
    ]


def test_the_checks_go_on_beside_a_key_that_is_wrong() -> None:
    models = {
        "a": {"source": 5, "template": "x", "template_file": "y"},
        "b": {"source": {"model": "b"}, "preload": "yes"},
    }
    assert problems(models) == [
        ("models.a.source", "must be a mapping, not the number 5"),
        ("models.b.preload", "must be true or false, not text"),
        ("models.a.source", "is missing"),  # dropped by the loader, for the key is there
        ("models.a.template_file", "template and template_file both give the template"),
        ("models.b.source.model", "the model is its own base"),
    ]


@pytest.mark.parametrize(
    ("one", "two"),
    [("smollm2", "smollm2:latest"), ("a", "A"), ("a", "registry.ollama.ai/library/a")],
)
def test_two_spellings_of_one_name_are_a_problem(one: str, two: str) -> None:
    found = problems({one: {"source": GGUF}, two: {"source": GGUF}})
    assert found == [(f"models.{two}", f'names the same model as "{one}" at {{see}}')]


def test_a_cycle_is_named_once_and_a_chain_into_it_is_not() -> None:
    models = {
        "entry": {"source": {"model": "a"}},
        "a": {"source": {"model": "B:latest"}},
        "b": {"source": {"model": "c"}},
        "c": {"source": {"model": "a"}},
        "free": {"source": {"model": "elsewhere"}},
    }
    what = "the models are based on each other in a circle: a -> b -> c -> a"
    assert problems(models) == [("models.a.source.model", what)]


def test_a_base_that_is_declared_absent_is_a_problem() -> None:
    models = {"gone": {"state": "absent"}, "m": {"source": {"model": "gone:latest"}}}
    assert problems(models) == [("models.m.source.model", '"gone" is declared absent at {see}')]


def test_an_absent_model_may_have_labels_and_nothing_else() -> None:
    assert problems({"m": {"state": "absent", "labels": {"a": "b"}}}) == []
    assert problems({"m": {"state": "absent", "preload": False}}) == [
        ("models.m.preload", "means nothing beside state: absent")
    ]


@pytest.mark.parametrize(
    ("model", "defaults", "at"),
    [
        ({"preload": True, "keep_alive": 0}, {}, "models.m.keep_alive"),
        ({"keep_alive": "0s"}, {"preload": True}, "models.m.keep_alive"),
        ({}, {"preload": True, "keep_alive": 0}, "defaults.keep_alive"),
    ],
)
def test_loading_and_unloading_at_once_is_a_problem(
    model: dict[str, Any], defaults: dict[str, Any], at: str
) -> None:
    assert [place for place, _ in problems({"m": {"source": GGUF} | model}, defaults=defaults)] == [
        at
    ]


@pytest.mark.parametrize(
    ("model", "defaults"),
    [
        ({"preload": True}, {"keep_alive": 0}),
        ({"keep_alive": 0, "preload": False}, {"preload": True}),
        ({"keep_alive": 0, "preload": None}, {"preload": True}),
    ],
)
def test_a_model_may_say_otherwise_than_its_defaults(
    model: dict[str, Any], defaults: dict[str, Any]
) -> None:
    assert problems({"m": {"source": GGUF} | model}, defaults=defaults) == []


@pytest.mark.parametrize(
    ("model", "defaults", "keep_alive", "written"),
    [
        ({}, {}, None, False),
        ({}, {"keep_alive": "5m"}, KeepAlive(300.0), False),
        ({"keep_alive": "1m"}, {"keep_alive": "5m"}, KeepAlive(60.0), True),
        ({"keep_alive": None}, {"keep_alive": "5m"}, None, False),
        ({"preload": True}, {}, FOREVER, False),
        ({"preload": True}, {"keep_alive": "5m"}, FOREVER, False),
        ({"preload": True, "keep_alive": "1m"}, {}, KeepAlive(60.0), True),
        ({"preload": True, "keep_alive": None}, {"keep_alive": "5m"}, FOREVER, False),
        ({}, {"preload": True}, FOREVER, False),
        ({}, {"preload": True, "keep_alive": "5m"}, KeepAlive(300.0), False),
        ({"preload": False}, {"preload": True}, None, False),
    ],
)
def test_preload_alone_means_for_ever_and_a_written_time_is_known_as_such(
    model: dict[str, Any], defaults: dict[str, Any], keep_alive: KeepAlive | None, written: bool
) -> None:
    result = merged(model, defaults)
    assert (result.spec.keep_alive, result.keep_alive_written) == (keep_alive, written)


def test_parameters_and_labels_merge_by_key_and_all_else_replaces() -> None:
    defaults = {
        "parameters": {"num_ctx": 4096, "seed": 1},
        "labels": {"team": "a", "tier": "1"},
        "license": ["A", "B"],
        "system": "default",
    }
    model = {
        "parameters": {"num_ctx": 2048, "seed": None},
        "labels": {"team": "b", "tier": None},
        "license": "C",
    }
    spec = merged(model, defaults).spec
    assert spec.parameters is not None
    assert spec.parameters.options() == {"num_ctx": 2048}
    assert spec.labels == {"team": "b"}
    assert (spec.license, spec.system) == (("C",), "default")


def test_null_clears_a_default() -> None:
    defaults = {"parameters": {"seed": 1}, "labels": {"a": "b"}, "system": "x", "template": "t"}
    spec = merged(dict.fromkeys(defaults), defaults).spec
    assert (spec.parameters, spec.labels, spec.system, spec.template) == (None, {}, None, None)


@pytest.mark.parametrize("written", [{"template": "mine"}, {"template_file": "mine.tmpl"}])
def test_either_way_to_give_a_template_replaces_both_defaults(written: dict[str, str]) -> None:
    spec = merged(written, {"template": "t", "template_file": None}).spec
    assert spec.template == written.get("template")


def test_a_registry_model_takes_policy_from_defaults_and_nothing_else() -> None:
    defaults = {
        "keep_alive": "5m",
        "preload": False,
        "labels": {"a": "b"},
        "parameters": {"seed": 1},
        "system": "x",
        "license": "MIT",
    }
    model = {"source": {"registry": "llama3.2:3b"}, "parameters": {"top_k": 1}}
    spec = merged(model, defaults).spec
    assert (spec.keep_alive, spec.preload, spec.labels) == (KeepAlive(300.0), False, {"a": "b"})
    assert spec.parameters is not None
    assert spec.parameters.options() == {"top_k": 1}
    assert (spec.system, spec.license) == (None, None)


def test_an_absent_model_takes_no_defaults() -> None:
    spec = read({"m": {"state": "absent"}}, defaults={"preload": True})
    assert with_defaults(spec)["m"] == MergedModel(ModelSpec(state="absent"), False)


def test_every_key_of_a_model_but_source_and_state_may_be_a_default() -> None:
    assert set(ModelSpec.model_fields) - set(Defaults.model_fields) == {"source", "state"}


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("ggfu", 'did you mean "gguf"?'),
        ("GGUF", 'did you mean "gguf"?'),
        ("zzz", "allowed here: gguf, model"),
    ],
)
def test_a_misspelt_word_brings_the_nearest_or_all(word: str, hint: str) -> None:
    assert suggest(word, ["model", "gguf"]) == hint


def test_a_place_is_one_line_whatever_its_keys_hold() -> None:
    assert where(("models", "a\nb", "messages", 0, "role")) == 'models."a\\nb".messages[0].role'
