"""Every example loads, fits the schema, and tells editors where the schema is."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from paddock.core.keep_alive import FOREVER
from paddock.core.schema import models_schema
from paddock.core.spec_sources import FileSpec, GgufSource
from paddock.edges.specfile import load_spec

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
MODELINES = [
    "# yaml-language-server: $schema=../schemas/models.v1.schema.json",
    "# $schema: ../schemas/models.v1.schema.json",
]


def test_there_are_examples() -> None:
    names = {path.name for path in EXAMPLES}
    assert names >= {
        "minimal.yaml",
        "quickstart.yaml",
        "derived.yaml",
        "registry.yaml",
        "modelfile.yaml",
    }


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_begins_with_both_modelines(path: Path) -> None:
    assert path.read_text(encoding="utf-8").splitlines()[:2] == MODELINES


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_loads_and_declares_models(path: Path) -> None:
    loaded = load_spec(path, {})
    assert loaded.spec.models
    assert not loaded.warnings


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_fits_the_schema(path: Path) -> None:
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    found = Draft202012Validator(models_schema()).iter_errors(data)
    assert [error.message for error in found] == []


def test_the_quickstart_takes_its_file_from_the_environment() -> None:
    path = next(path for path in EXAMPLES if path.name == "quickstart.yaml")
    model = load_spec(path, {"PADDOCK_DEMO_GGUF": "/demo/tiny.gguf"}).spec.models["smollm2"]
    assert model.source == GgufSource(gguf=FileSpec(path="/demo/tiny.gguf"))
    assert (model.preload, model.keep_alive) == (True, FOREVER)
