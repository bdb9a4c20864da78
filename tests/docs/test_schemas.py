"""The committed JSON Schemas are those of the code, and refuse what Paddock refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from paddock.core.schema import models_schema, schema_of, schema_text

ROOT = Path(__file__).parents[2]
KINDS = ("models", "plan", "status")
VALIDATOR = Draft202012Validator(models_schema())


def errors(model: dict[str, Any]) -> list[str]:
    spec = {"version": 1, "models": {"smollm2": model}}
    return [error.message for error in VALIDATOR.iter_errors(spec)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_committed_schema_is_current(kind: str) -> None:
    """If not: write schema_text(schema_of(kind)) from paddock.core.schema to the file."""
    committed = (ROOT / f"schemas/{kind}.v1.schema.json").read_text(encoding="utf-8")
    assert committed == schema_text(schema_of(kind))


def test_there_is_no_schema_of_anything_else() -> None:
    found = {path.name for path in (ROOT / "schemas").iterdir()}
    assert found == {f"{kind}.v1.schema.json" for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_the_schema_is_a_schema_with_a_dialect_and_a_name(kind: str) -> None:
    schema = json.loads(schema_text(schema_of(kind)))
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:paddock:schemas:{kind}:v1"


def test_every_key_has_words_for_an_editor_to_show() -> None:
    schema = models_schema()
    for name, part in [("Spec", schema), *schema["$defs"].items()]:
        for key, value in part["properties"].items():
            assert value.get("description"), f"{name}.{key}"


@pytest.mark.parametrize(
    "model",
    [
        {"source": {"gguf": "a.gguf"}},
        {"source": {"modelfile": "./Modelfile"}, "system": "x"},
        {"source": {"registry": "a", "digest": "sha256:" + "0" * 64, "insecure": True}},
        {"source": {"model": "a"}, "keep_alive": 5, "parameters": {"stop": "x"}},
        {"source": {"model": "a"}, "keep_alive": "5m", "license": ["a"], "system": None},
        {"source": {"huggingface": "a/b", "file": "*q4_k_m.gguf"}},
        {"source": {"huggingface": "a/b", "file": "a.gguf", "revision": "v1", "projector": "m*"}},
        {"state": "absent"},
    ],
)
def test_the_schema_takes_what_paddock_takes(model: dict[str, Any]) -> None:
    assert errors(model) == []


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"sorce": {"gguf": "a.gguf"}},
        {"source": {"ggfu": "a.gguf"}},
        {"source": {"gguf": "a.gguf", "registry": "a"}},
        {"source": {"gguf": ""}},
        {"source": {"modelfile": "a", "gguf": "b"}},
        {"source": {"huggingface": "a/b"}},
        {"source": {"huggingface": "a/b", "file": "a.gguf", "quant": "q4"}},
        {"source": {"gguf": "a.gguf"}, "parameters": {"tempreature": 1}},
        {"source": {"gguf": "a.gguf"}, "preload": "yes"},
        {"source": {"gguf": "a.gguf"}, "state": "absent"},
        {"source": {"gguf": "a.gguf"}, "state": "gone"},
    ],
)
def test_the_schema_refuses_a_misspelt_key_and_a_wrong_value(model: dict[str, Any]) -> None:
    assert errors(model)


def test_the_schema_wants_the_one_version() -> None:
    assert list(VALIDATOR.iter_errors({"models": {}}))
    assert list(VALIDATOR.iter_errors({"version": 2, "models": {}}))
