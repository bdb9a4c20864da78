"""The committed JSON Schemas are those of the code, and refuse what Paddock refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from paddock.core.schema import models_schema, schema_text

ROOT = Path(__file__).parents[2]
VALIDATOR = Draft202012Validator(models_schema())


def errors(model: dict[str, Any]) -> list[str]:
    spec = {"version": 1, "models": {"smollm2": model}}
    return [error.message for error in VALIDATOR.iter_errors(spec)]


def test_the_committed_schema_is_current() -> None:
    """If not: write schema_text(models_schema()) from paddock.core.schema to the file."""
    committed = (ROOT / "schemas/models.v1.schema.json").read_text(encoding="utf-8")
    assert committed == schema_text(models_schema())


def test_the_schema_is_a_schema_with_a_dialect_and_a_name() -> None:
    schema = json.loads(schema_text(models_schema()))
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == "urn:paddock:schemas:models:v1"


def test_every_key_has_words_for_an_editor_to_show() -> None:
    schema = models_schema()
    for name, part in [("Spec", schema), *schema["$defs"].items()]:
        for key, value in part["properties"].items():
            assert value.get("description"), f"{name}.{key}"


@pytest.mark.parametrize(
    "model",
    [
        {"source": {"gguf": "a.gguf"}},
        {"source": {"registry": "a", "digest": "sha256:" + "0" * 64, "insecure": True}},
        {"source": {"model": "a"}, "keep_alive": 5, "parameters": {"stop": "x"}},
        {"source": {"model": "a"}, "keep_alive": "5m", "license": ["a"], "system": None},
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
